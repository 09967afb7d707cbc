package natsbus

import (
	"context"
	"errors"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// nackSleep is how long a message that was refused waits until it comes again.
const nackSleep = 100 * time.Millisecond

var errConnectionLost = errors.New("connection lost")

// subscription reads one topic for one group. run hands out the messages, one at a
// time; a second goroutine, which run starts and waits for, writes the cursor.
type subscription struct {
	parent *subscriber
	topic  string
	conn   *nats.Conn
	reader *reader
	cursor *cursor
	out    chan *message.Message
	ended  chan struct{}

	ctx    context.Context // the reader's; ends with Close, too, and when it cannot go on, then with a cause
	cancel context.CancelCauseFunc
}

func newSubscription(ctx context.Context, s *subscriber, topic string) *subscription {
	one := &subscription{parent: s, topic: topic, out: make(chan *message.Message), ended: make(chan struct{})}
	one.ctx, one.cancel = context.WithCancelCause(ctx)
	return one
}

func (one *subscription) start() error {
	ctx, cancel := bounded(one.ctx)
	defer cancel()
	b := one.parent.backend
	var js jetstream.JetStream
	var err error
	one.conn, js, err = b.dial(nats.NoReconnect(), nats.ClosedHandler(func(nc *nats.Conn) {
		one.cancel(errors.Join(errConnectionLost, nc.LastError()))
	}))
	if err != nil {
		return err
	}
	info, err := b.ensure(ctx, one.topic)
	if err != nil {
		return err
	}
	var acked uint64
	err = b.cursors.do(ctx, func(ctx context.Context, o *opened) (err error) {
		acked, err = readCursor(ctx, o, one.topic, one.parent.group, info)
		one.cursor = newCursor(js, o.subject(cursorKey(one.topic, one.parent.group)), info.Created.UnixNano(), acked)
		return err
	})
	if err != nil {
		return err
	}
	// Written before anything is read: it is what shows that the group exists, and one that
	// was beyond the stream's end is put right.
	if err := one.cursor.write(ctx); err != nil {
		return err
	}
	one.reader, err = newReader(ctx, one.conn, js, info.Config.Name, acked+1)
	return err
}

// run hands the messages on until the subscription is over, then ends it.
func (one *subscription) run() {
	over, written := make(chan struct{}), make(chan struct{})
	writing, stopWriting := context.WithCancel(context.WithoutCancel(one.ctx))
	defer stopWriting()
	go func() {
		defer close(written)
		if err := one.cursor.run(writing, over); err != nil {
			one.cancel(err)
		}
	}()
	for one.forwardNext() {
	}
	close(over)
	atLatest := time.AfterFunc(ackWait, stopWriting)
	<-written
	atLatest.Stop()
	if err := cause(one.ctx); err != nil {
		one.parent.backend.logger.Warn("subscription ended", "topic", one.topic, "group", one.parent.group, "err", err)
	}
	one.end()
}

func (one *subscription) forwardNext() bool {
	data, seq, err := one.reader.next(one.ctx)
	if err != nil {
		one.cancel(err) // no effect when it is the context's own
		return false
	}
	for {
		switch one.deliver(open(data)) {
		case acked:
			one.cursor.ack(seq)
			return one.ctx.Err() == nil
		case ended:
			return false
		}
		if sleep(one.ctx, nackSleep) != nil {
			return false
		}
	}
}

type outcome int

const (
	ended outcome = iota
	acked
	nacked
)

// deliver waits until the message is acked or nacked, or nobody wants it any more.
func (one *subscription) deliver(msg *message.Message) outcome {
	ctx, cancel := context.WithCancel(one.ctx)
	defer cancel()
	msg.SetContext(ctx)
	select {
	case one.out <- msg:
	case <-one.ctx.Done():
		return ended
	}
	select {
	case <-msg.Acked():
		return acked
	case <-msg.Nacked():
		return nacked
	case <-one.ctx.Done():
	}
	select {
	case <-msg.Acked(): // just before the end
		return acked
	default:
		return ended
	}
}

// end closes everything.
func (one *subscription) end() {
	one.cancel(nil)
	if one.reader != nil {
		one.reader.close()
	}
	if one.conn != nil {
		one.conn.Close()
	}
	one.parent.mu.Lock()
	delete(one.parent.open, one)
	one.parent.mu.Unlock()
	close(one.out)
	close(one.ended)
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
