package ingress

import (
	"fmt"
	"testing"
	"time"
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
