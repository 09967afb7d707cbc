package redisbus

import (
	"context"
	"testing"
	"time"

	"github.com/parley-chat/parley/shared/bus"
)

type hearer chan struct{}

func (h hearer) Consume(context.Context, []string) error { h <- struct{}{}; return nil }
func (hearer) Missed(context.Context, string)            {}
func (hearer) Close()                                    {}

// TestReadersTopicEndsAfterAFlush: a topic that its reader makes again, because the server has
// lost it, goes when nobody renews it, as the first one would have: a reader may be killed just then.
func TestReadersTopicEndsAfterAFlush(t *testing.T) {
	backend, server := start(t, fast)
	b, err := bus.New(backend, bus.Config{Name: "test", Partitions: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = b.Close() }()
	ctx, cancel := context.WithCancel(t.Context())
	own := bus.Topic[string]{Name: "deliveries-edge", Groups: []string{"edge"}}
	heard, ended := make(hearer), make(chan struct{})
	go func() {
		defer close(ended)
		_ = bus.Read(ctx, b, own, "edge", bus.ReadOptions{TTL: time.Minute}, heard)
	}()
	defer func() { cancel(); <-ended }()
	w := b.Writer("w", 1, false)
	defer w.Close()
	client, key := server.Client(), backend.topicKey(own.Name)
	for range 3 {
		eventually(t, "the topic is there", func() bool { return client.Exists(ctx, key).Val() == 1 })
		if ttl := client.PTTL(ctx, key).Val(); ttl <= 0 {
			t.Fatalf("it stays for %v", ttl)
		}
		if err := bus.Publish(ctx, w, own, "x"); err != nil {
			t.Fatal(err)
		}
		<-heard // so it has subscribed
		server.Flush()
	}
}
