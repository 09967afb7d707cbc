package bus

import (
	"context"
	"fmt"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
)

// DeadLetters is the topic of everything that could not be consumed: the payload
// as it was, its metadata, and the Meta… names below. Nothing reads it; it is for
// people, who also empty it.
const DeadLetters = "dead-letters"

// What a dead letter's metadata says besides its own.
const (
	MetaDeadTopic  = "dead_topic"
	MetaDeadGroup  = "dead_group"
	MetaDeadReason = "dead_reason"
	MetaDeadAt     = "dead_at" // RFC 3339
)

const longestReason = 2000

// bury publishes a message to the dead letters, trying for as long as the
// partition is this reader's: only then may it be acknowledged.
func (s *subscription) bury(r *reading, msg *message.Message, reason string) error {
	if len(reason) > longestReason {
		reason = reason[:longestReason] + "…"
	}
	s.log.Error("dead letter", "reason", reason, "uuid", msg.UUID, "bytes", len(msg.Payload))
	dead := message.NewMessage(watermill.NewUUID(), msg.Payload)
	for name, value := range msg.Metadata {
		dead.Metadata[name] = value
	}
	delete(dead.Metadata, MetaMalformed)
	dead.Metadata[MetaDeadTopic] = s.topic
	dead.Metadata[MetaDeadGroup] = s.group
	dead.Metadata[MetaDeadReason] = reason
	dead.Metadata[MetaDeadAt] = time.Now().UTC().Format(time.RFC3339Nano)

	wait := newBackoff(20*time.Millisecond, time.Second)
	for {
		err := s.bus.publishDead(r.ctx, dead)
		if err == nil {
			s.bus.metrics.deadLetters.WithLabelValues(label(s.topic), s.group).Inc()
			return nil
		}
		s.log.Warn("publish a dead letter", "err", err)
		wait.sleep(r.ctx, r.stop)
		if r.ctx.Err() != nil || isClosed(r.stop) || !s.valid() {
			return fmt.Errorf("dead letter not published: %w", err)
		}
	}
}

func (b *Bus) publishDead(ctx context.Context, dead *message.Message) error {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	if err := b.backend.EnsureTopic(ctx, DeadLetters, nil, 0); err != nil {
		return err
	}
	msg := dead.Copy()
	msg.SetContext(ctx)
	return b.backend.Publisher().Publish(DeadLetters, msg)
}
