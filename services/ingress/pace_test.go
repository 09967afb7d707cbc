package ingress

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/parley-chat/parley/services/ingress/internal/ring"
	"github.com/parley-chat/parley/shared/event"
)

func TestRestOf(t *testing.T) {
	for n, want := range map[int]time.Duration{
		0: 0, 10: 0, 24: 0, 25: time.Millisecond, 100: 4 * time.Millisecond, 500: 20 * time.Millisecond, 10_000: 20 * time.Millisecond,
	} {
		if got := restOf(n); got != want {
			t.Errorf("a room of %d rests for %s, want %s", n, got, want)
		}
	}
}

func TestPace(t *testing.T) {
	var p pace
	now := time.Unix(1_700_000_000, 0)
	step := func(after time.Duration, n int, yes bool, wait time.Duration) {
		t.Helper()
		now = now.Add(after)
		if gotYes, gotWait := p.write(now, n); gotYes != yes || gotWait != wait {
			t.Errorf("to %d at once %t, after %s; want %t, %s", n, gotYes, gotWait, yes, wait)
		}
	}
	step(0, 3, true, 0)
	step(0, 3, true, 0) // a few never wait
	step(0, 500, true, 0)
	step(5*time.Millisecond, 500, false, 15*time.Millisecond) // the first in a rest has a timer
	step(5*time.Millisecond, 500, false, 0)                   // and takes all others along
	step(20*time.Millisecond, 500, false, 0)                  // however late it is
	p = pace{}
	step(0, 500, true, 0)
	step(21*time.Millisecond, 500, true, 0) // who was quiet for longer never waits
}

// However quickly it goes, all members of a large room are given everything in order.
func TestALargeRoomIsGivenEverything(t *testing.T) {
	e := start(t, "--rate=0")
	const others, entries = 60, 200
	var all []*client
	for i := range others {
		c := e.user(fmt.Sprintf("user%d", i))
		c.join("r")
		all = append(all, c)
	}
	sender := e.user("sender")
	sender.join("r")
	sender.send("r", entries)
	for i, c := range all {
		for seq := uint64(1); seq <= entries; seq++ {
			if got := c.hear("message").Seq; got != seq {
				t.Fatalf("user%d was given entry %d, want %d", i, got, seq)
			}
		}
	}
}

func TestFresh(t *testing.T) {
	bounds := ring.Bounds{Entries: 8, Bytes: 1000}
	var f fresh
	for i, want := range []bool{false, false, false, true, true} {
		if got := f.add(1, 10, bounds); got != want {
			t.Errorf("with %d of 8 entries: full is %t", i+1, got)
		}
	}
	f = fresh{}
	if f.add(1, 499, bounds) || !f.add(1, 1, bounds) {
		t.Error("half of the bytes is full, and no less")
	}
}

// However much comes at once, as after an edge could not read for a while: nobody who is at the head falls
// behind the ring, so nobody needs pages of what is there already.
func TestABurstDoesNotOutrunTheRing(t *testing.T) {
	e := start(t, "--ring-entries=16")
	e.service.settle = time.Minute
	const others, entries = 30, 400 // as much as sockets take without being read
	var all []*client
	for i := range others {
		c := e.user(fmt.Sprintf("user%d", i))
		c.join("r")
		all = append(all, c)
	}
	e.others.mu.Lock()
	for range entries {
		e.others.post(event.Command{Who: event.Who{User: "elsewhere"}, Room: "r", Post: &event.PostMessage{Body: []byte("1")}})
	}
	e.others.mu.Unlock()
	for i, c := range all {
		for seq := uint64(1); seq <= entries; seq++ {
			if got := c.hear("message").Seq; got != seq {
				t.Fatalf("user%d was given entry %d, want %d", i, got, seq)
			}
		}
	}
	e.others.mu.Lock()
	defer e.others.mu.Unlock()
	if n := len(slices.DeleteFunc(e.others.heard, func(c event.Command) bool { return c.Read == nil })); n > 0 {
		t.Errorf("%d pages were asked for", n)
	}
}
