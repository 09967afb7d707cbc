package redisbus

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/parley-chat/parley/shared/bus"
)

var _ bus.Inspector = (*Backend)(nil)

// Scan implements [bus.Inspector]. A place is an entry's id.
func (b *Backend) Scan(ctx context.Context, topic, behind string, limit int) ([]bus.Stored, error) {
	if err := b.ready(ctx); err != nil {
		return nil, err
	}
	from := "-"
	if behind != "" {
		from = "(" + behind
	}
	entries, err := b.client.XRangeN(ctx, b.topicKey(topic), from, "+", int64(limit)).Result()
	if err != nil {
		return nil, unavailable("scan topic "+topic, err)
	}
	found := make([]bus.Stored, 0, len(entries))
	for _, e := range entries {
		msg, err := envelope{}.Unmarshal(e.Values)
		if err != nil {
			return nil, err
		}
		found = append(found, bus.StoredMessage(topic, e.ID, madeAt(e.ID), msg))
	}
	return found, nil
}

// madeAt reads the time that an entry's id begins with.
func madeAt(id string) time.Time {
	ms, _, _ := strings.Cut(id, "-")
	n, _ := strconv.ParseInt(ms, 10, 64)
	return time.UnixMilli(n)
}

// Newest implements [bus.Inspector]. What was trimmed counts, too.
func (b *Backend) Newest(ctx context.Context, topic string) (string, error) {
	if err := b.ready(ctx); err != nil {
		return "", err
	}
	info, err := b.client.XInfoStream(ctx, b.topicKey(topic)).Result()
	if err != nil && strings.Contains(err.Error(), "no such key") {
		return "", nil
	}
	if err != nil {
		return "", unavailable("look at topic "+topic, err)
	}
	return info.LastGeneratedID, nil
}

// Remove implements [bus.Inspector].
func (b *Backend) Remove(ctx context.Context, topic, place string) (bool, error) {
	n, err := b.client.XDel(ctx, b.topicKey(topic), place).Result()
	return n == 1, unavailable("remove "+place+" from "+topic, err)
}

// Holder implements [bus.Inspector].
func (b *Backend) Holder(ctx context.Context, lease string) (holder string, generation uint64, err error) {
	value, err := b.client.Get(ctx, b.tagged(lease, "lease:"+lease)).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return "", 0, unavailable("look at lease "+lease, err)
	}
	number, holder, _ := strings.Cut(value, " ")
	generation, _ = strconv.ParseUint(number, 10, 64)
	return holder, generation, nil
}

// Settled implements [bus.Inspector].
func (b *Backend) Settled(ctx context.Context, name string) (string, error) {
	value, err := b.client.Get(ctx, b.prefix+":settled:"+name).Result()
	if errors.Is(err, redis.Nil) {
		return "", nil
	}
	return value, unavailable("look what is settled as "+name, err)
}
