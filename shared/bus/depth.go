package bus

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// depths are samples of how much of each topic is unread: of topics that this
// process published to or asked about a short while ago, or reads.
type depths struct {
	mu     sync.RWMutex
	topics map[string]*watched
}

// watched is one topic's sample.
type watched struct {
	used  atomic.Int64 // Unix ns
	moved atomic.Bool  // published to, consumed, or asked about since the last sample
	bytes atomic.Int64 // of the group that has most
	gone  atomic.Bool  // no longer sampled
	last  time.Time    // of the last sample; sampleDepths' alone

	mu     sync.Mutex
	groups map[string]Depth
}

// How long a topic is sampled that is not used: a short while when nothing in it
// is unread. One that is empty, and in which nothing moves, is sampled now and then.
const (
	watchEmpty = 10 * time.Second
	watchFull  = 10 * time.Minute
	watchStill = 10 * time.Second
)

func newDepths() *depths { return &depths{topics: map[string]*watched{}} }

// watch begins, or goes on, to sample the topic for the groups.
func (d *depths) watch(topic string, groups []string) *watched {
	d.mu.Lock()
	defer d.mu.Unlock()
	w := d.topics[topic]
	if w == nil {
		w = &watched{groups: map[string]Depth{}}
		d.topics[topic] = w
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, group := range groups {
		if _, ok := w.groups[group]; !ok {
			w.groups[group] = Depth{}
		}
	}
	w.used.Store(time.Now().UnixNano())
	return w
}

func (w *watched) touch(now time.Time) {
	w.used.Store(now.UnixNano())
	w.moved.Store(true)
}

func (w *watched) over(mark int64) bool { return w.bytes.Load() > mark }

// due tells whether to sample again, and takes that as done.
func (w *watched) due(now time.Time) bool {
	if !w.moved.Swap(false) && w.bytes.Load() == 0 && now.Sub(w.last) < watchStill {
		return false
	}
	w.last = now
	return true
}

// Over tells whether the unread bytes of the topic that e goes to are above the
// high-water mark. They are sampled once a second, so a burst may go past it.
func Over[E any](b *Bus, t Topic[E], e E) bool {
	topic := topicOf(b, t, e)
	b.depths.mu.RLock()
	w := b.depths.topics[topic]
	b.depths.mu.RUnlock()
	if w == nil {
		w = b.depths.watch(topic, t.Groups)
	}
	w.touch(time.Now())
	return w.over(b.cfg.HighWater)
}

// sampleDepths asks for all watched topics, a few at a time. What cannot be
// asked keeps its last sample.
func (b *Bus) sampleDepths(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var asking errgroup.Group
	asking.SetLimit(8)
	now := time.Now()
	for topic, w := range b.depths.current(now) {
		if !w.due(now) {
			continue
		}
		asking.Go(func() error { return b.sample(ctx, topic, w) })
	}
	if err := asking.Wait(); err != nil && ctx.Err() == nil {
		b.log.Debug("sample unread bytes", "err", err)
	}
	b.metrics.lag(b.depths)
}

// current is what is to be sampled; the rest is forgotten.
func (d *depths) current(now time.Time) map[string]*watched {
	d.mu.Lock()
	defer d.mu.Unlock()
	current := make(map[string]*watched, len(d.topics))
	for topic, w := range d.topics {
		idle := time.Duration(now.UnixNano() - w.used.Load())
		if idle < watchEmpty || idle < watchFull && w.bytes.Load() > 0 {
			current[topic] = w
			continue
		}
		w.gone.Store(true)
		delete(d.topics, topic)
	}
	return current
}

func (b *Bus) sample(ctx context.Context, topic string, w *watched) error {
	var most int64
	for group := range w.all() {
		depth, err := b.backend.Depth(ctx, topic, group)
		if err != nil {
			w.moved.Store(true)
			return err
		}
		w.mu.Lock()
		w.groups[group] = depth
		w.mu.Unlock()
		most = max(most, depth.Bytes)
	}
	w.bytes.Store(most)
	return nil
}

// all is a copy of the samples.
func (w *watched) all() map[string]Depth {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := make(map[string]Depth, len(w.groups))
	for group, depth := range w.groups {
		all[group] = depth
	}
	return all
}

// forget drops a topic that is gone.
func (d *depths) forget(topic string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if w := d.topics[topic]; w != nil {
		w.gone.Store(true)
		delete(d.topics, topic)
	}
}
