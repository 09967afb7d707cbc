package bustest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/parley-chat/parley/shared/bus"
)

// failing consumes with an error for N 2 as often as it says, and buries or not.
type failing struct {
	*record
	tries atomic.Int64
}

func (w *world) failing(fail func(try int64) error) *failing {
	f := &failing{record: newRecord()}
	f.before = func(_ bus.Partition, batch []said) error {
		switch {
		case !slices.ContainsFunc(batch, func(e said) bool { return e.N == 2 }):
			return nil
		case len(batch) > 1: // several messages that lay there together: they come again one by one
			return errors.New("not together")
		}
		return fail(f.tries.Add(1))
	}
	r := w.replica()
	f.own(r, w.topic(), "readers")
	r.run()
	writer := r.Writer("edge", 0, true)
	for n := 1; n <= 4; n++ {
		must(w.t, bus.Publish(within(w.t), writer, w.topic(), said{Key: "k", N: n}))
	}
	return f
}

// dead waits for a dead letter of the test's topic, with this in its reason.
func (w *world) dead(reason string) *message.Message {
	w.t.Helper()
	b := w.backend()
	s := open(w.t, b, bus.DeadLetters, w.name) // a group of its own reads them all
	for {
		msg := s.next()
		msg.Ack()
		if !strings.HasPrefix(msg.Metadata[bus.MetaDeadTopic], w.name) || !strings.Contains(msg.Metadata[bus.MetaDeadReason], reason) {
			continue
		}
		if msg.Metadata[bus.MetaDeadGroup] != "readers" {
			w.t.Errorf("dead letter says %v, want the group readers", msg.Metadata)
		}
		if _, err := time.Parse(time.RFC3339Nano, msg.Metadata[bus.MetaDeadAt]); err != nil {
			w.t.Errorf("dead letter's time: %v", err)
		}
		return msg
	}
}

func testRetryThenBury(t *testing.T, w *world) {
	f := w.failing(func(int64) error { return errors.New("no such luck") })
	eventually(t, "the rest goes on", f.has("k", 1, 3, 4))
	w.dead("no such luck")
	if n := f.tries.Load(); n != 3 {
		t.Errorf("tried %d times, want 3 (RetryLimit is 2)", n)
	}
	f.missedNone(t)
}

func testPermanent(t *testing.T, w *world) {
	f := w.failing(func(int64) error { return bus.Permanent(errors.New("never")) })
	eventually(t, "the rest goes on", f.has("k", 1, 3, 4))
	w.dead("never")
	if n := f.tries.Load(); n != 1 {
		t.Errorf("tried %d times, want once", n)
	}
}

func testUnavailable(t *testing.T, w *world) {
	f := w.failing(func(try int64) error {
		if try < 7 {
			return bus.ErrUnavailable
		}
		return nil
	})
	eventually(t, "it waits for what is away", f.has("k", 1, 2, 3, 4))
}

func testPanic(t *testing.T, w *world) {
	f := w.failing(func(try int64) error {
		if try < 2 {
			panic("a bug")
		}
		return nil
	})
	eventually(t, "it goes on", f.has("k", 1, 2, 3, 4))
}

func testWrongType(t *testing.T, w *world) {
	f := w.failing(func(int64) error { return nil })
	eventually(t, "the first", f.has("k", 1, 2, 3, 4))
	other := bus.Topic[[]string]{Name: w.name, Groups: []string{"readers"}, Key: func([]string) string { return "k" }}
	r := w.replica()
	must(t, bus.Publish(within(t), r.Writer("stranger", 0, false), other, []string{"x"}))
	must(t, bus.Publish(within(t), r.Writer("edge", 0, false), w.topic(), said{Key: "k", N: 5}))
	w.dead("decode")
	eventually(t, "the rest goes on", func() bool { return len(f.of("k")) == 5 })
}

func testForeign(t *testing.T, w *world) {
	f := w.failing(func(int64) error { return nil })
	eventually(t, "the first", f.has("k", 1, 2, 3, 4))
	b := w.backend()
	for p := range partitions {
		put(t, b, w.name+"-0"+string(rune('0'+p)), 1)
	}
	w.dead("not one of ours")
	r := w.replica()
	writer := r.Writer("other", 0, false)
	if w.h.Inject != nil {
		w.h.Inject(t, w.name+"-"+partitionSuffix("k"))
		w.dead("malformed entry")
		must(t, bus.Publish(within(t), writer, w.topic(), said{Key: "k", N: 5}))
		eventually(t, "the rest goes on", f.has("k", 1, 2, 3, 4, 5))
	}
}

func partitionSuffix(key string) string {
	return "0" + string(rune('0'+bus.PartitionOf(key, partitions)))
}

// nth makes a publish hook that answers with err for the nth message of the test's topics.
func (w *world) nth(n int64, err error) func(string, *message.Message) error {
	var count atomic.Int64
	return func(topic string, msg *message.Message) error {
		if strings.HasPrefix(topic, w.name) && msg.Metadata["count"] != "0" && count.Add(1) == n {
			return err
		}
		return nil
	}
}

// faultyWriter makes a reader, and a replica that publishes through the hook.
func (w *world) faultyWriter(hook func(string, *message.Message) error, timeout time.Duration) (*record, *replica) {
	r := w.replica()
	rec := newRecord()
	rec.own(r, w.topic(), "readers")
	r.run()
	b := w.replica(func(b *bus.Backend, c *bus.Config) {
		*b = &faulty{Backend: *b, publish: hook}
		c.PublishTimeout = timeout
	})
	return rec, b
}

func testLostInPublish(t *testing.T, w *world) {
	rec, b := w.faultyWriter(w.nth(3, errLose), patience)
	writer := b.Writer("chat-00", 1, true)
	for n := 1; n <= 6; n++ {
		must(t, bus.Publish(within(t), writer, w.topic(), said{Key: "k", N: n}))
	}
	eventually(t, "the rest", rec.has("k", 1, 2, 4, 5, 6))
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if len(rec.missed) != 1 || rec.missed[0] != "chat-00" {
		t.Errorf("Missed was called for %v, want chat-00 once", rec.missed)
	}
}

func testLostLast(t *testing.T, w *world) {
	rec, b := w.faultyWriter(w.nth(3, errLose), patience)
	writer := b.Writer("chat-00", 1, true)
	for n := 1; n <= 3; n++ {
		must(t, bus.Publish(within(t), writer, w.topic(), said{Key: "k", N: n}))
	}
	eventually(t, "a repeat shows it", rec.hasMissed("chat-00"))
	must(t, bus.Publish(within(t), writer, w.topic(), said{Key: "k", N: 4}))
	eventually(t, "it goes on", rec.has("k", 1, 2, 4))
	never(t, 700*time.Millisecond, "told again by a repeat", func() bool {
		rec.mu.Lock()
		defer rec.mu.Unlock()
		return len(rec.missed) > 1
	})
}

func testSwallowed(t *testing.T, w *world) {
	var once atomic.Bool
	r := w.replica(func(b *bus.Backend, _ *bus.Config) {
		*b = &faulty{Backend: *b, kept: map[string][]*message.Message{}, swallow: func(topic string, msg *message.Message) bool {
			return strings.HasPrefix(topic, w.name) && msg.Metadata["number"] == "3" && once.CompareAndSwap(false, true)
		}}
	})
	rec := newRecord()
	rec.own(r, w.topic(), "readers")
	r.run()
	writer := w.replica().Writer("edge", 0, false)
	for n := 1; n <= 6; n++ {
		must(t, bus.Publish(within(t), writer, w.topic(), said{Key: "k", N: n}))
	}
	eventually(t, "all in order, once each", rec.has("k", upTo(6)...))
	rec.missedNone(t)
}

func testPublishedTwice(t *testing.T, w *world) {
	rec, b := w.faultyWriter(w.nth(2, errTwice), patience)
	writer := b.Writer("chat-00", 1, true)
	for n := 1; n <= 4; n++ {
		must(t, bus.Publish(within(t), writer, w.topic(), said{Key: "k", N: n}))
	}
	eventually(t, "once each", rec.has("k", upTo(4)...))
	rec.missedNone(t)
}

func testFencing(t *testing.T, w *world) {
	rec, b := w.faultyWriter(nil, patience)
	say := func(writer *bus.Writer, n int) {
		t.Helper()
		must(t, bus.Publish(within(t), writer, w.topic(), said{Key: "k", N: n}))
	}
	old, young := b.Writer("chat-00", 1, false), b.Writer("chat-00", 2, false)
	say(old, 1)
	say(young, 2)
	say(old, 3) // overtaken
	say(young, 4)
	eventually(t, "the higher generation only", rec.has("k", 1, 2, 4))
	rec.missedNone(t)
}

func testFailedPublish(t *testing.T, w *world) {
	var failing atomic.Bool
	rec, b := w.faultyWriter(func(topic string, _ *message.Message) error {
		if failing.Load() && strings.HasPrefix(topic, w.name) {
			return bus.ErrUnavailable
		}
		return nil
	}, 2*time.Second)
	writer := b.Writer("chat-00", 1, true)
	say := func(n int) error {
		return bus.Publish(within(t), writer, w.topic(), said{Key: "k", N: n})
	}
	must(t, say(1))
	failing.Store(true)
	began := time.Now()
	if err := say(2); !errors.Is(err, bus.ErrUnavailable) {
		t.Fatalf("Publish: %v, want ErrUnavailable", err)
	}
	if d := time.Since(began); d < 1900*time.Millisecond || d > 8*time.Second {
		t.Errorf("gave up after %s, want 2 s", d)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := bus.Publish(ctx, writer, w.topic(), said{Key: "k", N: 3}); !errors.Is(err, bus.ErrUnavailable) {
		t.Errorf("Publish whose context ended: %v, want ErrUnavailable", err)
	}
	failing.Store(false)
	must(t, say(4))
	eventually(t, "the reader sees what is missing", rec.hasMissed("chat-00"))
	eventually(t, "it goes on", func() bool {
		got := rec.of("k")
		return len(got) > 0 && got[len(got)-1] == 4
	})
}
