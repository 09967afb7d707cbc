package bus

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
)

// subscription reads one topic for one group, one batch at a time, and subscribes
// anew whenever that ends.
type subscription struct {
	bus          *Bus
	log          *slog.Logger
	topic, group string
	groups       []string
	consumer     consumer
	valid        func() bool // the lease; asked before each batch
	consumed     atomic.Bool // since the last trim
	attempts     int

	mu    sync.Mutex // held while a message is handled
	book  *book
	acked time.Time // when the last message was acknowledged
}

// How long a dead reader's last read may still swallow an entry after its client
// was closed, and how long a driver may take to send an acknowledgement.
const (
	afterHole = 20 * time.Millisecond
	ackGrace  = 20 * time.Millisecond
)

var (
	errHole     = errors.New("a message is missing: subscribing anew")
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
		r := &reading{number: s.attempts, forHole: forHole, started: time.Now(), stop: stop, hole: make(chan struct{}, 1)}
		s.attempts++
		err := s.read(ctx, r)
		forHole = errors.Is(err, errHole)
		switch {
		case ctx.Err() != nil || isClosed(stop):
		case forHole:
			sleep(ctx, afterHole, stop)
		default:
			s.log.Warn("subscription ended; subscribing anew", "err", err)
			if time.Since(r.started) > 10*time.Second {
				wait.reset()
			}
			wait.sleep(ctx, stop)
		}
	}
}

// reading is one attempt: one subscriber, one router.
type reading struct {
	ctx     context.Context // of the consumer's calls
	number  int
	forHole bool // it began because of a hole: whatever was pending comes first
	started time.Time
	stop    <-chan struct{}
	hole    chan struct{}
	over    bool // guarded by the subscription's mu: nothing more is handled
}

// read runs one attempt until it ends by itself, or must.
func (s *subscription) read(ctx context.Context, r *reading) error {
	attempt, cancel := context.WithCancel(ctx)
	defer cancel()
	subscriber, err := s.bus.backend.Subscriber(attempt, s.group)
	if err != nil {
		return err
	}
	sub := &subscribed{Subscriber: subscriber}
	defer sub.Close()
	if sub.messages, err = subscriber.Subscribe(attempt, s.topic); err != nil {
		return err
	}
	router, err := message.NewRouter(message.RouterConfig{CloseTimeout: 10 * s.bus.cfg.StopTimeout}, watermill.NopLogger{})
	if err != nil {
		return err
	}
	var endConsume context.CancelFunc
	r.ctx, endConsume = context.WithCancel(ctx)
	defer endConsume()
	router.AddConsumerHandler(s.group, s.topic, sub, func(msg *message.Message) error { return s.handle(r, msg) })
	ended := make(chan error, 1)
	go func() { ended <- router.Run(attempt) }()

	result := errEnded
	select {
	case err := <-ended:
		ended <- err
		result = errors.Join(errEnded, err)
	case <-r.hole:
		result = errHole
	case <-ctx.Done():
	case <-r.stop:
		timer := time.AfterFunc(s.bus.cfg.StopTimeout, endConsume)
		s.finish(ctx, r)
		timer.Stop()
	}
	// The router cancels messages' contexts first and waits for handlers last, so
	// it is ended only now. The client goes with it.
	cancel()
	err = sub.Close()
	<-ended
	s.finish(ctx, r)
	return errors.Join(result, err)
}

// finish waits for the batch in hand and lets no other begin.
func (s *subscription) finish(ctx context.Context, r *reading) {
	s.mu.Lock()
	r.over = true
	rest := ackGrace - time.Since(s.acked)
	s.mu.Unlock()
	if rest > 0 {
		sleep(ctx, rest)
	}
}

// trim removes what is done with, once a second while there is some.
func (s *subscription) trim(ctx context.Context) {
	s.bus.depths.watch(s.topic, s.groups)
	if !s.consumed.Swap(false) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if err := s.bus.backend.Trim(ctx, s.topic, s.groups); err != nil {
		s.consumed.Store(true)
		s.log.Debug("trim", "err", err)
	}
}

// subscribed is a subscriber that has subscribed already: the router would leave a
// goroutine behind if it failed to. It is closed once.
type subscribed struct {
	message.Subscriber
	messages <-chan *message.Message
	once     sync.Once
	err      error
}

func (s *subscribed) Subscribe(context.Context, string) (<-chan *message.Message, error) {
	return s.messages, nil
}

func (s *subscribed) Close() error {
	s.once.Do(func() { s.err = s.Subscriber.Close() })
	return s.err
}

func isClosed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}
