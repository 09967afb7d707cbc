package bustest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/parley-chat/parley/shared/bus"
)

// faulty stands between a bus and its backend and breaks things.
type faulty struct {
	bus.Backend
	cut     atomic.Bool                                    // leases and sets cannot be reached
	publish func(topic string, msg *message.Message) error // before each message; see below
	swallow func(topic string, msg *message.Message) bool  // a dead reader takes the message

	mu   sync.Mutex
	kept map[string][]*message.Message // swallowed, by topic
}

// What a publish hook may answer besides nil and other errors.
var (
	errLose  = errors.New("lose it and say it went well")
	errTwice = errors.New("publish it twice")
)

func (f *faulty) Publisher() message.Publisher { return faultyPublisher{f, f.Backend.Publisher()} }

type faultyPublisher struct {
	f *faulty
	message.Publisher
}

func (p faultyPublisher) Publish(topic string, messages ...*message.Message) error {
	for _, msg := range messages {
		var err error
		if p.f.publish != nil {
			err = p.f.publish(topic, msg)
		}
		switch {
		case errors.Is(err, errLose):
			continue
		case errors.Is(err, errTwice):
			if err := p.Publisher.Publish(topic, msg); err != nil {
				return err
			}
		case err != nil:
			return err
		}
		if err := p.Publisher.Publish(topic, msg); err != nil {
			return err
		}
	}
	return nil
}

func (f *faulty) Subscriber(ctx context.Context, group string) (message.Subscriber, error) {
	sub, err := f.Backend.Subscriber(ctx, group)
	if err != nil || f.swallow == nil {
		return sub, err
	}
	return &swallowing{Subscriber: sub, f: f}, nil
}

// swallowing takes some messages as a dead reader does: the next one comes though
// they were not acknowledged, and only who subscribes anew is given them, first.
type swallowing struct {
	message.Subscriber
	f  *faulty
	wg sync.WaitGroup
}

func (s *swallowing) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	in, err := s.Subscriber.Subscribe(ctx, topic)
	if err != nil {
		return nil, err
	}
	out := make(chan *message.Message)
	s.wg.Go(func() {
		defer close(out)
		for _, msg := range s.f.takeKept(topic) {
			if !pass(ctx, out, msg) {
				return
			}
			select {
			case <-msg.Acked():
			case <-ctx.Done():
				return
			}
		}
		for msg := range in {
			if s.f.swallow(topic, msg) {
				s.f.keep(topic, msg.Copy())
				msg.Ack()
			} else if !pass(ctx, out, msg) {
				return
			}
		}
	})
	return out, nil
}

func pass(ctx context.Context, out chan<- *message.Message, msg *message.Message) bool {
	select {
	case out <- msg:
		return true
	case <-ctx.Done():
		return false
	}
}

func (f *faulty) keep(topic string, msg *message.Message) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.kept[topic] = append(f.kept[topic], msg)
}

func (f *faulty) takeKept(topic string) []*message.Message {
	f.mu.Lock()
	defer f.mu.Unlock()
	kept := f.kept[topic]
	delete(f.kept, topic)
	return kept
}

func (s *swallowing) Close() error {
	err := s.Subscriber.Close()
	s.wg.Wait()
	return err
}

func (f *faulty) reached() error {
	if f.cut.Load() {
		return fmt.Errorf("cut off: %w", bus.ErrUnavailable)
	}
	return nil
}

func (f *faulty) Lease(ctx context.Context, name, holder string, ttl time.Duration) (bus.Lease, error) {
	if err := f.reached(); err != nil {
		return bus.Lease{}, err
	}
	return f.Backend.Lease(ctx, name, holder, ttl)
}

func (f *faulty) Release(ctx context.Context, name, holder string, generation uint64) error {
	return errors.Join(f.reached(), f.unlessCut(func() error { return f.Backend.Release(ctx, name, holder, generation) }))
}

func (f *faulty) Withdraw(ctx context.Context, set, member string) error {
	return errors.Join(f.reached(), f.unlessCut(func() error { return f.Backend.Withdraw(ctx, set, member) }))
}

func (f *faulty) Announce(ctx context.Context, set, member string, ttl time.Duration) (bool, error) {
	if err := f.reached(); err != nil {
		return false, err
	}
	return f.Backend.Announce(ctx, set, member, ttl)
}

func (f *faulty) unlessCut(do func() error) error {
	if f.cut.Load() {
		return nil
	}
	return do()
}

// gate holds whoever comes until it is opened.
type gate struct {
	once sync.Once
	ch   chan struct{}
}

func newGate() *gate { return &gate{ch: make(chan struct{})} }

func (g *gate) open() { g.once.Do(func() { close(g.ch) }) }

func (g *gate) hold(_ string, msg *message.Message) error {
	select {
	case <-g.ch:
		return nil
	case <-msg.Context().Done():
		return fmt.Errorf("held: %w", bus.ErrUnavailable)
	}
}
