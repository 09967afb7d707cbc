package natsbus

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"go.uber.org/goleak"

	"github.com/parley-chat/parley/shared/bus"
	"github.com/parley-chat/parley/shared/bus/bustest"
	"github.com/parley-chat/parley/shared/natstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	server := natstest.Start(t, natstest.Options{})
	quiet := slog.New(slog.DiscardHandler)
	bustest.Run(t, bustest.Harness{
		New: func(t *testing.T) bus.Backend {
			b, err := Open(t.Context(), server.URL, Options{Prefix: "t", Name: t.Name(), Logger: quiet})
			if err != nil {
				t.Fatal(err)
			}
			return b
		},
		Restart: func(*testing.T) { server.Restart() },
		Pause:   func(*testing.T) { server.Pause() },
		Resume:  func(*testing.T) { server.Resume() },
		Flush:   func(*testing.T) { server.Wipe() },
		Inject: func(t *testing.T, topic string) {
			if _, err := server.JetStream().Publish(t.Context(), "t.topic."+escape(topic), []byte("hello")); err != nil {
				t.Fatal(err)
			}
		},
	})
}

func startCluster(t *testing.T) (servers []*natstest.Server, url string) {
	t.Helper()
	servers = natstest.StartCluster(t, 3)
	var hosts []string
	for _, s := range servers {
		hosts = append(hosts, s.Addr)
	}
	return servers, "nats://" + strings.Join(hosts, ",") + "?replicas=3"
}

// patience is for what happens at once on a machine that has nothing else to do.
const patience = 20 * time.Second

func openBackend(t *testing.T, url string) *Backend {
	t.Helper()
	b, err := Open(t.Context(), url, Options{Prefix: "t", Name: "test", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

func start(t *testing.T) (*Backend, *natstest.Server) {
	t.Helper()
	server := natstest.Start(t, natstest.Options{})
	return openBackend(t, server.URL), server
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

// reading is one subscription of a test.
type reading struct {
	t   *testing.T
	sub message.Subscriber
	in  <-chan *message.Message
}

func subscribe(t *testing.T, b *Backend, topic, group string) *reading {
	t.Helper()
	sub, err := b.Subscriber(t.Context(), group)
	if err != nil {
		t.Fatal(err)
	}
	in, err := sub.Subscribe(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	return &reading{t, sub, in}
}

func (r *reading) next() *message.Message {
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
func (r *reading) want(payloads ...string) {
	r.t.Helper()
	for _, want := range payloads {
		msg := r.next()
		if got := string(msg.Payload); got != want {
			r.t.Fatalf("got message %q, want %q", got, want)
		}
		msg.Ack()
	}
}

func (r *reading) wantEnd() {
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

func (r *reading) close() {
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

func numbers(from, to int) []string {
	var s []string
	for i := from; i <= to; i++ {
		s = append(s, fmt.Sprint(i))
	}
	return s
}
