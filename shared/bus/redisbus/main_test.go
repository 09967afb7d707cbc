package redisbus

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"go.uber.org/goleak"

	"github.com/parley-chat/parley/shared/redistest"
)

func TestMain(m *testing.M) {
	logging.Disable() // go-redis writes a line to stderr for each failed connection
	goleak.VerifyTestMain(m)
}

// patience is for what happens at once on a machine that has nothing else to do.
const patience = 20 * time.Second

// fast is for tests that append much and kill nothing.
var fast = redistest.Options{Args: []string{"--appendfsync", "no"}}

func open(t *testing.T, url string) *Backend {
	t.Helper()
	b, err := Open(t.Context(), url, Options{Prefix: "t", Name: "test", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func start(t *testing.T, o redistest.Options) (*Backend, *redistest.Server) {
	t.Helper()
	server := redistest.Start(t, o)
	return open(t, server.URL), server
}

func publish(t *testing.T, b *Backend, topic string, payloads ...string) {
	t.Helper()
	for _, payload := range payloads {
		if err := tryPublish(t.Context(), b, topic, payload); err != nil {
			t.Fatal(err)
		}
	}
}

func tryPublish(ctx context.Context, b *Backend, topic, payload string) error {
	msg := message.NewMessage("uuid-"+payload, []byte(payload))
	msg.Metadata.Set("k", "v")
	msg.SetContext(ctx)
	return b.Publisher().Publish(topic, msg)
}

// reader is one subscription of a test.
type reader struct {
	t   *testing.T
	sub message.Subscriber
	in  <-chan *message.Message
}

func subscribe(t *testing.T, b *Backend, topic, group string) *reader {
	t.Helper()
	sub, err := b.Subscriber(t.Context(), group)
	if err != nil {
		t.Fatal(err)
	}
	in, err := sub.Subscribe(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	return &reader{t, sub, in}
}

func (r *reader) next() *message.Message {
	r.t.Helper()
	select {
	case msg, ok := <-r.in:
		if !ok {
			r.t.Fatal("the subscription ended; want a message")
		}
		return msg
	case <-time.After(patience):
		r.t.Fatal("no message came")
	}
	return nil
}

// want reads and acks messages with these payloads.
func (r *reader) want(payloads ...string) {
	r.t.Helper()
	for _, want := range payloads {
		msg := r.next()
		if got := string(msg.Payload); got != want {
			r.t.Fatalf("got message %q, want %q", got, want)
		}
		msg.Ack()
	}
}

func (r *reader) wantEnd() {
	r.t.Helper()
	select {
	case msg, ok := <-r.in:
		if ok {
			r.t.Fatalf("got message %q; want the subscription to end", msg.Payload)
		}
	case <-time.After(patience):
		r.t.Fatal("the subscription goes on; want it to end")
	}
}

func (r *reader) close() {
	r.t.Helper()
	if err := r.sub.Close(); err != nil {
		r.t.Fatal(err)
	}
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("still not: %s", what)
		case <-tick.C:
		}
	}
}

func pending(t *testing.T, client *redis.Client, key, group string) int64 {
	t.Helper()
	p, err := client.XPending(t.Context(), key, group).Result()
	if err != nil {
		t.Fatal(err)
	}
	return p.Count
}

func numbers(from, to int) []string {
	var s []string
	for i := from; i <= to; i++ {
		s = append(s, fmt.Sprint(i))
	}
	return s
}
