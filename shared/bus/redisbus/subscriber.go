package redisbus

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/parley-chat/parley/shared/bus"
)

const (
	// blockTime is how long one read waits on the server at most: until the next beat of it.
	blockTime = 1500 * time.Millisecond
	nackSleep = 100 * time.Millisecond
	// ackWait is how long closing waits for the acknowledgement of what was handled.
	ackWait = time.Second
	// subscriptionPool: the read that waits, the acknowledgement, the stock driver's background
	// claim, and one to spare.
	subscriptionPool = 4
)

// Subscriber implements [bus.Backend]. Each Subscribe of it has a client of its own,
// so that nothing of an earlier one can get in its way. Where the stock driver is not
// asked for it is a [bus.Batcher].
func (b *Backend) Subscriber(ctx context.Context, group string) (message.Subscriber, error) {
	if group == "" {
		return nil, errors.New("subscriber without a group: want one, every topic is read by a group")
	}
	if err := b.ready(ctx); err != nil {
		return nil, err
	}
	s := &subscriber{backend: b, group: group, open: map[subscription]struct{}{}}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil, errors.New("subscriber of a closed backend")
	}
	b.subscribers[s] = struct{}{}
	if b.stock {
		return s, nil
	}
	return batcher{s}, nil
}

type subscriber struct {
	backend *Backend
	group   string

	mu     sync.Mutex
	closed bool
	open   map[subscription]struct{}
}

// subscription is one Subscribe's.
type subscription interface {
	abort()                // ends it, from any goroutine
	over() <-chan struct{} // closed when everything of it is closed
}

// batcher is a subscriber that can hand over batches.
type batcher struct{ *subscriber }

var _ bus.Batcher = batcher{}

// SubscribeBatches implements [bus.Batcher].
func (s batcher) SubscribeBatches(ctx context.Context, topic string) (<-chan []*message.Message, error) {
	out := make(chan []*message.Message)
	err := s.follow(ctx, topic, maxBatch, func(ctx context.Context, batch []*message.Message) bool { return give(ctx, out, batch) }, func() { close(out) })
	return out, err
}

// Subscribe makes the group where it is missing and starts to read. See [bus.Backend].
func (s *subscriber) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	if s.backend.stock {
		return s.subscribeStock(ctx, topic)
	}
	out := make(chan *message.Message)
	err := s.follow(ctx, topic, 1, func(ctx context.Context, batch []*message.Message) bool { return give(ctx, out, batch[0]) }, func() { close(out) })
	return out, err
}

// give hands over what is read; false: nobody wants it any more.
func give[T any](ctx context.Context, out chan<- T, read T) bool {
	select {
	case out <- read:
		return true
	case <-ctx.Done():
		return false
	}
}

func (s *subscriber) follow(ctx context.Context, topic string, most int, hand func(context.Context, []*message.Message) bool, finish func()) error {
	ctx, cancel := context.WithCancelCause(ctx)
	one := &follower{
		parent: s, topic: topic, key: s.backend.topicKey(topic), client: s.backend.dial(), most: most,
		hand: hand, finish: finish, cancel: cancel, ended: make(chan struct{}),
	}
	if !s.add(one) {
		one.end()
		return errors.New("subscribe on a closed subscriber")
	}
	if err := one.start(ctx); err != nil {
		one.end()
		return unavailable("subscribe to "+topic, err)
	}
	go one.run(ctx)
	return nil
}

func (s *subscriber) subscribeStock(ctx context.Context, topic string) (<-chan *message.Message, error) {
	driverCtx, cancelDriver := context.WithCancel(context.WithoutCancel(ctx)) // outlives ctx by the last acknowledgement
	ctx, cancel := context.WithCancel(ctx)
	one := newStockSubscription(s, topic, cancel, cancelDriver)
	if !s.add(one) {
		one.end()
		return nil, errors.New("subscribe on a closed subscriber")
	}
	in, err := one.start(ctx, driverCtx)
	if err != nil {
		one.end()
		return nil, unavailable("subscribe to "+topic, err)
	}
	go one.forward(ctx, in)
	return one.out, nil
}

func (s *subscriber) add(one subscription) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.open[one] = struct{}{}
	return true
}

// Close ends the subscriptions and closes their clients, and returns when that is
// done. A message that was acked before is acknowledged on the server first, if that answers within a second.
func (s *subscriber) Close() error {
	s.mu.Lock()
	s.closed = true
	open := make([]subscription, 0, len(s.open))
	for one := range s.open {
		open = append(open, one)
	}
	s.mu.Unlock()
	for _, one := range open {
		one.abort()
	}
	for _, one := range open {
		<-one.over()
	}
	s.backend.mu.Lock()
	delete(s.backend.subscribers, s)
	s.backend.mu.Unlock()
	return nil
}
