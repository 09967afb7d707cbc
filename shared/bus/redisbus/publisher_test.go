package redisbus

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/parley-chat/parley/shared/bus"
)

// TestDroppedTopicStaysAway: what is still published to the topic of a reader that is gone does not bring
// it back; nobody would drop it a second time. When the reader makes it anew, all that waits arrives.
func TestDroppedTopicStaysAway(t *testing.T) {
	backend, server := start(t, fast)
	b, err := bus.New(backend, bus.Config{Name: "test", Partitions: 1, PublishTimeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = b.Close() }()
	own := bus.Topic[string]{Name: "deliveries-edge", Groups: []string{"edge"}}
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(backend.EnsureTopic(ctx, own.Name, own.Groups, time.Minute))
	w := b.Writer("notifier-00", 0, true)
	must(bus.Publish(ctx, w, own, "one"))
	must(b.Drop(ctx, own.Name))
	result := make(chan error, 1)
	must(bus.Enqueue(w, own, func(err error) { result <- err }, "two"))
	hurried, stop := context.WithTimeout(ctx, 300*time.Millisecond)
	defer stop()
	if err := bus.Publish(hurried, w, own, "three"); !errors.Is(err, bus.ErrUnavailable) {
		t.Errorf("publish to a topic that is gone: %v, want ErrUnavailable", err)
	}
	if n, err := server.Client().Exists(ctx, backend.topicKey(own.Name)).Result(); n != 0 || err != nil {
		t.Fatalf("the topic is there again: %d %v", n, err)
	}
	must(backend.EnsureTopic(ctx, own.Name, own.Groups, time.Minute))
	must(<-result)
	if n, err := server.Client().XLen(ctx, backend.topicKey(own.Name)).Result(); n == 0 || err != nil {
		t.Errorf("the topic has %d messages, %v", n, err)
	}
	if ttl, err := server.Client().TTL(ctx, backend.topicKey(own.Name)).Result(); ttl <= 0 || err != nil {
		t.Errorf("the topic stays for %s, %v", ttl, err)
	}
	w.Close()
}
