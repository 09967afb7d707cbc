package natsbus

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

func take(t *testing.T, b *Backend, name, holder string, ttl time.Duration) bus.Lease {
	t.Helper()
	l, err := b.Lease(t.Context(), name, holder, ttl)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// However many try at once, one has it.
func TestLeaseRace(t *testing.T) {
	b, server := start(t)
	other := openBackend(t, server.URL)
	for _, name := range []string{"x-00", "x-01"} {
		var mu sync.Mutex
		held := map[uint64]int{}
		var trying sync.WaitGroup
		for i := range 8 {
			trying.Go(func() {
				l, err := []*Backend{b, other}[i%2].Lease(t.Context(), name, string(rune('a'+i)), time.Minute)
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					t.Error(err)
				} else if l.Held {
					held[l.Generation]++
				}
			})
		}
		trying.Wait()
		if len(held) != 1 {
			t.Errorf("%s is held by %v, want one", name, held)
		}
	}
}

// A generation is not given out again after a flush, even when the clock is behind it.
func TestGenerationAfterFlush(t *testing.T) {
	b, server := start(t)
	first := take(t, b, "x-00", "a", time.Minute)
	future := first.Generation + 1_000_000
	b.remember("x-00", future)
	server.Flush()
	second := take(t, b, "x-00", "a", time.Minute)
	if !second.Held || second.Generation <= future {
		t.Errorf("after a flush: %+v, want a generation above %d", second, future)
	}
}

// Many processes come back at once to a server that came back empty: none of them asks it for
// something that crashes it, and each goes on.
func TestAllComeBackToAnEmptyServer(t *testing.T) {
	b, server := start(t)
	all := []*Backend{b, openBackend(t, server.URL), openBackend(t, server.URL)}
	const each = 4
	var asking sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	defer asking.Wait()
	defer cancel()
	held := make([]atomic.Int64, len(all)*each) // so many times by each asker
	for i := range held {
		asking.Go(func() {
			for ctx.Err() == nil {
				if l, err := all[i%len(all)].Lease(ctx, fmt.Sprint("x-", i), "a", time.Minute); err == nil && l.Held {
					held[i].Add(1)
				}
			}
		})
	}
	for range 8 {
		before := make([]int64, len(held))
		for i := range held {
			before[i] = held[i].Load()
		}
		eventually(t, "each has its lease", func() bool {
			for i := range held {
				if held[i].Load() == before[i] {
					return false
				}
			}
			return true
		})
		server.Wipe()
	}
}

// A released lease is free at once; its generation counts on.
func TestRelease(t *testing.T) {
	b, _ := start(t)
	last := uint64(0)
	for range 5 {
		l := take(t, b, "x", "a", time.Minute)
		if !l.Held || l.Generation <= last {
			t.Fatalf("%+v after %d", l, last)
		}
		last = l.Generation
		if err := b.Release(t.Context(), "x", "a", last); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Release(t.Context(), "none", "a", 1); err != nil {
		t.Errorf("release of no lease: %v", err)
	}
}

// A lease that ran out is taken anew also by the one who had it.
func TestLapsedLease(t *testing.T) {
	b, _ := start(t)
	first, began := take(t, b, "x", "a", 50*time.Millisecond), time.Now()
	eventually(t, "its time is over", func() bool { return time.Since(began) > 60*time.Millisecond })
	if second := take(t, b, "x", "a", time.Minute); !second.Held || second.Generation <= first.Generation {
		t.Errorf("%+v after %+v, want a new holding", second, first)
	}
}

// The lease survives a restart of the server, and so does its time.
func TestLeaseAfterRestart(t *testing.T) {
	b, server := start(t)
	first := take(t, b, "x", "a", time.Minute)
	server.Restart()
	eventually(t, "asked again", func() bool {
		l, err := b.Lease(t.Context(), "x", "b", time.Minute)
		if l.Held {
			t.Fatal("taken from a live holder")
		}
		return err == nil
	})
	if again := take(t, b, "x", "a", time.Minute); again != first {
		t.Errorf("renewed after the restart: %+v, want %+v", again, first)
	}
}

func TestParseLease(t *testing.T) {
	want := lease{1<<63 + 1, 6 * time.Second, "chat a.b-1"}
	if got := parseLease(want.String()); got != want {
		t.Errorf("%+v became %+v", want, got)
	}
	for _, value := range []string{"", "1", "1 2", "x 1 a", "1 x a", "1 -1 a", "1 9999999999999999 a"} {
		if got := parseLease(value); got != (lease{}) {
			t.Errorf("%q became %+v, want a free lease", value, got)
		}
	}
}

// The keys of members that are long gone do not stay.
func TestMembersAreForgotten(t *testing.T) {
	b, _ := start(t)
	if _, err := b.Announce(t.Context(), "nodes.x", "gone.1", time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Announce(t.Context(), "nodes.x", "here.1", time.Hour); err != nil {
		t.Fatal(err)
	}
	eventually(t, "one lapses", func() bool {
		members, err := b.Members(t.Context(), "nodes.x")
		return err == nil && slices.Equal(members, []string{"here.1"})
	})
	err := b.state.do(t.Context(), func(ctx context.Context, o *opened) error {
		later := time.Now().Add(2 * forgetAfter)
		for _, c := range []struct {
			member string
			live   bool
		}{{"gone.1", false}, {"here.1", true}} {
			if live, err := o.look(ctx, setKey("nodes.x")+"."+escape(c.member), later); err != nil || live != c.live {
				t.Errorf("look at %s: %v, %v", c.member, live, err)
			}
		}
		keys, err := o.keys(ctx, setKey("nodes.x"))
		if !slices.Equal(keys, []string{escape("here.1")}) {
			t.Errorf("keys %q, want the live one's", keys)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
