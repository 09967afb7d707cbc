package room

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/parley-chat/parley/shared/event"
)

// Against a model that remembers everything: a cid never gets two entries while
// the promise holds, seqs have no holes, and a send that is older than what is
// known is refused, never doubled.
func TestDedupeProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := Limits{Keep: rapid.IntRange(1, 40).Draw(t, "keep"), DedupeEntries: rapid.IntRange(1, 12).Draw(t, "entries"), DedupeAge: time.Second}
		r := New("r", "e", 0, 0, l)
		var log []event.Entry
		seqs := map[event.ClientID]uint64{} // first seq of each cid
		now := int64(1_000_000)
		for range rapid.IntRange(1, 120).Draw(t, "steps") {
			now += rapid.Int64Range(0, 400).Draw(t, "ms")
			if rapid.IntRange(0, 9).Draw(t, "takeover") == 0 {
				r = recalled(t, r, log, now)
			}
			n := rapid.IntRange(0, 60).Draw(t, "cid")
			cid := event.ClientID(fmt.Sprint("c", n))
			first, sent := seqs[cid]
			p := event.PostMessage{CID: cid, Body: []byte(fmt.Sprint(n))}
			if sent { // from an outbox: the cursor is that of the first try
				p.Since = &event.Cursor{Epoch: "e", Seq: first - 1}
			}
			got, refused := r.Post("alice", p, "m", now)
			switch {
			case !sent && (refused != nil || got.Dup || got.Entry.Seq != uint64(len(log)+1)):
				t.Fatalf("first send of %s: %+v %+v", cid, got, refused)
			case !sent:
				seqs[cid] = got.Entry.Seq
				log = append(log, got.Entry)
			case refused == nil && (!got.Dup || got.Entry.Seq != first):
				t.Fatalf("resend of %s, entry %d: %+v", cid, first, got)
			case refused != nil && promised(r, log, first, now, l):
				t.Fatalf("resend of %s, entry %d of %d, is refused: %+v", cid, first, len(log), refused)
			}
			if want := max(1, len(log)-l.Keep+1); r.Head != uint64(len(log)) || r.Floor != uint64(want) {
				t.Fatalf("head %d, floor %d; want %d, %d", r.Head, r.Floor, len(log), want)
			}
		}
	})
}

// promised tells whether the entry is within the window: kept, and either one of
// the newest or young.
func promised(r *Room, log []event.Entry, seq uint64, now int64, l Limits) bool {
	newest := seq+uint64(l.DedupeEntries) > r.Head
	young := log[seq-1].At >= now-l.DedupeAge.Milliseconds()
	return seq >= r.Floor && (newest || young)
}

func recalled(t *rapid.T, r *Room, log []event.Entry, now int64) *Room {
	next := New(r.ID, r.Epoch, r.Head, r.Floor, r.limits)
	at := len(log)
	err := next.Recall(now, func() (event.Entry, bool, error) {
		if at == 0 || log[at-1].Seq < r.Floor {
			return event.Entry{}, false, nil
		}
		at--
		return log[at], true, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return next
}

// Wherever a cursor stands: what follows is kept, nothing between the cursor and
// what follows is left unsaid, and only a cursor that is none is reset.
func TestJoinProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		head := rapid.Uint64Range(0, 500).Draw(t, "head")
		floor := uint64(1)
		if head > 0 {
			floor = rapid.Uint64Range(1, head).Draw(t, "floor")
		}
		r := New("r", "e", head, floor, limits)
		since := event.Cursor{Epoch: event.Epoch(rapid.SampledFrom([]string{"e", "old"}).Draw(t, "epoch")), Seq: rapid.Uint64Range(0, 600).Draw(t, "seq")}
		j := r.Join(event.JoinRoom{Since: &since})
		if j.After > head || j.After+1 < floor {
			t.Fatalf("after %d is not within %d to %d", j.After, floor, head)
		}
		if bad := since.Epoch != "e" || since.Seq > head; j.Reset != bad || bad && j.After != head {
			t.Fatalf("%+v", j)
		}
		told := since.Seq
		if j.Gap != nil {
			if j.Gap.From != told+1 || j.Gap.To < j.Gap.From || j.Gap.To >= floor {
				t.Fatalf("gap %+v", j.Gap)
			}
			told = j.Gap.To
		}
		if !j.Reset && j.After != told {
			t.Fatalf("after %d, told to %d", j.After, told)
		}
		last := rapid.IntRange(1, 300).Draw(t, "last")
		k := r.Join(event.JoinRoom{Last: last})
		if n := head - k.After; n > MaxLast || n > uint64(last) || k.After+1 < floor {
			t.Fatalf("last %d: %+v", last, k)
		}
	})
}

// Pages read one after the other give every kept entry once.
func TestPagesProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		head := rapid.Uint64Range(1, 300).Draw(t, "head")
		floor := rapid.Uint64Range(1, head).Draw(t, "floor")
		limit := rapid.IntRange(-1, 250).Draw(t, "limit")
		forward := rapid.Bool().Draw(t, "forward")
		read := event.ReadHistory{Limit: limit}
		after := uint64(0)
		if forward {
			read.After = &after
		}
		var seen uint64
		for {
			b := Page(read, floor, head)
			if b.Empty() || b.From < floor || b.To > head || b.Limit < 1 || b.Limit > MaxPage || b.Backward == forward {
				t.Fatalf("%+v of %d to %d: %+v", read, floor, head, b)
			}
			n := min(uint64(b.Limit), b.To-b.From+1)
			seen += n
			first, last := b.From, b.From+n-1
			if b.Backward {
				first, last = b.To-n+1, b.To
			}
			if !b.More(first, last) {
				break
			}
			after, read.Before = last, 0
			if !forward {
				read.Before = first
			}
		}
		if seen != head-floor+1 {
			t.Fatalf("%d entries, want %d", seen, head-floor+1)
		}
	})
}
