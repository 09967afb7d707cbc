package chat

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/parley-chat/parley/shared/bus"
	"github.com/parley-chat/parley/shared/bus/membus"
	"github.com/parley-chat/parley/shared/event"
	"github.com/parley-chat/parley/shared/topic"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const partitions = 2

// world is a bus with an edge that asks and a notifier that listens.
type world struct {
	t       *testing.T
	backend bus.Backend
	edge    *bus.Writer

	mu      sync.Mutex
	events  []event.Event
	request uint64
	changed chan struct{} // closed and made anew with each event
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, backend: membus.New(), changed: make(chan struct{})}
	t.Cleanup(func() { _ = w.backend.Close() })
	w.edge = w.newBus("edge").Writer("edge-1", 0, false)
	listener := w.newBus("notifier")
	bus.Handle(listener, topic.Events(), topic.Notifier, func(_ context.Context, batch []event.Event) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.events = append(w.events, batch...)
		close(w.changed)
		w.changed = make(chan struct{})
		return nil
	})
	w.run(listener.Run)
	return w
}

func (w *world) newBus(name string) *bus.Bus {
	w.t.Helper()
	b, err := bus.New(w.backend, bus.Config{Partitions: partitions, Name: name + "-" + rand.Text()[:6], LeaseTTL: 600 * time.Millisecond, PublishTimeout: 2 * time.Second, StopTimeout: 2 * time.Second})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = b.Close() })
	return b
}

// run runs until the test ends or stop is called.
func (w *world) run(do func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- do(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			w.t.Errorf("ended with %v", err)
		}
	})
	w.t.Cleanup(stop)
	return stop
}

// chat starts a chat on the store.
func (w *world) chat(url string, cfg Config) (stop func()) {
	w.t.Helper()
	s, err := New(cfg, w.newBus("chat"), Options{Store: url, Bus: "memory://", Logger: slog.New(slog.NewTextHandler(testLog{w.t}, nil))})
	if err != nil {
		w.t.Fatal(err)
	}
	return w.run(s.Run)
}

type testLog struct{ t *testing.T }

func (l testLog) Write(b []byte) (int, error) {
	l.t.Logf("%s", b)
	return len(b), nil
}

// ask sends a command as alice and returns its request number.
func (w *world) ask(c event.Command) uint64 {
	w.t.Helper()
	w.mu.Lock()
	w.request++
	c.Request = w.request
	w.mu.Unlock()
	c.Who = event.Who{Node: "edge-1", Session: "s_1", Life: 1, User: "alice"}
	w.say(c)
	return c.Request
}

func (w *world) say(c event.Command) {
	w.t.Helper()
	if c.At == 0 {
		c.At = time.Now().UnixMilli()
	}
	if err := bus.Publish(w.t.Context(), w.edge, topic.Commands(), c); err != nil {
		w.t.Fatal(err)
	}
}

func post(room event.RoomID, cid string) event.Command {
	return event.Command{Room: room, Post: &event.PostMessage{CID: event.ClientID(cid), Body: []byte(fmt.Sprintf("%q", cid))}}
}

// wait returns the first event that fits, from the beginning of time.
func (w *world) wait(what string, fits func(event.Event) bool) event.Event {
	w.t.Helper()
	limit := time.After(20 * time.Second)
	for {
		w.mu.Lock()
		for _, e := range w.events {
			if fits(e) {
				w.mu.Unlock()
				return e
			}
		}
		changed := w.changed
		w.mu.Unlock()
		select {
		case <-changed:
		case <-limit:
			w.mu.Lock()
			defer w.mu.Unlock()
			for _, e := range w.events {
				w.t.Logf("event %s %+v", e.Kind(), e)
			}
			w.t.Fatalf("no %s", what)
		}
	}
}

// answer waits for the event that answers the request.
func (w *world) answer(request uint64) event.Event {
	w.t.Helper()
	return w.wait(fmt.Sprintf("answer to request %d", request), func(e event.Event) bool { return e.Request == request })
}

func (w *world) count(fits func(event.Event) bool) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.events {
		if fits(e) {
			n++
		}
	}
	return n
}

// posted sends and returns the entry.
func (w *world) posted(c event.Command) event.MessagePosted {
	w.t.Helper()
	e := w.answer(w.ask(c))
	if e.Posted == nil {
		w.t.Fatalf("%s: %s %+v %+v", c.Post.CID, e.Kind(), e.Refused, e.Accepted)
	}
	return *e.Posted
}
