package bus

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
)

// Publish returns when the broker has all the events, in their order behind what
// was published before. It waits, trying again, until ctx ends or PublishTimeout
// has passed: then it returns an [ErrUnavailable], and what was taken is unknown.
// Readers see whatever is missing. [ErrOverloaded] is returned at once when the
// buffer before the broker is full: nothing was sent. It does not look at the
// topic's high-water mark.
func Publish[E any](ctx context.Context, w *Writer, t Topic[E], e ...E) error {
	result := make(chan error, 1)
	done := func(err error) { result <- err }
	if err := enqueue(w, t, order{trace: Trace(ctx), done: done}, e); err != nil {
		return err
	}
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		return fmt.Errorf("publish to %s: %w: %w", t.Name, ErrUnavailable, context.Cause(ctx))
	}
}

// Enqueue is Publish without waiting: the events' place in the order is fixed
// when it returns nil. done (may be nil) is then called once with the outcome,
// from another goroutine and under no lock; it must not block. [ErrOverloaded] is
// returned at once, and nothing is sent, when the buffer before the broker is full
// or the topic is over its high-water mark; a repeating writer then skips a number,
// so that readers are told.
func Enqueue[E any](w *Writer, t Topic[E], done func(error), e ...E) error {
	return enqueue(w, t, order{done: done, yields: true}, e)
}

// order is how a call wants its events published.
type order struct {
	trace  string
	done   func(error)
	yields bool // refuse over the high-water mark
}

func enqueue[E any](w *Writer, t Topic[E], o order, events []E) error {
	pieces, err := pack(w.bus, t, events)
	if err != nil {
		return err
	}
	if len(pieces) == 0 {
		if o.done != nil {
			go o.done(nil)
		}
		return nil
	}
	if o.done != nil {
		o.done = onceFor(len(pieces), o.done)
	}
	return w.accept(pieces, t.Groups, t.Key != nil, o)
}

// piece is what one call gives to one topic; a call may give it several, each
// within the bounds of a batch.
type piece struct {
	topic string
	items [][]byte
	bytes int
}

func pack[E any](b *Bus, t Topic[E], events []E) ([]piece, error) {
	var pieces []piece
	var open map[string]int // topic → its last piece
	if len(events) > 1 {
		open = map[string]int{}
	}
	for _, e := range events {
		item, err := encode(e)
		if err != nil {
			return nil, fmt.Errorf("encode %T for topic %s: %w", e, t.Name, err)
		}
		if len(item) > b.cfg.BufferBytes {
			return nil, fmt.Errorf("event of %d bytes for topic %s: at most %d are allowed", len(item), t.Name, b.cfg.BufferBytes)
		}
		topic := topicOf(b, t, e)
		i, ok := open[topic]
		if !ok || !b.fits(len(pieces[i].items), pieces[i].bytes, 1, len(item)) {
			i = len(pieces)
			pieces = append(pieces, piece{topic: topic})
			if open != nil {
				open[topic] = i
			}
		}
		p := &pieces[i]
		p.items = append(p.items, item)
		p.bytes += len(item)
	}
	return pieces, nil
}

// fits tells whether more can join a batch.
func (b *Bus) fits(events, bytes, moreEvents, moreBytes int) bool {
	return events == 0 || events+moreEvents <= b.cfg.BatchEvents && bytes+moreBytes <= b.cfg.BatchBytes
}

// onceFor calls done when n parts are done, with the first error.
func onceFor(n int, done func(error)) func(error) {
	if n == 1 {
		return done
	}
	var left atomic.Int64
	left.Store(int64(n))
	var mu sync.Mutex
	var first error
	return func(err error) {
		mu.Lock()
		if first == nil {
			first = err
		}
		result := first
		mu.Unlock()
		if left.Add(-1) == 0 {
			done(result)
		}
	}
}
