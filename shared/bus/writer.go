package bus

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"
)

// Writer numbers what one holder of a role says, topic by topic, so that readers
// notice what is missing. It publishes by group commit: while one bus message is
// on its way to a topic, the next one gathers. It is safe for concurrent use.
type Writer struct {
	bus        *Bus
	scope      string
	generation uint64
	repeats    bool

	mu     sync.Mutex
	lanes  map[string]*lane // by topic
	closed bool
	ending chan struct{}  // closed with it
	active sync.WaitGroup // lanes' goroutines; added to under mu while not closed
}

// Writer returns a writer for the scope, which names the role: an edge's node,
// "chat-03", "notifier-03". The generation fences: readers drop what a higher
// generation of the scope has overtaken. With repeat, its last number is repeated
// every Config.Repeat on each topic that it has written to, while that is quiet, so that
// a reader misses even the last message (events and deliveries do; commands do not).
func (b *Bus) Writer(scope string, generation uint64, repeat bool) *Writer {
	w := &Writer{bus: b, scope: scope, generation: generation, repeats: repeat, lanes: map[string]*lane{}, ending: make(chan struct{})}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.writers[w] = struct{}{}
	return w
}

// Scope is the role that the writer speaks for.
func (w *Writer) Scope() string { return w.scope }

// Forget ends the repeats to a topic that is gone. What waits for it is still
// tried; a later publish to it starts a new life.
func (w *Writer) Forget(topicName string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.lanes, topicName)
}

// Close waits until everything enqueued is published or has failed: at most
// PublishTimeout, and not for a topic that is gone. What comes later is refused. It may
// be called twice.
func (w *Writer) Close() {
	w.mu.Lock()
	if !w.closed {
		close(w.ending)
	}
	w.closed = true
	w.mu.Unlock()
	w.active.Wait()
	w.bus.mu.Lock()
	defer w.bus.mu.Unlock()
	delete(w.bus.writers, w)
}

// accept takes all pieces, or none.
func (w *Writer) accept(pieces []piece, groups []string, keyed bool, o order) error {
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return fmt.Errorf("writer of %s is closed: %w", w.scope, ErrUnavailable)
	}
	for i := range pieces {
		if w.lanes[pieces[i].topic] == nil {
			if err := checkName("topic", pieces[i].topic); err != nil {
				return err
			}
		}
	}
	for i := range pieces {
		w.lane(pieces[i].topic, groups, keyed).bytes += pieces[i].bytes
	}
	if !w.hasRoom(pieces, o.yields) {
		for i := range pieces {
			l := w.lanes[pieces[i].topic]
			l.bytes -= pieces[i].bytes
			l.skip = w.repeats
		}
		w.bus.metrics.refused.WithLabelValues(label(pieces[0].topic)).Inc()
		return ErrOverloaded
	}
	for i := range pieces {
		l := w.lanes[pieces[i].topic]
		l.queue = append(l.queue, &entry{piece: pieces[i], at: now, deadline: now.Add(w.bus.cfg.PublishTimeout), trace: o.trace, done: o.done})
		l.events += len(pieces[i].items)
		l.pending += pieces[i].bytes
		l.watched.touch(now)
		l.wake()
	}
	return nil
}

func (w *Writer) hasRoom(pieces []piece, yields bool) bool {
	for i := range pieces {
		l := w.lanes[pieces[i].topic]
		if l.bytes > w.bus.cfg.BufferBytes || yields && l.watched.over(w.bus.cfg.HighWater) {
			return false
		}
	}
	return true
}

func (w *Writer) lane(topic string, groups []string, keyed bool) *lane {
	l := w.lanes[topic]
	if l == nil {
		l = &lane{
			w: w, topic: topic, groups: groups, keyed: keyed,
			life:    strconv.FormatUint(rand.Uint64(), 36),
			full:    make(chan struct{}, 1),
			watched: w.bus.depths.watch(topic, groups),
		}
		w.lanes[topic] = l
	}
	if l.watched.gone.Load() {
		l.watched = w.bus.depths.watch(topic, groups)
	}
	return l
}

func (b *Bus) repeatAll() {
	b.mu.Lock()
	writers := make([]*Writer, 0, len(b.writers))
	for w := range b.writers {
		if w.repeats {
			writers = append(writers, w)
		}
	}
	b.mu.Unlock()
	for _, w := range writers {
		w.repeat(time.Now())
	}
}

func (w *Writer) repeat(now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return
	}
	for _, l := range w.lanes {
		if !l.running && (l.number > 0 || l.skip) && now.Sub(l.sent) >= w.bus.cfg.Repeat {
			l.repeat = true
			l.wake()
		}
	}
}
