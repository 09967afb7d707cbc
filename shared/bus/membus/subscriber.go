package membus

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/parley-chat/parley/shared/bus"
)

// nackDelay is how long a message that was refused waits before it comes again.
const nackDelay = 100 * time.Millisecond

// Subscriber opens a subscriber of the group.
func (b *Backend) Subscriber(_ context.Context, group string) (message.Subscriber, error) {
	return &subscriber{b: b, group: group, closed: make(chan struct{})}, nil
}

type subscriber struct {
	b     *Backend
	group string

	once   sync.Once
	closed chan struct{}
	active sync.WaitGroup
}

// Subscribe has what is pending in the group given to this subscriber first.
func (s *subscriber) Subscribe(ctx context.Context, name string) (<-chan *message.Message, error) {
	select {
	case <-s.closed:
		return nil, fmt.Errorf("subscribe to %s: %w: the subscriber is closed", name, bus.ErrUnavailable)
	default:
	}
	t, err := s.b.topic(name, true)
	if err != nil {
		return nil, err
	}
	g := t.group(s.group)
	t.restart(g)
	out := make(chan *message.Message)
	r := &reading{t: t, g: g, out: out, closed: s.closed}
	s.active.Go(func() {
		defer close(out)
		r.run(ctx)
	})
	return out, nil
}

// Close ends the subscriptions and waits for them.
func (s *subscriber) Close() error {
	s.once.Do(func() { close(s.closed) })
	s.active.Wait()
	return nil
}

// reading is one subscription.
type reading struct {
	t      *topic
	g      *group
	out    chan<- *message.Message
	closed <-chan struct{}
}

func (r *reading) run(ctx context.Context) {
	for ctx.Err() == nil {
		offset, e, wait := r.t.give(r.g)
		if wait != nil {
			if !r.wait(ctx, wait) {
				return
			}
			continue
		}
		if !r.deliver(ctx, offset, e) {
			return
		}
	}
}

func (r *reading) wait(ctx context.Context, more <-chan struct{}) bool {
	select {
	case <-more:
		return true
	case <-ctx.Done():
	case <-r.closed:
	case <-r.t.gone:
	}
	return false
}

// deliver brings one message until it is acknowledged; false: the subscription ends.
func (r *reading) deliver(ctx context.Context, offset uint64, e entry) bool {
	for {
		handling, cancel := context.WithCancel(ctx)
		msg := message.NewMessage(e.uuid, e.payload)
		for k, v := range e.metadata {
			msg.Metadata[k] = v
		}
		msg.SetContext(handling)
		acked, ended := r.offer(handling, msg)
		cancel()
		switch {
		case acked:
			r.t.acknowledge(r.g, offset)
			return !ended
		case ended || !r.pause(ctx):
			r.t.giveBack(r.g, offset)
			return false
		}
	}
}

// offer returns when the message is acknowledged or refused, or the subscription ends.
func (r *reading) offer(ctx context.Context, msg *message.Message) (acked, ended bool) {
	select {
	case r.out <- msg:
	case <-ctx.Done():
		return false, true
	case <-r.closed:
		return false, true
	case <-r.t.gone:
		return false, true
	}
	select {
	case <-msg.Acked():
		return true, false
	case <-msg.Nacked():
		return false, false
	case <-ctx.Done():
	case <-r.closed:
	case <-r.t.gone:
	}
	// What was acknowledged before the end is acknowledged.
	select {
	case <-msg.Acked():
		return true, true
	default:
		return false, true
	}
}

func (r *reading) pause(ctx context.Context) bool {
	timer := time.NewTimer(nackDelay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
	case <-r.closed:
	case <-r.t.gone:
	}
	return false
}
