package natsbus

import (
	"context"
	"errors"
	"fmt"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/parley-chat/parley/shared/bus"
)

// publisher publishes on the backend's connection. It is safe for concurrent use.
type publisher struct{ backend *Backend }

// Publish stores the messages, one after the other, and returns when the server has
// said so. It honours the deadline of their contexts; without one it waits 5 s for
// each. A topic that is not there is made.
func (p *publisher) Publish(topic string, messages ...*message.Message) error {
	for _, msg := range messages {
		if err := p.publish(topic, msg); err != nil {
			return unavailable("publish to "+topic, err)
		}
	}
	return nil
}

func (p *publisher) publish(topic string, msg *message.Message) error {
	ctx, cancel := bounded(msg.Context())
	defer cancel()
	b := p.backend
	if err := b.ready(ctx); err != nil {
		return err
	}
	m := &nats.Msg{Subject: b.subject(topic), Data: pack(msg)}
	identify(m, msg.UUID)
	err := p.send(ctx, m)
	if errors.Is(err, jetstream.ErrNoStreamResponse) && bus.OnlyIfThere(ctx) {
		return fmt.Errorf("%w: %w", bus.ErrNoTopic, err)
	}
	for errors.Is(err, jetstream.ErrNoStreamResponse) { // so nothing was stored
		if _, err := b.ensure(ctx, topic); err != nil {
			return err
		}
		if err = p.send(ctx, m); err != nil && sleep(ctx, tryPause) != nil {
			break
		}
	}
	if errors.Is(err, nats.ErrMaxPayload) {
		return fmt.Errorf("message of %d bytes: the server's max_payload allows %d: %w", len(m.Data), b.conn.MaxPayload(), err)
	}
	return err
}

// send publishes once. A cluster's leader knows an id from when the message comes, not
// from when it is stored: a duplicate without a sequence may be of a message that
// never will be. So that answer says nothing, and the message goes again without its
// id: better twice than never.
func (p *publisher) send(ctx context.Context, m *nats.Msg) error {
	ack, err := p.backend.js.PublishMsg(ctx, m, jetstream.WithRetryAttempts(0))
	if err == nil && ack.Duplicate && ack.Sequence == 0 {
		m.Header = nil
		_, err = p.backend.js.PublishMsg(ctx, m, jetstream.WithRetryAttempts(0))
	}
	return err
}

// Close does nothing: see [Backend.Publisher].
func (p *publisher) Close() error { return nil }
