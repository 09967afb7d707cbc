package bus

import (
	"context"
	"time"
)

// ReadOptions are of [Read].
type ReadOptions struct {
	TTL   time.Duration // the topic goes by itself when its reader is gone for so long, where the broker can do that; 0: never
	Ready func()        // called once nothing published from then on is missed; may be nil
	Drop  bool          // drop the topic at the end
}

// Read consumes an unpartitioned topic, with no lease: the caller is its only
// reader. It makes the topic, waiting for the broker, and keeps it. It returns
// nil when ctx has ended and the batch in hand is done; then the consumer is closed.
func Read[E any](ctx context.Context, b *Bus, t Topic[E], group string, o ReadOptions, c Consumer[E]) error {
	if err := checkName("topic", t.Name); err != nil {
		return err
	}
	defer c.Close()
	r := reader{bus: b, topic: t.Name, group: group, groups: t.Groups, ttl: o.TTL}
	if !r.make(ctx) {
		return nil
	}
	if o.Ready != nil {
		o.Ready()
	}
	r.run(ctx, typed[E]{c})
	if o.Drop {
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
		defer cancel()
		if err := b.Drop(ending, t.Name); err != nil {
			b.log.Warn("drop the topic", "topic", t.Name, "err", err)
		}
	}
	return nil
}

// reader is one call of Read.
type reader struct {
	bus          *Bus
	topic, group string
	groups       []string
	ttl          time.Duration
}

// make makes the topic; false: ctx ended first.
func (r reader) make(ctx context.Context) bool {
	wait := newBackoff(50*time.Millisecond, 2*time.Second)
	for ctx.Err() == nil {
		err := r.ensure(ctx)
		if err == nil {
			return true
		}
		if ctx.Err() == nil {
			r.bus.log.Warn("make the topic", "topic", r.topic, "err", err)
		}
		wait.sleep(ctx)
	}
	return false
}

func (r reader) ensure(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return r.bus.backend.EnsureTopic(ctx, r.topic, r.groups, r.ttl)
}

func (r reader) run(ctx context.Context, c consumer) {
	keeping := make(chan struct{})
	go func() {
		defer close(keeping)
		if r.ttl == 0 {
			return
		}
		r.bus.every(ctx, min(r.ttl/3, 10*time.Second), func() {
			if err := r.ensure(ctx); err != nil && ctx.Err() == nil {
				r.bus.log.Warn("keep the topic", "topic", r.topic, "err", err)
			}
		})
	}()
	s := newSubscription(r.bus, r.topic, r.group, r.groups, c)
	if r.ttl > 0 { // subscribing would make a topic that the broker has lost, and without its end
		s.ready = r.ensure
	}
	s.run(context.WithoutCancel(ctx), ctx.Done())
	<-keeping
}
