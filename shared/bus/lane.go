package bus

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// lane is the way of one writer to one topic. A goroutine works on it while
// something waits, and no longer. Its fields are guarded by the writer's mutex.
type lane struct {
	w       *Writer
	topic   string
	groups  []string
	keyed   bool // a partition: lives for ever, so it is made when missing; any other is its reader's to make
	life    string
	full    chan struct{} // a whole batch waits
	watched *watched

	queue   []*entry
	events  int // in queue
	pending int // bytes in queue
	bytes   int // in queue and on the way
	running bool
	repeat  bool // the last number is due to be repeated
	skip    bool // something was refused: a number is left out
	number  uint64
	sent    time.Time // when the last publish ended
	grouped bool      // the last batch was of more than one call
}

// entry is what one call gave.
type entry struct {
	piece
	at, deadline time.Time
	trace        string
	done         func(error)
}

func (e *entry) finish(err error) {
	if e.done != nil {
		e.done(err)
	}
}

// batch is one bus message.
type batch struct {
	header
	payload  []byte
	bytes    int
	entries  []*entry
	deadline time.Time
}

// wake is called with the writer's mutex held.
func (l *lane) wake() {
	if !l.running {
		l.running = true
		l.w.active.Add(1)
		go l.run()
		return
	}
	if l.isFull() {
		select {
		case l.full <- struct{}{}:
		default:
		}
	}
}

func (l *lane) isFull() bool {
	return l.events >= l.w.bus.cfg.BatchEvents || l.pending >= l.w.bus.cfg.BatchBytes
}

func (l *lane) run() {
	defer l.w.active.Done()
	busy := l.wasBusy()
	for {
		if busy {
			l.gather()
		}
		expired, next := l.next()
		for _, e := range expired {
			e.finish(fmt.Errorf("publish to %s: not in time: %w", l.topic, ErrUnavailable))
		}
		if next == nil {
			return
		}
		err := l.publish(next)
		busy = l.settle(next)
		for _, e := range next.entries {
			e.finish(err)
		}
	}
}

// wasBusy tells whether calls came together a moment ago; then the next ones are
// waited for, too. Calls that come one after another never wait.
func (l *lane) wasBusy() bool {
	l.w.mu.Lock()
	defer l.w.mu.Unlock()
	return l.grouped && time.Since(l.sent) < l.w.bus.cfg.GatherMax
}

// gather waits until a batch is full or its oldest event has waited GatherMax.
func (l *lane) gather() {
	l.w.mu.Lock()
	var rest time.Duration
	if len(l.queue) > 0 && !l.isFull() {
		rest = l.w.bus.cfg.GatherMax - time.Since(l.queue[0].at)
	}
	select {
	case <-l.full: // of a batch that has gone
	default:
	}
	l.w.mu.Unlock()
	if rest <= 0 {
		return
	}
	timer := time.NewTimer(rest)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-l.full:
	}
}

// next takes a batch off the queue. nil: there is none, and the goroutine ends.
func (l *lane) next() (expired []*entry, next *batch) {
	l.w.mu.Lock()
	defer l.w.mu.Unlock()
	now := time.Now()
	for len(l.queue) > 0 && now.After(l.queue[0].deadline) {
		e := l.take()
		l.bytes -= e.bytes
		l.skip = l.w.repeats // it was promised a place
		expired = append(expired, e)
	}
	if len(l.queue) == 0 && !l.repeat {
		l.running = false
		return expired, nil
	}
	if l.skip {
		l.number++
		l.skip = false
	}
	next = &batch{header: header{scope: l.w.scope, generation: l.w.generation, life: l.life}}
	if len(l.queue) > 0 {
		l.fill(next)
	} else { // a repeat is worth one try
		next.number, next.trace, next.deadline = l.number, newTrace(), now.Add(attemptTimeout)
	}
	l.repeat = false
	return expired, next
}

func (l *lane) fill(next *batch) {
	var items [][]byte
	next.deadline = l.queue[0].deadline
	for len(l.queue) > 0 && l.w.bus.fits(len(items), next.bytes, len(l.queue[0].items), l.queue[0].bytes) {
		e := l.take()
		items = append(items, e.items...)
		next.bytes += e.bytes
		next.entries = append(next.entries, e)
		if next.trace == "" {
			next.trace = e.trace
		}
	}
	if next.trace == "" {
		next.trace = newTrace()
	}
	l.number++
	next.number, next.count = l.number, len(items)
	next.payload = joinItems(items, next.bytes)
}

func (l *lane) take() *entry {
	e := l.queue[0]
	l.queue[0] = nil
	l.queue = l.queue[1:]
	l.events -= len(e.items)
	l.pending -= e.bytes
	return e
}

// settle frees the batch's place in the buffer, and tells whether others came while
// it was on its way. Who comes because it has arrived is not waited with.
func (l *lane) settle(b *batch) (busy bool) {
	l.w.mu.Lock()
	defer l.w.mu.Unlock()
	l.bytes -= b.bytes
	l.sent = time.Now()
	l.grouped = len(b.entries) > 1
	return len(l.queue) > 0
}

// attemptTimeout bounds one try of a publish, so that a connection that hangs
// leaves time for another.
const attemptTimeout = 2 * time.Second

// publish tries until the batch's deadline. Every try is the same message under
// the same number, since one whose reply was lost may have arrived.
func (l *lane) publish(b *batch) error {
	ctx, cancel := context.WithDeadline(context.Background(), b.deadline)
	defer cancel()
	m := l.w.bus.metrics
	wait := newBackoff(20*time.Millisecond, time.Second)
	for {
		err := l.try(ctx, b)
		if err == nil {
			if b.count > 0 {
				m.published(l.topic, b.count)
			}
			return nil
		}
		m.publishErrors.WithLabelValues(label(l.topic)).Inc()
		var enough <-chan struct{} // whoever waits for the writer's end does not for a reader that is gone
		if errors.Is(err, ErrNoTopic) {
			enough = l.w.ending
		}
		if b.count > 0 {
			wait.sleep(ctx, enough)
		}
		if b.count == 0 || ctx.Err() != nil || isClosed(enough) {
			return unavailable(fmt.Errorf("publish to %s: %w", l.topic, err))
		}
	}
}

func (l *lane) try(ctx context.Context, b *batch) error {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	bus := l.w.bus
	if _, known := bus.ensured.Load(l.topic); l.keyed && !known {
		if err := bus.backend.EnsureTopic(ctx, l.topic, l.groups, 0); err != nil {
			return err
		}
		bus.ensured.Store(l.topic, nil)
	}
	if !l.keyed {
		ctx = context.WithValue(ctx, onlyIfThere{}, true)
	}
	msg := b.message(b.payload)
	msg.SetContext(ctx)
	err := bus.backend.Publisher().Publish(l.topic, msg)
	if err != nil {
		bus.ensured.Delete(l.topic) // the broker may have come back empty
	}
	return err
}

func unavailable(err error) error {
	if errors.Is(err, ErrUnavailable) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}
