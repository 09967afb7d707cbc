package redisbus

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/parley-chat/parley/shared/bus"
	"github.com/parley-chat/parley/shared/bus/bustest"
)

func TestInspect(t *testing.T) {
	b, _ := start(t, fast)
	bustest.Inspect(t, b)
}

// TestReplay: a dead letter that is replayed is handled, although its number was
// handled before.
func TestReplay(t *testing.T) {
	backend, _ := start(t, fast)
	b, err := bus.New(backend, bus.Config{Partitions: 1, Name: "test-1"})
	if err != nil {
		t.Fatal(err)
	}
	things := bus.Topic[string]{Name: "events", Groups: []string{"g"}, Key: func(s string) string { return s }}
	var mended atomic.Bool
	handled := make(chan []string, 4)
	bus.Handle(b, things, "g", func(_ context.Context, batch []string) error {
		if slices.Contains(batch, "a") && !mended.Load() {
			return bus.Permanent(errors.New("not today"))
		}
		handled <- batch
		return nil
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- b.Run(running) }()
	defer func() {
		stop()
		if err := errors.Join(<-ended, b.Close()); err != nil {
			t.Error(err)
		}
	}()
	w := b.Writer("writer", 0, false)
	if err := errors.Join(bus.Publish(ctx, w, things, "a", "b"), bus.Publish(ctx, w, things, "c")); err != nil {
		t.Fatal(err)
	}
	if got := <-handled; !slices.Equal(got, []string{"c"}) {
		t.Fatalf("handled %v", got)
	}
	letters, err := backend.Scan(ctx, bus.DeadLetters, "", 10)
	if err != nil || len(letters) != 1 {
		t.Fatalf("dead letters: %v, %v", letters, err)
	}
	mended.Store(true)
	if err := bus.Replay(ctx, backend, letters[0]); err != nil {
		t.Fatal(err)
	}
	if got := <-handled; !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("replayed %v", got)
	}
	letters[0].Metadata[bus.MetaDeadTopic] = "deliveries-edge1"
	if err := bus.Replay(ctx, backend, letters[0]); err == nil {
		t.Error("a letter to an edge was replayed")
	}
}

func TestInspectCluster(t *testing.T) {
	bustest.Inspect(t, open(t, "redis+cluster://"+startCluster(t).Addr))
}
