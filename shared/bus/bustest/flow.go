package bustest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/parley-chat/parley/shared/bus"
)

func testOrder(t *testing.T, w *world) {
	const keys, each = 20, 100
	topic := w.topic("readers", "others")
	readers, others := newRecord(), newRecord()
	for range 2 {
		r := w.replica()
		readers.own(r, topic, "readers")
		others.own(r, topic, "others")
		r.run()
	}
	var writing sync.WaitGroup
	for i := range 2 {
		b := w.replica()
		writer := b.Writer(fmt.Sprint("edge", i), 0, i == 0)
		for k := range keys {
			if k%2 != i {
				continue
			}
			writing.Go(func() {
				for n := 1; n <= each; n += 2 {
					key := fmt.Sprint("k", k)
					if err := bus.Publish(within(t), writer, topic, said{Key: key, N: n}, said{Key: key, N: n + 1}); err != nil {
						t.Errorf("Publish: %v", err)
					}
				}
			})
		}
	}
	writing.Wait()
	for _, rec := range []*record{readers, others} {
		for k := range keys {
			key := fmt.Sprint("k", k)
			eventually(t, "all of "+key, func() bool { return len(firsts(rec.of(key))) == each })
			if got := firsts(rec.of(key)); !slices.Equal(got, upTo(each)) {
				t.Errorf("%s came as %v", key, got)
			}
		}
		rec.missedNone(t)
	}
}

func testGroupCommit(t *testing.T, w *world) {
	const events = 2000
	r := w.replica()
	rec := newRecord()
	rec.own(r, w.topic(), "readers")
	r.run()
	writer := r.Writer("edge", 0, false)
	var done atomic.Int64
	for n := 1; n <= events; n++ {
		must(t, bus.Enqueue(writer, w.topic(), func(err error) {
			if err == nil {
				done.Add(1)
			}
		}, said{Key: "k", N: n}))
	}
	eventually(t, "published", func() bool { return done.Load() == events })
	eventually(t, "consumed", func() bool { return len(rec.of("k")) == events })
	if !slices.Equal(rec.of("k"), upTo(events)) {
		t.Error("out of order")
	}
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if n := len(rec.batches); n > events/2 || slices.Max(rec.batches) > 1024 {
		t.Errorf("%d events came in %d batches of at most %d", events, n, slices.Max(rec.batches))
	}
}

func testBigEvents(t *testing.T, w *world) {
	r := w.replica()
	rec := newRecord()
	rec.own(r, w.topic(), "readers")
	r.run()
	writer := r.Writer("edge", 0, false)
	var events []said
	for n := 1; n <= 600; n++ {
		pad := 100
		if n%200 == 0 {
			pad = 300 << 10
		}
		events = append(events, said{Key: "k", N: n, Pad: make([]byte, pad)})
	}
	must(t, bus.Publish(within(t), writer, w.topic(), events...))
	eventually(t, "consumed", rec.has("k", upTo(600)...))
	if err := bus.Publish(within(t), writer, w.topic(), said{Key: "k", Pad: make([]byte, 9<<20)}); err == nil {
		t.Error("an event bigger than the buffer was taken")
	}
}

func testBufferFull(t *testing.T, w *world) {
	gate := newGate()
	r := w.replica(func(b *bus.Backend, c *bus.Config) {
		*b = &faulty{Backend: *b, publish: gate.hold}
		c.BufferBytes = 10 << 10
	})
	writer := r.Writer("edge", 0, false)
	var taken int
	var wrong atomic.Int64
	for taken = 0; ; taken++ {
		err := bus.Enqueue(writer, w.topic(), func(err error) {
			if err != nil {
				wrong.Add(1)
			}
		}, said{Key: "k", N: taken, Pad: make([]byte, 1000)})
		if err != nil {
			if !errors.Is(err, bus.ErrOverloaded) || !errors.Is(err, bus.ErrUnavailable) {
				t.Fatalf("Enqueue to a full buffer: %v, want ErrOverloaded", err)
			}
			break
		}
		if taken > 100 {
			t.Fatal("the buffer has no bound")
		}
	}
	gate.open()
	eventually(t, "room again", func() bool { return bus.Enqueue(writer, w.topic(), nil, said{Key: "k"}) == nil })
	writer.Close()
	if wrong.Load() > 0 || taken < 5 {
		t.Errorf("%d taken, %d of them failed", taken, wrong.Load())
	}
	if err := bus.Enqueue(writer, w.topic(), nil, said{Key: "k"}); !errors.Is(err, bus.ErrUnavailable) {
		t.Errorf("Enqueue after Close: %v", err)
	}
}

func testHighWater(t *testing.T, w *world) {
	mark := func(_ *bus.Backend, c *bus.Config) { c.HighWater = 100 << 10 }
	b := w.replica(mark)
	writer := b.Writer("edge", 0, false)
	e := said{Key: "k", Pad: make([]byte, 1<<10)}
	if bus.Over(b.Bus, w.topic(), e) {
		t.Fatal("over the mark when nothing was published")
	}
	for range 20 {
		must(t, bus.Publish(within(t), writer, w.topic(), slices.Repeat([]said{e}, 20)...))
	}
	eventually(t, "over the mark", func() bool { return bus.Over(b.Bus, w.topic(), e) })
	if err := bus.Enqueue(writer, w.topic(), nil, e); !errors.Is(err, bus.ErrOverloaded) {
		t.Fatalf("Enqueue over the mark: %v, want ErrOverloaded", err)
	}
	must(t, bus.Publish(within(t), writer, w.topic(), e))
	r := w.replica(mark)
	rec := newRecord()
	rec.own(r, w.topic(), "readers")
	r.run()
	eventually(t, "below the mark", func() bool { return !bus.Over(b.Bus, w.topic(), e) })
	must(t, bus.Enqueue(writer, w.topic(), nil, e))
	eventually(t, "all consumed", func() bool { return len(rec.of("k")) == 402 })
}

func testRead(t *testing.T, w *world) {
	b := w.replica()
	writer := b.Writer("notifier-00", 7, true)
	topic, rec := w.single(), newRecord()
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- bus.Read(ctx, b.Bus, topic, "readers", bus.ReadOptions{TTL: time.Minute, Drop: true, Ready: func() { close(ready) }}, rec.open(bus.Partition{}))
	}()
	select {
	case <-ready:
	case <-time.After(patience):
		t.Fatal("not ready")
	}
	for n := 1; n <= 50; n++ {
		must(t, bus.Publish(within(t), writer, topic, said{Key: "k", N: n}))
	}
	eventually(t, "all", rec.has("k", upTo(50)...))
	writer.Forget(topic.Name)
	cancel()
	select {
	case err := <-ended:
		must(t, err)
	case <-time.After(patience):
		t.Fatal("Read does not end")
	}
	if rec.closed != 1 {
		t.Errorf("Close was called %d times", rec.closed)
	}
	rec.missedNone(t)
	if d, err := b.backend.Depth(within(t), topic.Name, "readers"); err == nil && d.Messages > 0 {
		t.Errorf("the dropped topic holds %d", d.Messages)
	}
}

// testLateForADroppedTopic: what is still published to the topic of a reader that is gone does not
// bring it back, for nobody would drop it a second time. When the reader makes it anew, what waits arrives.
func testLateForADroppedTopic(t *testing.T, w *world) {
	b := w.replica(func(_ *bus.Backend, c *bus.Config) { c.PublishTimeout = patience })
	writer, topic := b.Writer("notifier-00", 7, false), w.single()
	depth := func() int64 {
		d, err := b.backend.Depth(within(t), topic.Name, topic.Groups[0])
		must(t, err)
		return d.Messages
	}
	must(t, b.backend.EnsureTopic(within(t), topic.Name, topic.Groups, time.Minute))
	must(t, bus.Publish(within(t), writer, topic, said{Key: "k", N: 1}))
	must(t, b.Drop(within(t), topic.Name))
	result := make(chan error, 1)
	must(t, bus.Enqueue(writer, topic, func(err error) { result <- err }, said{Key: "k", N: 2}))
	hurried, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := bus.Publish(hurried, writer, topic, said{Key: "k", N: 3}); !errors.Is(err, bus.ErrUnavailable) {
		t.Errorf("publish to a topic that is gone: %v, want ErrUnavailable", err)
	}
	leaving, given := b.Writer("notifier-01", 7, false), make(chan error, 1)
	must(t, bus.Enqueue(leaving, topic, func(err error) { given <- err }, said{Key: "k", N: 4}))
	leaving.Close() // long before PublishTimeout: nobody is to wait for a reader that is gone
	if err := <-given; !errors.Is(err, bus.ErrNoTopic) {
		t.Errorf("what was on its way to a topic that is gone when the writer was closed: %v, want ErrNoTopic", err)
	}
	if n := depth(); n > 0 {
		t.Fatalf("the dropped topic is there again with %d messages", n)
	}
	must(t, b.backend.EnsureTopic(within(t), topic.Name, topic.Groups, time.Minute))
	must(t, <-result)
	if depth() == 0 {
		t.Error("the new topic has nothing of what waited")
	}
}

func testAnnounce(t *testing.T, w *world) {
	b := w.replica()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var lapsed atomic.Int64
	ended := make(chan error, 1)
	go func() { ended <- b.Announce(ctx, w.name, "me", func() { lapsed.Add(1) }) }()
	there := func() bool {
		m, err := b.Members(within(t), w.name)
		return err == nil && slices.Equal(m, []string{"me"})
	}
	eventually(t, "announced", there)
	if lapsed.Load() != 0 {
		t.Error("lapsed was called for the first announcement")
	}
	must(t, b.backend.Withdraw(within(t), w.name, "me"))
	eventually(t, "lapsed told", func() bool { return lapsed.Load() == 1 && there() })
	never(t, 2*leaseTTL, "it lapsed by itself", func() bool { return !there() })
	cancel()
	must(t, <-ended)
	if there() {
		t.Error("not withdrawn")
	}
}
