package bus

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
)

// subscription reads one topic for one group, one batch at a time, and subscribes
// anew whenever that ends. Watermill's router is not between: it would start a
// goroutine for each message and hand over one at a time.
type subscription struct {
	bus          *Bus
	log          *slog.Logger
	topic, group string
	groups       []string
	consumer     consumer
	valid        func() bool                 // the lease; asked before each batch
	ready        func(context.Context) error // called before each subscribing; nil: nothing to do
	consumed     atomic.Bool                 // since the last trim
	attempts     int
	book         *book
}

// afterHole is how long a dead reader's last read may still swallow an entry after
// its client was closed.
const afterHole = 20 * time.Millisecond

var (
	errHole     = errors.New("a message is missing: subscribing anew")
	errApart    = errors.New("to be consumed message by message")
	errOver     = errors.New("subscription is ending")
	errEnded    = errors.New("subscription ended")
	errStopping = errors.New("partition is being given up")
)

func newSubscription(b *Bus, topic, group string, groups []string, c consumer) *subscription {
	return &subscription{
		bus: b, topic: topic, group: group, groups: groups, consumer: c,
		log:   b.log.With("topic", topic, "group", group),
		valid: func() bool { return true },
		book:  newBook(),
	}
}

// run returns when ctx ends (the consumer's context ends with it), or when stop is
// closed and the batch in hand is finished and acknowledged.
func (s *subscription) run(ctx context.Context, stop <-chan struct{}) {
	var tidying sync.WaitGroup
	trimming, cancel := context.WithCancel(ctx)
	tidying.Go(func() { s.bus.every(trimming, time.Second, func() { s.trim(trimming) }) })
	defer tidying.Wait()
	defer cancel()

	wait := newBackoff(50*time.Millisecond, 2*time.Second)
	forHole := false
	for ctx.Err() == nil && !isClosed(stop) {
		r := &reading{number: s.attempts, forHole: forHole, started: time.Now(), stop: stop}
		s.attempts++
		err := s.read(ctx, r)
		forHole = errors.Is(err, errHole)
		switch {
		case ctx.Err() != nil || isClosed(stop):
		case forHole:
			sleep(ctx, afterHole, stop)
		default:
			s.log.Warn("subscription ended; subscribing anew", "err", err)
			s.bus.alarm.ring()
			if time.Since(r.started) > 10*time.Second {
				wait.reset()
			}
			wait.sleep(ctx, stop)
		}
	}
}

// reading is one attempt: one subscriber.
type reading struct {
	ctx     context.Context // of the consumer's calls
	number  int
	forHole bool // it began because of a hole: whatever was pending comes first
	started time.Time
	stop    <-chan struct{}
}

// read runs one attempt until it ends by itself, or must.
func (s *subscription) read(ctx context.Context, r *reading) error {
	attempt, cancel := context.WithCancel(ctx)
	defer cancel()
	if s.ready != nil {
		if err := s.ready(attempt); err != nil {
			return err
		}
	}
	subscriber, err := s.bus.backend.Subscriber(attempt, s.group)
	if err != nil {
		return err
	}
	in, err := subscribe(attempt, subscriber, s.topic)
	if err != nil {
		return errors.Join(err, subscriber.Close())
	}
	var endConsume context.CancelFunc
	r.ctx, endConsume = context.WithCancel(ctx)
	done, watching := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watching)
		select {
		case <-r.stop: // the batch in hand may be finished
			sleep(r.ctx, s.bus.cfg.StopTimeout, done)
			endConsume()
		case <-done:
		}
	}()
	err = s.consumeAll(ctx, r, in)
	close(done)
	endConsume()
	<-watching
	return errors.Join(err, subscriber.Close()) // it sends the acknowledgements first
}

// incoming is what a subscriber hands over: batches, or messages where it cannot.
type incoming struct {
	batches  <-chan []*message.Message
	messages <-chan *message.Message
}

func subscribe(ctx context.Context, s message.Subscriber, topic string) (in incoming, err error) {
	if batcher, ok := s.(Batcher); ok {
		in.batches, err = batcher.SubscribeBatches(ctx, topic)
	} else {
		in.messages, err = s.Subscribe(ctx, topic)
	}
	return in, err
}

func (s *subscription) consumeAll(ctx context.Context, r *reading, in incoming) error {
	for {
		var batch []*message.Message
		var ok bool
		select {
		case batch, ok = <-in.batches:
		case msg, open := <-in.messages:
			batch, ok = []*message.Message{msg}, open
		case <-ctx.Done():
			return ctx.Err()
		case <-r.stop:
			return nil
		}
		if !ok {
			return errEnded
		}
		if err := s.handle(r, batch); err != nil {
			return err
		}
	}
}

// trim removes what is done with, once a second while there is some.
func (s *subscription) trim(ctx context.Context) {
	watched := s.bus.depths.watch(s.topic, s.groups)
	if !s.consumed.Swap(false) {
		return
	}
	watched.moved.Store(true)
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if err := s.bus.backend.Trim(ctx, s.topic, s.groups); err != nil {
		s.consumed.Store(true)
		s.log.Debug("trim", "err", err)
	}
}

func isClosed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}
