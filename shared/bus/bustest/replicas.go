package bustest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/parley-chat/parley/shared/bus"
)

// talk publishes 1, 2, 3 … under each of the keys until stopped, and tells how far it came.
type talk struct {
	stop chan struct{}
	wg   sync.WaitGroup
	last sync.Map // key → int
}

func (w *world) talk(b *replica, keys int) *talk {
	k := &talk{stop: make(chan struct{})}
	writer := b.Writer("edge", 0, false)
	for i := range keys {
		key := fmt.Sprint("k", i)
		k.wg.Go(func() {
			tick := time.NewTicker(5 * time.Millisecond)
			defer tick.Stop()
			for n := 1; ; n++ {
				if !w.say(writer, said{Key: key, N: n}) {
					return
				}
				k.last.Store(key, n)
				select {
				case <-k.stop:
					return
				case <-tick.C:
				}
			}
		})
	}
	w.t.Cleanup(k.end)
	return k
}

// say publishes until that went well: a broker may be away.
func (w *world) say(writer *bus.Writer, e said) bool {
	ctx := within(w.t)
	for ctx.Err() == nil {
		if bus.Publish(ctx, writer, w.topic(), e) == nil {
			return true
		}
	}
	w.t.Errorf("publish: not within %s", patience)
	return false
}

func (k *talk) end() {
	select {
	case <-k.stop:
	default:
		close(k.stop)
	}
	k.wg.Wait()
}

// heard checks that all of it came, in order.
func (k *talk) heard(t *testing.T, rec *record) {
	t.Helper()
	k.end()
	k.last.Range(func(key, last any) bool {
		want := upTo(last.(int))
		eventually(t, "all of "+key.(string), func() bool { return len(firsts(rec.of(key.(string)))) >= len(want) })
		if got := firsts(rec.of(key.(string))); !slices.Equal(got, want) {
			t.Errorf("%s came as %v", key, got)
		}
		return true
	})
}

func testComeAndGo(t *testing.T, w *world) {
	rec := newRecord()
	talking := w.talk(w.replica(), 8)
	var replicas []*replica
	for range 5 {
		r := w.replica()
		rec.own(r, w.topic(), "readers")
		replicas = append(replicas, r.run())
		before := len(rec.of("k0"))
		eventually(t, "going on", func() bool { return len(rec.of("k0")) > before+20 })
		if len(replicas) > 2 {
			replicas[0].stop()
			replicas = replicas[1:]
		}
	}
	talking.heard(t, rec)
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if rec.doubled {
		t.Error("a partition had two readers at a time")
	}
}

func testFairShare(t *testing.T, w *world) {
	const never = 30 * time.Second // what moves, moves because it was released
	type owner struct {
		*replica
		owned atomic.Int64
	}
	start := func() *owner {
		o := &owner{replica: w.replica(func(_ *bus.Backend, c *bus.Config) { c.LeaseTTL = never })}
		bus.Own(o.Bus, w.topic(), "readers", func(context.Context, bus.Partition) (bus.Consumer[said], error) {
			o.owned.Add(1)
			return counting{&o.owned}, nil
		})
		o.run()
		return o
	}
	a := start()
	began := time.Now()
	eventually(t, "alone: all", func() bool { return a.owned.Load() == partitions })
	if d := time.Since(began); d > patience/4 {
		t.Errorf("a sole replica took its partitions after %s", d)
	}
	b := start()
	eventually(t, "two: half each", func() bool { return a.owned.Load() == partitions/2 && b.owned.Load() == partitions/2 })
	began = time.Now()
	a.stop()
	eventually(t, "one left: all", func() bool { return b.owned.Load() == partitions })
	if d := time.Since(began); d > 5*time.Second {
		t.Errorf("what was released was taken after %s", d)
	}
}

type counting struct{ owned *atomic.Int64 }

func (counting) Consume(context.Context, []said) error { return nil }
func (counting) Missed(context.Context, string)        {}
func (c counting) Close()                              { c.owned.Add(-1) }

// A replica that is cut off, with a batch in hand: the partition goes to another,
// which is given that batch first; what the old one has in hand it may finish, and
// nothing comes after it.
func testPausedReader(t *testing.T, w *world) {
	cutOff := &faulty{}
	old := w.replica(func(b *bus.Backend, _ *bus.Config) {
		cutOff.Backend = *b
		*b = cutOff
	})
	gate, entered := make(chan struct{}), make(chan struct{}, 1000)
	lost := make(chan struct{}, 1000)
	var after atomic.Int64
	bus.Handle(old.Bus, w.topic(), "readers", func(ctx context.Context, batch []said) error {
		entered <- struct{}{}
		select {
		case <-gate:
			after.Add(1)
			return nil
		default:
		}
		<-ctx.Done() // the lease is lost; it goes on for a while nevertheless
		lost <- struct{}{}
		<-gate
		return nil
	})
	old.run()
	writer := w.replica().Writer("edge", 0, false)
	for n := 1; n <= 20; n++ {
		must(t, bus.Publish(within(t), writer, w.topic(), said{Key: "k", N: n}))
	}
	<-entered
	cutOff.cut.Store(true)
	rec := newRecord()
	next := w.replica()
	rec.own(next, w.topic(), "readers")
	next.run()
	began := time.Now()
	eventually(t, "all at the new owner", rec.has("k", upTo(20)...))
	if d := time.Since(began); d > 10*time.Second {
		t.Errorf("a dead replica's partition moved after %s", d)
	}
	select {
	case <-lost:
	case <-time.After(patience):
		t.Fatal("the context of Consume did not end with the lease")
	}
	close(gate)
	must(t, bus.Publish(within(t), writer, w.topic(), said{Key: "k", N: 21}))
	eventually(t, "it goes on", rec.has("k", upTo(21)...))
	if after.Load() > 0 {
		t.Error("the old reader was given something after its lease was lost")
	}
}

// A graceful end finishes and acknowledges the batch in hand: it does not come again.
func testHandover(t *testing.T, w *world) {
	rec := newRecord()
	gate, entered := make(chan struct{}), make(chan struct{}, 1000)
	rec.before = func(bus.Partition, []said) error {
		entered <- struct{}{}
		<-gate
		return nil
	}
	first := w.replica()
	rec.own(first, w.topic(), "readers")
	first.run()
	writer := w.replica().Writer("edge", 0, false)
	must(t, bus.Publish(within(t), writer, w.topic(), said{Key: "k", N: 1}))
	must(t, bus.Publish(within(t), writer, w.topic(), said{Key: "k", N: 2}))
	<-entered
	stopped := make(chan struct{})
	go func() { defer close(stopped); first.stop() }()
	never(t, 50*time.Millisecond, "Run ended before the batch in hand", func() bool {
		select {
		case <-stopped:
			return true
		default:
			return false
		}
	})
	close(gate)
	select {
	case <-stopped:
	case <-time.After(patience):
		t.Fatal("no graceful end")
	}
	second := w.replica()
	rec.own(second, w.topic(), "readers")
	second.run()
	eventually(t, "the rest", rec.has("k", 1, 2))
	never(t, 200*time.Millisecond, "the first batch came again", func() bool { return !rec.has("k", 1, 2)() })
}
