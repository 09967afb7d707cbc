package crowd

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"github.com/parley-chat/parley/deploy/loadgen/dialect"
)

// Crowd is the virtual users of one process. One method at a time may run, but
// Status at any.
type Crowd struct {
	loops []*loop
}

// New prepares a crowd; nobody is connected yet.
func New(cfg Config) (*Crowd, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	speaks, err := dialect.ByName(cfg.Dialect)
	if err != nil {
		return nil, err
	}
	to, err := servers(cfg.URLs)
	if err != nil {
		return nil, err
	}
	rooms := make([]string, cfg.Rooms)
	for i := range rooms {
		rooms[i] = cfg.Room(i)
	}
	c := &Crowd{}
	for range cfg.Loops {
		l, err := newLoop(&cfg, speaks, to, rooms)
		if err != nil {
			return nil, errors.Join(err, c.Close())
		}
		c.loops = append(c.loops, l)
		go l.run()
	}
	if err := c.populate(&cfg); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// populate gives each loop its connections.
func (c *Crowd) populate(cfg *Config) error {
	conns := make([][]conn, cfg.Loops)
	ours, perRoom := 0, cfg.perRoom()
	for number := range cfg.Connections() {
		if number%cfg.Shares != cfg.Share {
			continue
		}
		ours++
		// Neighbours of one edge go to one loop in turn, whatever the numbers are.
		at := number / cfg.Shares % cfg.Loops
		conns[at] = append(conns[at], conn{
			number: number, room: number / perRoom * cfg.Every,
			writer: cfg.Writer && number%perRoom == cfg.Members,
		})
	}
	if ours > MaxConnections {
		return fmt.Errorf("%d connections in one process, at most %d: use more shares", ours, MaxConnections)
	}
	if err := allow(ours + 100); err != nil {
		return err
	}
	for i, l := range c.loops {
		l.do(func(int64) {
			l.conns = conns[i]
			for at := range l.conns {
				l.byID[l.conns[at].number] = int32(at)
			}
		})
	}
	return nil
}

// allow sees that so many descriptors can be open.
func allow(n int) error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("ask for the limit of descriptors: %w", err)
	}
	if uint64(n) <= limit.Cur {
		return nil
	}
	if uint64(n) > limit.Max {
		return fmt.Errorf("%d descriptors are needed, the hard limit is %d (ulimit -Hn)", n, limit.Max)
	}
	limit.Cur = limit.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("raise the limit of descriptors to %d: %w", limit.Max, err)
	}
	return nil
}

// Connect connects everybody who is not connected, at most window at a time, and
// waits until all have joined their rooms and, if they were there before, have what
// they missed.
func (c *Crowd) Connect(ctx context.Context, window int) (Arrival, error) {
	done := make(chan arrived, len(c.loops))
	for _, l := range c.loops {
		l.do(l.arrive(max(1, window/len(c.loops)), done))
	}
	var all Arrival
	var errs error
	for range c.loops {
		select {
		case a := <-done:
			all.Connected += a.Connected
			all.Retried += a.Retried
			all.Took = max(all.Took, a.Took)
			errs = errors.Join(errs, a.err)
		case <-ctx.Done():
			return all, fmt.Errorf("connect, %d connected and joined: %w", c.Status().Joined, ctx.Err())
		}
	}
	return all, errs
}

// Drop ends all connections at once but the writers', by a reset.
func (c *Crowd) Drop() {
	done := make(chan int, len(c.loops))
	for _, l := range c.loops {
		l.do(func(int64) {
			for i := range l.conns {
				if w := &l.conns[i]; !w.writer && w.state != gone {
					_ = syscall.SetsockoptLinger(int(w.fd), syscall.SOL_SOCKET, syscall.SO_LINGER, &syscall.Linger{Onoff: 1})
					l.shut(int32(i))
				}
			}
			done <- 1
		})
	}
	for range c.loops {
		<-done
	}
}

// Begin starts a drive; Finish ends it. A drive that runs is replaced.
func (c *Crowd) Begin(d Drive) {
	for _, l := range c.loops {
		l.do(l.begin(d))
	}
}

// Finish ends the drive and says what it measured.
func (c *Crowd) Finish() Tally {
	tallies := make(chan Tally, len(c.loops))
	for _, l := range c.loops {
		l.do(l.finish(tallies))
	}
	var all Tally
	for range c.loops {
		all.Add(<-tallies)
	}
	return all
}

// Status says how far everything is.
func (c *Crowd) Status() Status {
	var all Status
	for _, l := range c.loops {
		all.Add(l.status())
	}
	return all
}

// Close ends all connections and the event loops.
func (c *Crowd) Close() error {
	var err error
	for _, l := range c.loops {
		err = errors.Join(err, l.stop())
	}
	c.loops = nil
	return err
}
