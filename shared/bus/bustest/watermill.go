package bustest

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/tests"

	"github.com/parley-chat/parley/shared/bus"
)

// runWatermill runs the universal suite as a bus uses a backend: one reader at a
// time for a topic and group, so RequireSingleInstance.
func runWatermill(t *testing.T, h Harness) {
	backend := h.New(t)
	t.Cleanup(func() { _ = backend.Close() })
	inGroup := func(t *testing.T, group string) (message.Publisher, message.Subscriber) {
		s := &eachOwn{backend: backend, group: group}
		t.Cleanup(func() { _ = s.Close() })
		return shared{backend.Publisher()}, s
	}
	// The suite runs in parallel: without a parent it would outlive the backend.
	t.Run("Suite", func(t *testing.T) {
		tests.TestPubSub(t, tests.Features{
			ConsumerGroups:                      true,
			GuaranteedOrder:                     true,
			GuaranteedOrderWithSingleSubscriber: true,
			Persistent:                          true,
			RequireSingleInstance:               true,
			ForceShort:                          true,
		}, func(t *testing.T) (message.Publisher, message.Subscriber) { return inGroup(t, "suite") }, inGroup)
	})
}

// shared is a publisher that the suite must not close. Like a bus it tries again
// while the broker is not available; the suite tries five times, but at once, and
// hangs when that failed.
type shared struct{ message.Publisher }

func (s shared) Publish(topic string, messages ...*message.Message) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		for _, msg := range messages {
			msg.SetContext(ctx)
		}
		err := s.Publisher.Publish(topic, messages...)
		if !errors.Is(err, bus.ErrUnavailable) || ctx.Err() != nil {
			return err
		}
		<-tick.C
	}
}

func (shared) Close() error { return nil }

// eachOwn gives each subscription a subscriber of its own, as a bus does.
type eachOwn struct {
	backend bus.Backend
	group   string

	mu   sync.Mutex
	open []message.Subscriber
}

func (s *eachOwn) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	sub, err := s.backend.Subscriber(ctx, s.group)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.open = append(s.open, sub)
	s.mu.Unlock()
	return sub.Subscribe(ctx, topic)
}

func (s *eachOwn) Close() error {
	s.mu.Lock()
	open := s.open
	s.open = nil
	s.mu.Unlock()
	var err error
	for _, sub := range open {
		err = errors.Join(err, sub.Close())
	}
	return err
}
