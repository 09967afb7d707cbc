package bustest

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/parley-chat/parley/shared/bus"
)

// The broker restarts in the middle: nothing is lost, and the order stays.
func testBrokerRestart(t *testing.T, w *world) {
	if w.h.Restart == nil {
		t.Skip("this broker does not restart")
	}
	rec := newRecord()
	for range 2 {
		r := w.replica()
		rec.own(r, w.topic(), "readers")
		r.run()
	}
	talking := w.talk(w.replica(), 8)
	for range 2 {
		before := len(rec.of("k0"))
		eventually(t, "going on", func() bool { return len(rec.of("k0")) > before+50 })
		w.h.Restart(t)
	}
	before := len(rec.of("k0"))
	eventually(t, "going on after it", func() bool { return len(rec.of("k0")) > before+50 })
	talking.heard(t, rec)
}

// The broker is away: a publish fails in its time, nothing is half done, and all
// goes on by itself.
func testBrokerAway(t *testing.T, w *world) {
	if w.h.Pause == nil || w.h.Resume == nil {
		t.Skip("this broker cannot be paused")
	}
	rec := newRecord()
	r := w.replica()
	rec.own(r, w.topic(), "readers")
	r.run()
	b := w.replica(func(_ *bus.Backend, c *bus.Config) { c.PublishTimeout = 1500 * time.Millisecond })
	writer := b.Writer("edge", 0, false)
	ten := func(from int) []said {
		var events []said
		for n := range 10 {
			events = append(events, said{Key: "k", N: from + n})
		}
		return events
	}
	must(t, bus.Publish(within(t), writer, w.topic(), ten(0)...))
	eventually(t, "the first", func() bool { return len(rec.of("k")) == 10 })

	w.h.Pause(t)
	resumed := false
	resume := func() {
		if !resumed {
			resumed = true
			w.h.Resume(t)
		}
	}
	defer resume()
	began := time.Now()
	if err := bus.Publish(context.Background(), writer, w.topic(), ten(10)...); !errors.Is(err, bus.ErrUnavailable) {
		t.Errorf("Publish while the broker is away: %v, want ErrUnavailable", err)
	}
	if d := time.Since(began); d > 4*time.Second {
		t.Errorf("Publish took %s, want 1.5 s", d)
	}
	if _, err := b.Members(context.Background(), w.name); !errors.Is(err, bus.ErrUnavailable) {
		t.Errorf("Members while the broker is away: %v, want ErrUnavailable", err)
	}
	resume()
	ctx := within(t)
	for bus.Publish(ctx, writer, w.topic(), ten(20)...) != nil && ctx.Err() == nil {
	}
	eventually(t, "it goes on", func() bool { return slices.Contains(rec.of("k"), 29) })
	counts := map[int]int{}
	for _, n := range rec.of("k") {
		counts[n]++
	}
	for n := 10; n < 20; n++ {
		if min(counts[n], 1) != min(counts[10], 1) {
			t.Fatalf("a publish was half done: %v", rec.of("k"))
		}
	}
}

// The broker comes back empty: what was in it is gone, and all goes on by itself.
func testBrokerFlushed(t *testing.T, w *world) {
	if w.h.Flush == nil {
		t.Skip("this broker cannot be flushed")
	}
	rec := newRecord()
	r := w.replica()
	rec.own(r, w.topic(), "readers")
	r.run()
	b := w.replica()
	reading := newRecord()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- bus.Read(ctx, b.Bus, w.single(), "readers", bus.ReadOptions{TTL: time.Minute}, reading.open(bus.Partition{}))
	}()
	defer func() { cancel(); <-ended }()
	commands, events := b.Writer("edge", 0, false), b.Writer("chat-00", 1, true)
	n := 0
	flows := func() bool {
		n++
		must(t, bus.Enqueue(commands, w.topic(), nil, said{Key: "k", N: n}))
		must(t, bus.Enqueue(events, w.single(), nil, said{Key: "k", N: n}))
		return rec.owned() > 0 && slices.Contains(rec.of("k"), n-1) && slices.Contains(reading.of("k"), n-1)
	}
	eventually(t, "flowing", flows)
	w.h.Flush(t)
	began := n
	eventually(t, "flowing after the flush", func() bool { return flows() && n > began+10 })
	must(t, func() error { _, err := b.Members(within(t), w.name); return err }())
}
