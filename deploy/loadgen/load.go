// Package loadgen is load from virtual users over real sockets: rooms of members
// who send at a rate, or as fast as they are answered, or only stay connected. It
// times from when a message was due, and reads CPU time and memory of the
// processes under load, so that figures are per CPU-second.
package loadgen

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// Load is one measurement.
type Load struct {
	URLs    []string // the edges; users are spread over them
	Rooms   int      // 0: the users join no room
	Members int      // users of each room; without rooms: users in all
	Rate    float64  // messages/s over all rooms; 0: Window decides
	Window  int      // sends that each room has unanswered at a time, when Rate is 0; 0: nobody sends
	Body    int      // bytes of a body
	WarmUp  time.Duration
	Measure time.Duration
	PIDs    map[string]int // processes to watch, by name
}

// Result is what one Load measured.
type Result struct {
	Users, Sent               int64
	Acked, Delivered, Refused int64
	Closed                    int64 // connections lost while measuring
	Seconds                   float64
	Ack, Delivery             Latency
	CPU                       map[string]float64 // CPU-seconds by process
	Before, After             map[string]int64   // resident bytes by process, without and with the users
}

// Run connects the users, warms up, measures, and disconnects.
func (l Load) Run(ctx context.Context) (Result, error) {
	before := resident(l.PIDs)
	m := newMeter()
	users, err := l.connect(ctx, m)
	defer func() {
		for _, u := range users {
			u.close()
		}
	}()
	if err != nil {
		return Result{}, err
	}
	sending, stop := context.WithCancel(ctx)
	defer stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	wg.Go(func() { l.drive(sending, users) })

	if err := pause(ctx, l.WarmUp); err != nil {
		return Result{}, err
	}
	m.reset()
	closed, cpu, start := m.closes.Load(), cpuTime(l.PIDs), time.Now()
	if err := pause(ctx, l.Measure); err != nil {
		return Result{}, err
	}
	r := Result{
		Users: int64(len(users)), Acked: m.acks.Load(), Delivered: m.deliveries.Load(), Refused: m.refusals.Load(),
		Closed: m.closes.Load() - closed, Seconds: time.Since(start).Seconds(),
		Ack: m.latency(m.ack), Delivery: m.latency(m.delivery),
		CPU: cpuTime(l.PIDs), Before: before, After: resident(l.PIDs),
	}
	for name, was := range cpu {
		r.CPU[name] -= was
	}
	return r, nil
}

// connect brings all users in, a few at a time.
func (l Load) connect(ctx context.Context, m *meter) ([]*user, error) {
	n := l.Members * max(l.Rooms, 1)
	users := make([]*user, n)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(32)
	for i := range n {
		group.Go(func() error {
			room := ""
			if l.Rooms > 0 {
				room = fmt.Sprintf("load-%d", i%l.Rooms)
			}
			u, err := dial(ctx, l.URLs[(i/max(l.Rooms, 1))%len(l.URLs)], fmt.Sprintf("u%d", i), room, m)
			if err != nil {
				return err
			}
			users[i] = u
			go u.read()
			select {
			case err := <-u.ready:
				return err
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}
	err := group.Wait()
	if err != nil {
		connected := users[:0]
		for _, u := range users {
			if u != nil {
				connected = append(connected, u)
			}
		}
		return connected, fmt.Errorf("connect %d users: %w", n, err)
	}
	return users, nil
}

// drive sends until ctx ends.
func (l Load) drive(ctx context.Context, users []*user) {
	switch {
	case l.Rooms == 0:
	case l.Rate > 0:
		l.openLoop(ctx, users)
	case l.Window > 0:
		l.closedLoop(ctx, users)
	}
}

// openLoop sends at the rate, whatever the answers do; who is late catches up.
func (l Load) openLoop(ctx context.Context, users []*user) {
	interval := time.Duration(float64(time.Second) / l.Rate)
	start := time.Now()
	for i := 0; ; i++ {
		due := start.Add(time.Duration(i) * interval)
		if wait := time.Until(due); wait > 0 && pause(ctx, wait) != nil || ctx.Err() != nil {
			return
		}
		_ = users[i*7919%len(users)].send(due, l.Body)
	}
}

// closedLoop keeps Window sends of each room's first member unanswered.
func (l Load) closedLoop(ctx context.Context, users []*user) {
	var wg sync.WaitGroup
	for _, u := range users[:l.Rooms] {
		slots := make(chan struct{}, l.Window)
		u.onAnswer(func(bool) {
			select {
			case <-slots:
			default:
			}
		})
		wg.Go(func() {
			for {
				select {
				case slots <- struct{}{}:
					_ = u.send(time.Now(), l.Body)
				case <-ctx.Done():
					return
				}
			}
		})
	}
	wg.Wait()
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
