package ingress

import (
	"fmt"
	"testing"

	"github.com/parley-chat/parley/shared/event"
)

// TestHistoryIsKept: a page that was read is given again to those who are in the room without
// asking chat, until something comes; others, and who asks for what is after an entry, are
// answered by chat, which need not say the entries again.
func TestHistoryIsKept(t *testing.T) {
	e := start(t)
	in, out := e.user("in"), e.user("out")
	in.join("r")
	in.send("r", 3)
	reads := func() (all []event.ReadHistory) {
		e.others.mu.Lock()
		defer e.others.mu.Unlock()
		for _, c := range e.others.heard {
			if c.Read != nil {
				all = append(all, *c.Read)
			}
		}
		return all
	}
	id := 100
	ask := func(c *client, more string, entries int, head uint64, epoch string) {
		t.Helper()
		id++
		c.say(`{"type":"history","id":%d,"room":"r"%s}`, id, more)
		f := c.hear("page")
		if f.ID != uint64(id) || f.Room != "r" || len(f.Entries) != entries || f.Head != head || f.Epoch != epoch {
			t.Errorf("page %d: %s", id, f.Raw)
		}
		for i, entry := range f.Entries {
			if want := head - uint64(entries-i-1); entry.Seq != want {
				t.Errorf("page %d: entry %d, want %d", id, entry.Seq, want)
			}
		}
	}
	for i, step := range []struct {
		what    string
		do      func()
		read    int  // how many pages chat was asked for until now
		holding bool // the last of them with a page held
	}{
		{"the first asks", func() { ask(in, "", 3, 3, "e1") }, 1, false},
		{"again: it is known", func() { ask(in, "", 3, 3, "e1") }, 1, false},
		{"another limit", func() { ask(in, `,"limit":2`, 2, 3, "e1") }, 2, false},
		{"who is not in the room has to be let in", func() { ask(out, "", 3, 3, "e1") }, 3, true},
		{"after an entry", func() { ask(in, `,"after":1`, 2, 3, "e1") }, 4, false},
		{"after it again", func() { ask(in, `,"after":1`, 2, 3, "e1") }, 5, true},
		{"a new entry", func() { in.send("r", 1); ask(in, "", 4, 4, "e1") }, 6, true},
		{"which is known then", func() { ask(in, "", 4, 4, "e1") }, 6, true},
		{"a new epoch", func() {
			e.others.lose("r", "e2", 2)
			in.hear("reset")
			ask(in, "", 2, 2, "e2")
		}, 7, true},
	} {
		step.do()
		all := reads()
		if len(all) != step.read || (all[len(all)-1].Have != nil) != step.holding {
			t.Fatalf("%d. %s: chat was asked %d times, the last time %+v; want %d, holding a page: %t", i+1, step.what, len(all), all[len(all)-1], step.read, step.holding)
		}
	}
	if e.service.pages.Bytes() == 0 {
		t.Error("nothing is counted")
	}
}

// TestHistoryWithoutMemory: with no bytes to keep pages in, chat is always asked.
func TestHistoryWithoutMemory(t *testing.T) {
	e := start(t, "--pages-bytes=0")
	c := e.user("alice")
	c.join("r")
	c.send("r", 1)
	for i := range 2 {
		c.say(`{"type":"history","id":%d,"room":"r"}`, i+20)
		if f := c.hear("page"); len(f.Entries) != 1 {
			t.Errorf("page: %s", f.Raw)
		}
	}
	reads := 0
	e.others.mu.Lock()
	defer e.others.mu.Unlock()
	for _, command := range e.others.heard {
		if command.Read != nil {
			reads++
			if command.Read.Have != nil {
				t.Error("it says that it holds " + fmt.Sprint(*command.Read.Have))
			}
		}
	}
	if reads != 2 {
		t.Errorf("chat was asked %d times", reads)
	}
}
