package natsbus

import (
	"context"
	"errors"
	"sync"

	"github.com/ThreeDotsLabs/watermill/message"
)

// Subscriber implements [bus.Backend]. Each Subscribe of it has a connection of its
// own, which is not made again when it is lost: what was on its way is lost with it, and the
// next subscription begins where this one's acknowledgements ended.
func (b *Backend) Subscriber(ctx context.Context, group string) (message.Subscriber, error) {
	if group == "" {
		return nil, errors.New("subscriber without a group: want one, every topic is read by a group")
	}
	if err := b.ready(ctx); err != nil {
		return nil, err
	}
	s := &subscriber{backend: b, group: group, open: map[*subscription]struct{}{}}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil, errors.New("subscriber of a closed backend")
	}
	b.subscribers[s] = struct{}{}
	return s, nil
}

type subscriber struct {
	backend *Backend
	group   string

	mu     sync.Mutex
	closed bool
	open   map[*subscription]struct{}
}

// Subscribe makes the topic where it is missing and starts to read. See [bus.Backend].
func (s *subscriber) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	one := newSubscription(ctx, s, topic)
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		one.cancel(nil)
		return nil, errors.New("subscribe on a closed subscriber")
	}
	s.open[one] = struct{}{}
	s.mu.Unlock()
	if err := one.start(); err != nil {
		one.end()
		return nil, unavailable("subscribe to "+topic, err)
	}
	go one.run()
	return one.out, nil
}

// Close ends the subscriptions and closes their connections, and returns when that is
// done. A message that was acked before is acknowledged on the server first, if that answers within a second.
func (s *subscriber) Close() error {
	s.mu.Lock()
	s.closed = true
	open := make([]*subscription, 0, len(s.open))
	for one := range s.open {
		open = append(open, one)
	}
	s.mu.Unlock()
	for _, one := range open {
		one.cancel(nil)
	}
	for _, one := range open {
		<-one.ended
	}
	s.backend.mu.Lock()
	delete(s.backend.subscribers, s)
	s.backend.mu.Unlock()
	return nil
}
