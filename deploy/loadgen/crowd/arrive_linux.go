package crowd

import (
	"fmt"
	"time"

	"github.com/parley-chat/parley/deploy/loadgen/dialect"
)

const (
	maxTries   = 20
	retryAfter = 50 * time.Millisecond
)

// arriving is a Connect under way: a bounded number of connections is between
// their first packet and joined, as a listener's queue is bounded, too.
type arriving struct {
	done    chan<- arrived // nil: none is under way
	window  int
	queue   []int32
	later   []int32 // to be tried again at retryAt
	retryAt int64
	opening int // connected, but not joined
	behind  int // joined, but without what they missed
	count   int
	retried int
	began   int64
}

type arrived struct {
	Arrival
	err error
}

// arrive connects everybody who is not; the outcome goes to done.
func (l *loop) arrive(window int, done chan<- arrived) func(now int64) {
	return func(now int64) {
		a := &l.arriving
		if a.done != nil {
			done <- arrived{err: fmt.Errorf("connections are being made already")}
			return
		}
		*a = arriving{done: done, window: window, began: now}
		for i := range l.conns {
			if l.conns[i].state == gone {
				l.conns[i].tries = 0
				a.queue = append(a.queue, int32(i))
			}
		}
	}
}

// connectMore begins what may begin, and says when to look again.
func (l *loop) connectMore(now int64) (next int64) {
	a := &l.arriving
	if a.done == nil {
		return 0
	}
	if len(a.later) > 0 && now >= a.retryAt {
		a.queue, a.later = append(a.queue, a.later...), nil
	}
	for len(a.queue) > 0 && a.opening < a.window {
		i := a.queue[0]
		a.queue = a.queue[1:]
		a.opening++
		if err := l.connect(i); err != nil {
			l.tryAgain(i, err.Error())
			if a.done == nil {
				return 0
			}
		}
	}
	if len(a.queue)+len(a.later)+a.opening+a.behind == 0 {
		l.arrivedWith(nil)
		return 0
	}
	if len(a.later) > 0 {
		return a.retryAt
	}
	return 0
}

func (l *loop) arrivedWith(err error) {
	a := &l.arriving
	a.done <- arrived{Arrival{Connected: a.count, Retried: a.retried, Took: time.Duration(time.Now().UnixNano() - a.began)}, err}
	*a = arriving{}
}

// failed is told of a connection that ended before it was joined and complete.
func (l *loop) failed(i int32, why string) {
	c := &l.conns[i]
	if l.arriving.done == nil {
		c.behind = false
		l.counts.Closed++
		l.reasons[why]++
		return
	}
	if c.behind {
		c.behind = false
		l.arriving.behind--
		l.arriving.opening++ // tryAgain takes it off
	}
	l.tryAgain(i, why)
}

func (l *loop) tryAgain(i int32, why string) {
	a, c := &l.arriving, &l.conns[i]
	a.opening--
	a.retried++
	if c.tries++; c.tries >= maxTries {
		l.arrivedWith(fmt.Errorf("user %s could not connect in %d tries, at last: %s", c.user(l.cfg.Prefix), maxTries, why))
		return
	}
	a.later = append(a.later, i)
	a.retryAt = time.Now().Add(retryAfter).UnixNano()
}

// joinedAt is told that the server has the connection in its room.
func (l *loop) joinedAt(i int32, e dialect.Event) {
	c := &l.conns[i]
	if c.state != joining {
		return
	}
	c.state = joined
	l.counts.Joined++
	if string(e.Epoch) != c.epoch {
		c.epoch = string(e.Epoch)
	}
	c.seq, c.head = e.Seq, e.Head
	a := &l.arriving
	if a.done == nil {
		return
	}
	a.opening--
	if c.seq < c.head {
		c.behind = true
		a.behind++
		return
	}
	a.count++
}

// advance moves the cursor, and sees whether entries come in order.
func (l *loop) advance(c *conn, seq uint64) {
	switch {
	case seq == c.seq+1:
	case seq > c.seq:
		l.skipped += int64(seq - c.seq - 1)
	default:
		l.repeated++
		return
	}
	c.seq = seq
	if c.behind && c.seq >= c.head {
		c.behind = false
		if l.arriving.done != nil {
			l.arriving.behind--
			l.arriving.count++
		}
	}
}
