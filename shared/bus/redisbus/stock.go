package redisbus

import (
	"context"
	"fmt"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill-redisstream/pkg/redisstream"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/redis/go-redis/v9"
)

const (
	// claimAge is how long an entry must have been with a consumer before another takes it over. It is
	// as small as can be, so that the first claim takes everything pending, in order,
	// before the first new entry is read.
	claimAge = time.Millisecond
	// claimInterval is the background claim's: for what a dead client's last read was given.
	claimInterval  = time.Second
	claimBatchSize = 1000
	never          = 24 * time.Hour
)

// stockSubscription stands between watermill-redisstream's subscriber and whoever reads, for two reasons: the
// client has to be closed when the subscription ends, however it ends (the driver leaves
// a reader behind that takes entries with it), and the acknowledgement that is on its
// way when it is closed should arrive.
type stockSubscription struct {
	parent *subscriber
	topic  string
	key    string
	client redis.UniversalClient
	driver *redisstream.Subscriber
	watch  *watch
	out    chan *message.Message
	ended  chan struct{}

	cancel       context.CancelFunc // ends the subscription
	cancelDriver context.CancelFunc
}

func newStockSubscription(s *subscriber, topic string, cancel, cancelDriver context.CancelFunc) *stockSubscription {
	return &stockSubscription{
		parent: s, topic: topic, key: s.backend.topicKey(topic), client: s.backend.dial(), watch: newWatch(cancel),
		out: make(chan *message.Message), ended: make(chan struct{}),
		cancel: cancel, cancelDriver: cancelDriver,
	}
}

func (one *stockSubscription) start(ctx, driverCtx context.Context) (<-chan *message.Message, error) {
	// Only this makes go-redis give a command up when the context is cancelled.
	defer context.AfterFunc(ctx, func() { _ = one.client.Close() })()
	consumer := clientName(one.parent.backend.name) + "-" + watermill.NewShortUUID()
	// Before the hook is there, because that answers XGROUP itself.
	err := joinScript.Run(ctx, one.client, []string{one.key}, one.parent.group, sweepAge.Milliseconds()).Err()
	if err != nil {
		return nil, err
	}
	// What a predecessor was given a moment ago must be old enough for the first claim.
	if err := sleep(ctx, 2*claimAge); err != nil {
		return nil, err
	}
	one.client.AddHook(one.watch)
	one.driver, err = redisstream.NewSubscriber(redisstream.SubscriberConfig{
		Client:                        one.client,
		Unmarshaller:                  envelope{},
		Consumer:                      consumer,
		ConsumerGroup:                 one.parent.group,
		NackResendSleep:               nackSleep,
		BlockTime:                     blockTime,
		ClaimInterval:                 claimInterval,
		ClaimBatchSize:                claimBatchSize,
		MaxIdleTime:                   claimAge,
		CheckConsumersInterval:        never, // its sweep is not atomic
		ConsumerTimeout:               never,
		OldestId:                      "0",
		ShouldClaimPendingMessage:     func(p redis.XPendingExt) bool { return p.Consumer != consumer },
		ShouldStopOnReadErrors:        one.watch.stopOnReadError,
		DisableIndefiniteInitialBlock: true,
	}, driverLogger(one.parent.backend.logger))
	if err != nil {
		return nil, fmt.Errorf("make the driver's subscriber: %w", err)
	}
	return one.driver.Subscribe(driverCtx, one.key)
}

// forward hands the messages on until the subscription is over, then ends it.
func (one *stockSubscription) forward(ctx context.Context, in <-chan *message.Message) {
	for one.forwardNext(ctx, in) {
	}
	if one.unasked(ctx) {
		one.parent.backend.logger.Warn("subscription ended", "topic", one.topic, "group", one.parent.group, "err", one.watch.reason())
	}
	one.end()
}

// unasked tells whether it ended although its reader did not ask for that.
func (one *stockSubscription) unasked(ctx context.Context) bool {
	return ctx.Err() == nil || one.watch.reason() != nil
}

func (one *stockSubscription) forwardNext(ctx context.Context, in <-chan *message.Message) bool {
	var msg *message.Message
	select {
	case m, ok := <-in:
		if !ok {
			return false
		}
		msg = m
	case <-ctx.Done():
		return false
	}
	select {
	case one.out <- msg:
	case <-ctx.Done():
		return false
	}
	select {
	case <-msg.Nacked(): // the driver sends a copy
		return true
	case <-msg.Acked():
		return one.awaitAck(ctx)
	case <-ctx.Done():
	}
	select {
	case <-msg.Acked():
		return one.awaitAck(ctx)
	default:
		return false
	}
}

// awaitAck waits until the server has the acknowledgement. The driver drops it when it is closed
// between its reader's ack and its own command.
func (one *stockSubscription) awaitAck(ctx context.Context) bool {
	select {
	case <-one.watch.acked:
		return true
	case <-ctx.Done():
	}
	timer := time.NewTimer(ackWait)
	defer timer.Stop()
	select {
	case <-one.watch.acked:
	case <-timer.C:
	case <-one.watch.broken:
	}
	return false
}

// end closes everything; nothing is read for this consumer after it. The client goes
// first: that ends the commands in flight, for which the driver would wait.
func (one *stockSubscription) end() {
	one.cancel()
	one.cancelDriver()
	_ = one.client.Close() // what can fail is the closing of a connection that is gone
	if one.driver != nil {
		_ = one.driver.Close() // its only error is that the client is closed
	}
	one.parent.mu.Lock()
	delete(one.parent.open, one)
	one.parent.mu.Unlock()
	close(one.out)
	close(one.ended)
}

func (one *stockSubscription) abort()                { one.cancel() }
func (one *stockSubscription) over() <-chan struct{} { return one.ended }
