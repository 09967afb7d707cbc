package redisbus

import (
	"slices"
	"testing"
	"time"

	"github.com/parley-chat/parley/shared/bus"
	"github.com/parley-chat/parley/shared/redistest"
)

func TestLease(t *testing.T) {
	b, server := start(t, redistest.Options{})
	other := open(t, server.URL)
	ctx := t.Context()
	lease := func(b *Backend, holder string, ttl time.Duration) bus.Lease {
		t.Helper()
		l, err := b.Lease(ctx, "events-03.chat", holder, ttl)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	before := uint64(time.Now().UnixMilli()) - 1000
	first := lease(b, "me", time.Minute)
	if !first.Held || first.Generation < before {
		t.Fatalf("first: %+v, want a generation of %d at least", first, before)
	}
	if again := lease(b, "me", time.Minute); again != first {
		t.Errorf("renewed: %+v, want %+v", again, first)
	}
	if l := lease(other, "you", time.Minute); l.Held {
		t.Errorf("held by two: %+v", l)
	}
	if err := other.Release(ctx, "events-03.chat", "you", first.Generation); err != nil {
		t.Fatal(err)
	}
	if l := lease(other, "you", time.Minute); l.Held {
		t.Errorf("released by who does not hold it: %+v", l)
	}
	server.Restart()
	last := first.Generation
	higher := func(what string, l bus.Lease) {
		t.Helper()
		if !l.Held || l.Generation <= last {
			t.Errorf("%s: %+v, want held and above %d", what, l, last)
		}
		last = l.Generation
	}
	eventually(t, "the lease is renewed after a restart", func() bool {
		l, err := b.Lease(ctx, "events-03.chat", "me", time.Minute)
		return err == nil && l == first
	})
	for range 5 { // within one millisecond, too
		if err := b.Release(ctx, "events-03.chat", "me", last); err != nil {
			t.Fatal(err)
		}
		higher("taken again", lease(b, "me", time.Minute))
	}
	server.Flush()
	higher("after a flush", lease(b, "me", time.Minute))
	lease(b, "me", time.Millisecond)
	eventually(t, "the other takes what has expired", func() bool {
		l := lease(other, "you", time.Minute)
		if l.Held {
			higher("expired", l)
		}
		return l.Held
	})
	if l := lease(b, "me", time.Minute); l.Held {
		t.Errorf("held by two: %+v", l)
	}
	// A flush, and a clock that is behind: who has seen a generation asks for a higher one.
	server.Flush()
	other.generations.Store("events-03.chat", last+3_600_000)
	last += 3_600_000
	higher("with a clock set back", lease(other, "you", time.Minute))
	if _, err := b.Lease(ctx, "x", "", time.Minute); err == nil {
		t.Error("a lease without a holder")
	}
}

func TestAnnounce(t *testing.T) {
	b, server := start(t, fast)
	ctx := t.Context()
	announce := func(member string, ttl time.Duration, lapsed bool) {
		t.Helper()
		got, err := b.Announce(ctx, "nodes", member, ttl)
		if err != nil || got != lapsed {
			t.Errorf("announce %s: lapsed %v, %v; want %v", member, got, err, lapsed)
		}
	}
	members := func() []string {
		t.Helper()
		m, err := b.Members(ctx, "nodes")
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	if m := members(); len(m) != 0 {
		t.Errorf("members of no set: %v", m)
	}
	announce("b", time.Minute, true)
	announce("a", time.Minute, true)
	announce("b", time.Minute, false)
	if m := members(); !slices.Equal(m, []string{"a", "b"}) {
		t.Errorf("members %v", m)
	}
	announce("b", time.Millisecond, false)
	eventually(t, "b has lapsed", func() bool { return slices.Equal(members(), []string{"a"}) })
	announce("b", time.Minute, true)
	announce("b", time.Millisecond, false)
	eventually(t, "b has lapsed again", func() bool { return len(members()) == 1 })
	announce("a", time.Minute, false)
	if n := server.Client().ZCard(ctx, "t:set:nodes").Val(); n != 1 {
		t.Errorf("%d in the set: the lapsed are not dropped", n)
	}
	for range 2 {
		if err := b.Withdraw(ctx, "nodes", "a"); err != nil {
			t.Fatal(err)
		}
	}
	if m := members(); len(m) != 0 {
		t.Errorf("members %v", m)
	}
	announce("a", time.Minute, true)
	server.Flush()
	announce("a", time.Minute, true)
}

func TestSettle(t *testing.T) {
	b, server := start(t, redistest.Options{})
	for _, value := range []string{"8", "16"} {
		if got, err := b.Settle(t.Context(), "partitions", value); err != nil || got != "8" {
			t.Errorf("settle %s: %q, %v; want 8", value, got, err)
		}
	}
	if got := server.Client().Get(t.Context(), "t:settled:partitions").Val(); got != "8" {
		t.Errorf("stored: %q", got)
	}
	if !b.Durable() {
		t.Error("not durable")
	}
}
