package redisbus

import (
	"context"
	"fmt"
	"time"

	"github.com/parley-chat/parley/shared/bus"
)

// sweepAge is how long a consumer without pending entries must have been quiet before
// it is removed. A live one asks every blockTime.
const sweepAge = 10 * time.Second

// EnsureTopic implements [bus.Backend]. The time to live is the stream's own expiry.
func (b *Backend) EnsureTopic(ctx context.Context, topic string, groups []string, ttl time.Duration) error {
	if err := b.ready(ctx); err != nil {
		return err
	}
	args := []any{ttl.Milliseconds()}
	for _, group := range groups {
		args = append(args, group)
	}
	return unavailable("make topic "+topic, ensureScript.Run(ctx, b.client, []string{b.topicKey(topic)}, args...).Err())
}

// DropTopic implements [bus.Backend].
func (b *Backend) DropTopic(ctx context.Context, topic string) error {
	return unavailable("drop topic "+topic, b.client.Unlink(ctx, b.topicKey(topic), b.strangersKey(topic)).Err())
}

// Trim implements [bus.Backend]. A named group that does not exist holds everything back: it
// will start at the oldest entry. It also sweeps the groups' dead consumers.
func (b *Backend) Trim(ctx context.Context, topic string, groups []string) error {
	if err := b.ready(ctx); err != nil {
		return err
	}
	args := []any{b.strangerAge.Milliseconds(), sweepAge.Milliseconds()}
	for _, group := range groups {
		args = append(args, group)
	}
	keys := []string{b.topicKey(topic), b.strangersKey(topic)}
	reply, err := trimScript.Run(ctx, b.client, keys, args...).Slice()
	if err != nil {
		return unavailable("trim topic "+topic, err)
	}
	for _, item := range reply {
		b.report(topic, item)
	}
	return nil
}

// report logs a group that is in no catalogue: once when it is found, once when it is destroyed.
func (b *Backend) report(topic string, item any) {
	stranger, _ := item.([]any)
	if len(stranger) != 3 {
		return
	}
	group, _ := stranger[0].(string)
	idle, _ := stranger[1].(int64)
	destroyed, _ := stranger[2].(int64)
	key := topic + " " + group
	if destroyed == 1 {
		b.reported.Delete(key)
		b.logger.Warn("destroyed a group that nobody names and nobody reads", "topic", topic, "group", group,
			"idle", time.Duration(idle)*time.Millisecond)
		return
	}
	if _, known := b.reported.LoadOrStore(key, struct{}{}); !known {
		b.logger.Warn("a group that nobody names does not hold trimming back, and is destroyed when it does not read",
			"topic", topic, "group", group, "after", b.strangerAge)
	}
}

// Depth implements [bus.Backend].
func (b *Backend) Depth(ctx context.Context, topic, group string) (bus.Depth, error) {
	if err := b.ready(ctx); err != nil {
		return bus.Depth{}, err
	}
	n, err := depthScript.Run(ctx, b.client, []string{b.topicKey(topic)}, group).Int64Slice()
	if err == nil && len(n) != 3 {
		err = permanentReply(fmt.Sprintf("unexpected reply %v", n))
	}
	if err != nil {
		return bus.Depth{}, unavailable("look at topic "+topic, err)
	}
	return bus.Depth{Messages: n[0], Bytes: n[1], Pending: n[2]}, nil
}

func (b *Backend) strangersKey(topic string) string { return b.tagged(topic, "strangers:"+topic) }
