package bustest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/parley-chat/parley/shared/bus"
)

func testLease(t *testing.T, w *world) {
	b, other, ctx := w.backend(), w.backend(), within(t)
	name, ttl := w.name+"-03", time.Second
	asked := time.Now()
	first, err := b.Lease(ctx, name, "a", ttl)
	must(t, err)
	if !first.Held || first.Generation < uint64(asked.Add(-time.Minute).UnixMilli()) {
		t.Fatalf("first Lease: %+v, want it held with a generation of at least the time in ms", first)
	}
	if l, err := other.Lease(ctx, name, "b", ttl); err != nil || l.Held {
		t.Fatalf("Lease held by another: %+v, %v", l, err)
	}
	again, err := b.Lease(ctx, name, "a", ttl)
	must(t, err)
	if again != first {
		t.Fatalf("renewed: %+v, want %+v", again, first)
	}
	must(t, other.Release(ctx, name, "b", first.Generation)) // not the holder: no effect
	must(t, b.Release(ctx, name, "a", first.Generation-1))   // of a holding that is over: no effect
	if l, _ := other.Lease(ctx, name, "b", ttl); l.Held {
		t.Fatal("a Release of one who does not hold it released it")
	}
	var second bus.Lease
	eventually(t, "lease expires", func() bool {
		second, err = other.Lease(ctx, name, "b", ttl)
		return err == nil && second.Held
	})
	if second.Generation <= first.Generation {
		t.Fatalf("generation %d after %d", second.Generation, first.Generation)
	}
	must(t, other.Release(ctx, name, "b", second.Generation))
	third, err := b.Lease(ctx, name, "a", ttl)
	if err != nil || !third.Held || third.Generation <= second.Generation {
		t.Fatalf("after Release: %+v, %v; want it at once, with a generation above %d", third, err, second.Generation)
	}
}

func testSet(t *testing.T, w *world) {
	b, other, ctx := w.backend(), w.backend(), within(t)
	for i, member := range []string{"y", "x"} {
		if lapsed, err := []bus.Backend{b, other}[i].Announce(ctx, w.name, member, time.Minute); err != nil || !lapsed {
			t.Fatalf("first Announce: lapsed %v, %v", lapsed, err)
		}
	}
	if lapsed, err := b.Announce(ctx, w.name, "y", time.Second); err != nil || lapsed {
		t.Fatalf("second Announce: lapsed %v, %v", lapsed, err)
	}
	if m, err := other.Members(ctx, w.name); err != nil || !slices.Equal(m, []string{"x", "y"}) {
		t.Fatalf("Members: %v, %v; want [x y]", m, err)
	}
	eventually(t, "y lapses", func() bool {
		m, err := other.Members(ctx, w.name)
		return err == nil && slices.Equal(m, []string{"x"})
	})
	if lapsed, err := b.Announce(ctx, w.name, "y", time.Minute); err != nil || !lapsed {
		t.Fatalf("Announce after it lapsed: lapsed %v, %v", lapsed, err)
	}
	must(t, b.Withdraw(ctx, w.name, "x"))
	must(t, b.Withdraw(ctx, w.name, "nobody"))
	if m, err := b.Members(ctx, w.name); err != nil || !slices.Equal(m, []string{"y"}) {
		t.Fatalf("Members after Withdraw: %v, %v; want [y]", m, err)
	}
	if m, err := b.Members(ctx, w.name+"-none"); err != nil || len(m) != 0 {
		t.Fatalf("Members of no set: %v, %v", m, err)
	}
}

func testSettle(t *testing.T, w *world) {
	b, other, ctx := w.backend(), w.backend(), within(t)
	for _, try := range []struct {
		backend bus.Backend
		value   string
	}{{b, "8"}, {other, "16"}, {b, "9"}} {
		if have, err := try.backend.Settle(ctx, w.name, try.value); err != nil || have != "8" {
			t.Fatalf("Settle(%s): %q, %v; want 8", try.value, have, err)
		}
	}
}

// put publishes raw messages whose payloads are the numbers.
func put(t *testing.T, b bus.Backend, topic string, numbers ...int) {
	t.Helper()
	for _, n := range numbers {
		msg := message.NewMessage(fmt.Sprintf("%s.%d", topic, n), []byte(strconv.Itoa(n)))
		msg.SetContext(within(t))
		must(t, b.Publisher().Publish(topic, msg))
	}
}

// opened is a raw subscription.
type opened struct {
	t        *testing.T
	sub      message.Subscriber
	messages <-chan *message.Message
}

func open(t *testing.T, b bus.Backend, topic, group string) *opened {
	t.Helper()
	sub, err := b.Subscriber(context.Background(), group)
	must(t, err)
	o := &opened{t: t, sub: sub}
	t.Cleanup(func() { _ = sub.Close() })
	o.messages, err = sub.Subscribe(context.Background(), topic)
	must(t, err)
	return o
}

func (o *opened) next() *message.Message {
	o.t.Helper()
	select {
	case msg, ok := <-o.messages:
		if !ok {
			o.t.Fatal("subscription ended")
		}
		return msg
	case <-time.After(patience):
		o.t.Fatal("no message")
	}
	return nil
}

// reads acknowledges these, and nothing else.
func (o *opened) reads(numbers ...int) {
	o.t.Helper()
	for _, n := range numbers {
		msg := o.next()
		if got := string(msg.Payload); got != strconv.Itoa(n) {
			o.t.Fatalf("read %s, want %d", got, n)
		}
		msg.Ack()
	}
}

func testPendingFirst(t *testing.T, w *world) {
	t.Run("AfterClose", func(t *testing.T) {
		pendingFirst(t, w.backend(), w.backend(), w.name+"-01", func(first *opened) { must(t, first.sub.Close()) })
	})
	// The first reader hangs, its connection stays.
	t.Run("Taken", func(t *testing.T) {
		pendingFirst(t, w.backend(), w.backend(), w.name+"-02", func(*opened) {})
	})
}

func pendingFirst(t *testing.T, b, next bus.Backend, topic string, end func(*opened)) {
	must(t, b.EnsureTopic(within(t), topic, []string{"g", "other"}, 0))
	put(t, b, topic, 1, 2, 3)
	first := open(t, b, topic, "g")
	first.reads(1)
	msg := first.next()
	// A backend may write an acknowledgement down a moment later.
	eventually(t, "1 is acknowledged", func() bool {
		d, err := b.Depth(within(t), topic, "g")
		return err == nil && d.Messages == 2
	})
	if string(msg.Payload) != "2" {
		t.Fatalf("got %s, want 2", msg.Payload)
	}
	put(t, b, topic, 4)
	end(first)
	open(t, next, topic, "g").reads(2, 3, 4)
	open(t, b, topic, "other").reads(1, 2, 3, 4)
}

func testNack(t *testing.T, w *world) {
	b := w.backend()
	topic := w.name + "-01"
	must(t, b.EnsureTopic(within(t), topic, []string{"g"}, 0))
	put(t, b, topic, 1, 2)
	s := open(t, b, topic, "g")
	for range 3 {
		msg, at := s.next(), time.Now()
		if string(msg.Payload) != "1" {
			t.Fatalf("got %s, want 1", msg.Payload)
		}
		msg.Nack()
		msg = s.next()
		if d := time.Since(at); d < 90*time.Millisecond || string(msg.Payload) != "1" {
			t.Fatalf("after the nack %s came after %s, want 1 after 100 ms", msg.Payload, d)
		}
		msg.Nack()
	}
	s.reads(1, 2)
}

func testTrim(t *testing.T, w *world) {
	b, ctx := w.backend(), within(t)
	topic := w.name + "-01"
	groups := []string{"a", "b"}
	must(t, b.EnsureTopic(ctx, topic, groups, 0))
	put(t, b, topic, 1, 2, 3, 4, 5)
	fast, slow := open(t, b, topic, "a"), open(t, b, topic, "b")
	fast.reads(1, 2, 3, 4, 5)
	slow.reads(1, 2)
	unacked := slow.next()
	depth := func(group string) int64 {
		d, err := b.Depth(ctx, topic, group)
		must(t, err)
		return d.Messages
	}
	eventually(t, "what was acknowledged is no longer counted", func() bool { return depth("a") == 0 && depth("b") == 3 })
	must(t, b.Trim(ctx, topic, groups))
	if d, err := b.Depth(ctx, topic, "b"); err != nil || d.Messages != 3 || d.Bytes < 3 {
		t.Fatalf("Depth after Trim: %+v, %v; want 3 messages", d, err)
	}
	open(t, b, topic, "late").reads(3, 4, 5) // a group that is not named gets what is left
	unacked.Ack()
	slow.reads(4, 5)
	eventually(t, "all acknowledged", func() bool { return depth("b") == 0 })
	must(t, b.Trim(ctx, topic, groups))
	put(t, b, topic, 6)
	open(t, b, topic, "later").reads(6)
	must(t, b.Trim(ctx, w.name+"-09", groups)) // there is none: no error
}

func testDropTopic(t *testing.T, w *world) {
	b, ctx := w.backend(), within(t)
	topic := w.name + ".life"
	must(t, b.EnsureTopic(ctx, topic, []string{"g"}, time.Minute))
	put(t, b, topic, 1, 2)
	s := open(t, b, topic, "g")
	s.reads(1)
	held := s.next()
	must(t, b.DropTopic(ctx, topic))
	must(t, b.DropTopic(ctx, topic))
	held.Ack()
	deadline := time.After(patience)
	for ended := false; !ended; {
		select {
		case msg, ok := <-s.messages:
			if ended = !ok; ok {
				msg.Nack()
			}
		case <-deadline:
			t.Fatal("the subscription to a dropped topic goes on")
		}
	}
	must(t, b.EnsureTopic(ctx, topic, []string{"g"}, time.Minute))
	put(t, b, topic, 7)
	open(t, b, topic, "g").reads(7)
}

func testOtherPartitions(t *testing.T, w *world) {
	w.replica().run().stopAfterHealthy()
	other := w.replica(func(_ *bus.Backend, c *bus.Config) { c.Partitions = partitions * 2 })
	err := other.Run(within(t))
	if err == nil || errors.Is(err, bus.ErrUnavailable) {
		t.Fatalf("Run with another P: %v, want it refused", err)
	}
}

func (r *replica) stopAfterHealthy() {
	health := r.Health()
	eventually(r.t, "ready", func() bool { return health() == nil })
	r.stop()
}

func testHealth(t *testing.T, w *world) {
	r := w.replica()
	if r.Health()() == nil {
		t.Fatal("healthy before Run")
	}
	r.run().stopAfterHealthy()
}
