package crowd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/parley-chat/parley/deploy/loadgen/dialect"
)

// Events that are not a connection's carry these instead of its number.
const (
	timerKey = -1
	wakeKey  = -2
)

// loop is one event loop and the connections it owns. Everything but do, status
// and the channels is touched by its goroutine only.
type loop struct {
	cfg     *Config
	dialect dialect.Dialect
	servers []server
	rooms   []string

	epoll, timer, wake int
	events             []unix.EpollEvent
	buf                []byte // what is being read, of whichever connection
	payload, frame     []byte // what is being sent
	armed              int64  // Unix ns of the timer; 0: not set

	conns []conn
	byID  map[int]int32 // place in conns by number in the whole crowd

	arriving arriving
	requests requests
	driving  *driving
	counts   Status
	skipped  int64
	repeated int64
	reasons  map[string]int64

	published [9]atomic.Int64 // counts, for others to read
	mu        sync.Mutex
	todo      []func(now int64)
	stopped   bool
	done      chan struct{}
}

func newLoop(cfg *Config, d dialect.Dialect, to []server, rooms []string) (*loop, error) {
	l := &loop{
		cfg: cfg, dialect: d, servers: to, rooms: rooms, epoll: -1, timer: -1, wake: -1,
		events: make([]unix.EpollEvent, 128), buf: make([]byte, 512<<10),
		byID: map[int]int32{}, reasons: map[string]int64{}, done: make(chan struct{}),
	}
	var err error
	if l.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("epoll_create1: %w", err)
	}
	if l.timer, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC); err != nil {
		return nil, errors.Join(fmt.Errorf("timerfd_create: %w", err), l.free())
	}
	if l.wake, err = unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC); err != nil {
		return nil, errors.Join(fmt.Errorf("eventfd: %w", err), l.free())
	}
	for key, fd := range map[int32]int{timerKey: l.timer, wakeKey: l.wake} {
		event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: key}
		if err := unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, fd, &event); err != nil {
			return nil, errors.Join(fmt.Errorf("epoll_ctl: %w", err), l.free())
		}
	}
	return l, nil
}

func (l *loop) free() error {
	var err error
	for _, fd := range []int{l.wake, l.timer, l.epoll} {
		if fd >= 0 {
			err = errors.Join(err, unix.Close(fd))
		}
	}
	return err
}

// do has fn run in the loop; it does not wait for it.
func (l *loop) do(fn func(now int64)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stopped {
		return
	}
	l.todo = append(l.todo, fn)
	_, _ = unix.Write(l.wake, binary.NativeEndian.AppendUint64(nil, 1)) // full means awake
}

// stop ends the loop and its connections, and waits.
func (l *loop) stop() error {
	l.do(func(int64) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.stopped = true
	})
	<-l.done
	for i := range l.conns {
		if l.conns[i].state != gone {
			_ = unix.Close(int(l.conns[i].fd))
		}
	}
	return l.free()
}

func (l *loop) run() {
	defer close(l.done)
	for {
		n, err := unix.EpollWait(l.epoll, l.events, -1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			panic(fmt.Sprintf("epoll_wait: %v", err)) // none of its errors can happen to a sound program
		}
		woke := time.Now()
		for i := range max(n, 0) {
			e := &l.events[i]
			switch e.Fd {
			case timerKey:
				l.drain(l.timer)
				l.armed = 0
			case wakeKey:
				l.drain(l.wake)
				l.runTodo()
			default:
				l.ready(e.Fd, e.Pad, e.Events)
			}
		}
		l.tick()
		l.publish()
		if l.driving != nil {
			l.driving.turn(time.Since(woke))
		}
		if l.stopped { // written by this goroutine alone
			return
		}
	}
}

func (l *loop) drain(fd int) {
	var b [8]byte
	_, _ = unix.Read(fd, b[:])
}

func (l *loop) runTodo() {
	l.mu.Lock()
	todo := l.todo
	l.todo = nil
	l.mu.Unlock()
	now := time.Now().UnixNano()
	for _, fn := range todo {
		fn(now)
	}
}

// tick does what is due and sets the timer for what is next.
func (l *loop) tick() {
	now := time.Now().UnixNano()
	next := l.connectMore(now)
	if l.driving != nil {
		if due := l.sendDue(now); due > 0 && (next == 0 || due < next) {
			next = due
		}
	}
	if next == 0 || l.armed != 0 && l.armed <= next {
		return
	}
	// A timerfd is exact to some µs; the runtime's own timers are to a millisecond.
	in := max(next-time.Now().UnixNano(), 1)
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(in)}
	if unix.TimerfdSettime(l.timer, 0, &spec, nil) == nil {
		l.armed = next
	}
}

// fields are the counts in the order of published.
func (s *Status) fields() [9]*int64 {
	return [9]*int64{&s.Open, &s.Joined, &s.Sent, &s.Acked, &s.Refused, &s.Unanswered, &s.Delivered, &s.Pages, &s.Closed}
}

func (l *loop) publish() {
	l.counts.Unanswered = int64(l.requests.open)
	for i, n := range l.counts.fields() {
		l.published[i].Store(*n)
	}
}

func (l *loop) status() Status {
	var s Status
	for i, n := range s.fields() {
		*n = l.published[i].Load()
	}
	return s
}
