package redisbus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill-redisstream/pkg/redisstream"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/redis/go-redis/v9"

	"github.com/parley-chat/parley/shared/bus"
)

// publisher gives the driver's publisher our keys and our errors. There is no MAXLEN: it
// would trim what nobody has read, silently.
type publisher struct {
	backend *Backend
	driver  *redisstream.Publisher
}

func newPublisher(b *Backend) (*publisher, error) {
	driver, err := redisstream.NewPublisher(
		redisstream.PublisherConfig{Client: careful{b.client}, Marshaller: envelope{}}, driverLogger(b.logger))
	if err != nil {
		return nil, fmt.Errorf("make the driver's publisher: %w", err)
	}
	return &publisher{backend: b, driver: driver}, nil
}

// Publish appends the messages, one after the other. It honours the deadline of
// their contexts; without one it waits 5 s for each reply at most.
func (p *publisher) Publish(topic string, messages ...*message.Message) error {
	if len(messages) == 0 {
		return nil
	}
	if err := p.backend.ready(messages[0].Context()); err != nil {
		return err
	}
	err := p.driver.Publish(p.backend.topicKey(topic), messages...)
	if errors.Is(err, redis.Nil) {
		return fmt.Errorf("publish to %s: %w", topic, bus.ErrNoTopic)
	}
	return unavailable("publish to "+topic, err)
}

// careful is the client for the driver's publisher, which always lets XADD make the stream. A stream
// that is made anew after its end has no expiry, and stays for ever.
type careful struct{ redis.UniversalClient }

// XAdd answers redis.Nil where the stream should be there and is not.
func (c careful) XAdd(ctx context.Context, a *redis.XAddArgs) *redis.StringCmd {
	if bus.OnlyIfThere(ctx) {
		existing := *a
		existing.NoMkStream = true
		a = &existing
	}
	return c.UniversalClient.XAdd(ctx, a)
}

// Close does nothing: see [Backend.Publisher].
func (p *publisher) Close() error { return nil }

// driverLogger makes all of the driver's lines debug: what it calls an error is as a rule
// the closing of its client, and what matters is logged by this package.
func driverLogger(logger *slog.Logger) watermill.LoggerAdapter {
	return watermill.NewSlogLoggerWithLevelMapping(logger, map[slog.Level]slog.Level{
		slog.LevelInfo: slog.LevelDebug, slog.LevelWarn: slog.LevelDebug, slog.LevelError: slog.LevelDebug,
	})
}
