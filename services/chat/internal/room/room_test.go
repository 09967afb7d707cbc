package room

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/parley-chat/parley/shared/event"
)

var limits = Limits{Keep: 100, DedupeEntries: 10, DedupeAge: time.Minute}

func cursor(epoch event.Epoch, seq uint64) *event.Cursor {
	return &event.Cursor{Epoch: epoch, Seq: seq}
}

func TestJoin(t *testing.T) {
	tests := []struct {
		name        string
		head, floor uint64
		join        event.JoinRoom
		after       uint64
		gap         *event.Range
		reset       bool
	}{
		{"plain", 41, 1, event.JoinRoom{}, 41, nil, false},
		{"an empty room", 0, 0, event.JoinRoom{}, 0, nil, false},
		{"an empty room, since its begin", 0, 0, event.JoinRoom{Since: cursor("e", 0)}, 0, nil, false},
		{"an empty room, last", 0, 0, event.JoinRoom{Last: 50}, 0, nil, false},
		{"since", 41, 1, event.JoinRoom{Since: cursor("e", 30)}, 30, nil, false},
		{"since the head", 41, 1, event.JoinRoom{Since: cursor("e", 41)}, 41, nil, false},
		{"since the begin", 41, 1, event.JoinRoom{Since: cursor("e", 0)}, 0, nil, false},
		{"since, just kept", 41, 21, event.JoinRoom{Since: cursor("e", 20)}, 20, nil, false},
		{"since, one gone", 41, 21, event.JoinRoom{Since: cursor("e", 19)}, 20, &event.Range{From: 20, To: 20}, false},
		{"since, all gone", 41, 41, event.JoinRoom{Since: cursor("e", 0)}, 40, &event.Range{From: 1, To: 40}, false},
		{"since beyond the head", 41, 1, event.JoinRoom{Since: cursor("e", 42)}, 41, nil, true},
		{"since far beyond the head", 41, 21, event.JoinRoom{Since: cursor("e", ^uint64(0))}, 41, nil, true},
		{"since another epoch", 41, 1, event.JoinRoom{Since: cursor("old", 30)}, 41, nil, true},
		{"since another epoch, empty", 0, 0, event.JoinRoom{Since: cursor("old", 30)}, 0, nil, true},
		{"last", 41, 1, event.JoinRoom{Last: 10}, 31, nil, false},
		{"last, more than there are", 41, 1, event.JoinRoom{Last: 100}, 0, nil, false},
		{"last, more than are kept", 41, 21, event.JoinRoom{Last: 100}, 20, nil, false},
		{"last, more than may be asked", 1000, 1, event.JoinRoom{Last: 999}, 800, nil, false},
		{"last, nonsense", 41, 1, event.JoinRoom{Last: -1}, 41, nil, false},
		{"since wins over last", 41, 1, event.JoinRoom{Since: cursor("e", 40), Last: 10}, 40, nil, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := New("r", "e", test.head, test.floor, limits).Join(test.join)
			if got.After != test.after || got.Reset != test.reset || fmt.Sprint(got.Gap) != fmt.Sprint(test.gap) {
				t.Errorf("got %+v gap %v", got, got.Gap)
			}
			if got.Head != test.head || got.Floor != max(test.floor, 1) || got.Epoch != "e" {
				t.Errorf("got %+v", got)
			}
		})
	}
}

// sent is a log that the tests append to.
type sent struct {
	t   *testing.T
	r   *Room
	log []event.Entry
	now int64
}

func (s *sent) post(cid, body string, since *event.Cursor) (Posting, *event.Refusal) {
	p, refused := s.r.Post("alice", event.PostMessage{CID: event.ClientID(cid), Body: []byte(body), Since: since}, "mid", s.now)
	if refused == nil && !p.Dup {
		s.log = append(s.log, p.Entry)
	}
	return p, refused
}

func (s *sent) must(cid string) Posting {
	s.t.Helper()
	p, refused := s.post(cid, `"`+cid+`"`, nil)
	if refused != nil {
		s.t.Fatal(refused)
	}
	return p
}

// reload is the room as the next owner finds it.
func (s *sent) reload() {
	s.t.Helper()
	floor := s.r.Floor
	s.r = New("r", s.r.Epoch, s.r.Head, floor, s.r.limits)
	i := len(s.log)
	err := s.r.Recall(s.now, func() (event.Entry, bool, error) {
		if i--; i < 0 || s.log[i].Seq < floor {
			return event.Entry{}, false, nil
		}
		return s.log[i], true, nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

func newSent(t *testing.T) *sent {
	return &sent{t: t, r: New("r", "e", 0, 0, limits), now: 1_000_000}
}

func TestPost(t *testing.T) {
	s := newSent(t)
	if p := s.must("c1"); p.Entry.Seq != 1 || p.Entry.Kind != event.KindMessage || p.Entry.At != s.now || p.Dup {
		t.Fatalf("first: %+v", p)
	}
	s.now++
	if p := s.must("c1"); !p.Dup || p.Entry.Seq != 1 || p.Entry.At != s.now-1 || p.Again {
		t.Fatalf("repeated in the same batch: %+v", p)
	}
	if _, refused := s.post("c1", `"other"`, nil); refused == nil || refused.Code != "conflict" || refused.CID != "c1" {
		t.Fatalf("another body: %+v", refused)
	}
	if p, _ := s.r.Post("bob", event.PostMessage{CID: "c1", Body: []byte(`1`)}, "m", s.now); p.Dup || p.Entry.Seq != 2 {
		t.Fatalf("another sender's cid: %+v", p)
	}
}

func TestAgain(t *testing.T) {
	s := newSent(t)
	again := func(cid string, want bool) {
		t.Helper()
		if p := s.must(cid); !p.Dup || p.Again != want {
			t.Errorf("%s: %+v, want again %t", cid, p, want)
		}
	}
	s.must("c1")
	again("c1", false) // its event goes out with this batch
	s.r.Appended()
	again("c1", true) // it could not be published
	s.r.Told()
	again("c1", false)
	s.must("c2")
	again("c1", false)
	s.r.Appended()
	s.r.Told()
	s.reload() // another owner
	again("c1", true)
	again("c2", true)
	s.must("c3")
	s.r.Appended()
	s.r.Told()
	again("c3", false)
	again("c2", true)
}

func TestPostNeedsItsTail(t *testing.T) {
	r := New("r", "e", 5, 1, limits)
	if r.Ready() {
		t.Fatal("ready without its tail")
	}
	if _, refused := r.Post("alice", event.PostMessage{CID: "c", Body: []byte("1")}, "m", 1); refused == nil {
		t.Fatal("accepted without its tail")
	}
}

// Dedupe reaches back as many entries, and as far in time, as promised; a resend
// from before that is a conflict.
func TestDedupeWindow(t *testing.T) {
	for _, reloaded := range []bool{false, true} {
		t.Run(fmt.Sprint("reloaded ", reloaded), func(t *testing.T) {
			s := newSent(t)
			for i := range 30 {
				s.must(fmt.Sprint("c", i))
				s.now += 10_000 // 6 a minute: 10 entries are further back than that
			}
			if reloaded {
				s.reload()
			}
			if p := s.must("c20"); !p.Dup || p.Entry.Seq != 21 {
				t.Fatalf("the 10th newest: %+v", p)
			}
			if _, refused := s.post("c3", `"c3"`, cursor("e", 3)); refused == nil || refused.Code != "conflict" || !strings.Contains(refused.Message, "after 3") {
				t.Fatalf("a resend from before the window: %+v", refused)
			}
			if p, refused := s.post("c20", `"c20"`, cursor("e", 3)); refused != nil || !p.Dup {
				t.Fatalf("an old resend that is known: %+v %+v", p, refused)
			}
			if p, refused := s.post("new", `1`, cursor("e", 25)); refused != nil || p.Dup || p.Entry.Seq != 31 {
				t.Fatalf("a resend from within the window: %+v %+v", p, refused)
			}
			if _, refused := s.post("new2", `1`, cursor("old", 25)); refused == nil || refused.Code != "conflict" {
				t.Fatalf("a resend from another epoch: %+v", refused)
			}
		})
	}
}

func TestDedupeByAge(t *testing.T) {
	s := newSent(t)
	for i := range 60 { // all within the minute
		s.must(fmt.Sprint("c", i))
		s.now += 500
	}
	if p := s.must("c0"); !p.Dup {
		t.Fatal("the 60th newest is 30 s old and not known")
	}
	s.now += 60_000
	s.must("late")
	if n := s.r.tail.len(); n != limits.DedupeEntries {
		t.Fatalf("%d remembered, want %d", n, limits.DedupeEntries)
	}
}

func TestResendIntoAnEmptiedRoom(t *testing.T) {
	r := New("r", "new", 0, 0, limits)
	if p, refused := r.Post("alice", event.PostMessage{CID: "c", Body: []byte("1"), Since: cursor("old", 500)}, "m", 1); refused != nil || p.Entry.Seq != 1 {
		t.Fatalf("%+v %+v: nothing is there, so it was not sent", p, refused)
	}
}

func TestRetention(t *testing.T) {
	s := newSent(t)
	for i := range 250 {
		s.must(fmt.Sprint("c", i))
	}
	if s.r.Head != 250 || s.r.Floor != 151 {
		t.Fatalf("head %d, floor %d", s.r.Head, s.r.Floor)
	}
	if n := s.r.tail.len(); n > limits.Keep {
		t.Fatalf("%d remembered of %d kept", n, limits.Keep)
	}
}

func TestRecallFails(t *testing.T) {
	r := New("r", "e", 5, 1, limits)
	want := fmt.Errorf("away")
	if err := r.Recall(0, func() (event.Entry, bool, error) { return event.Entry{}, false, want }); err != want || r.Ready() {
		t.Fatalf("%v, ready %t", err, r.Ready())
	}
}

func TestBeyond(t *testing.T) {
	r := New("r", "e", 5, 1, limits)
	for _, test := range []struct {
		c    *event.Cursor
		want bool
	}{{nil, false}, {cursor("e", 5), false}, {cursor("e", 6), true}, {cursor("old", 6), false}} {
		if got := r.Beyond(test.c); got != test.want {
			t.Errorf("%+v: %t", test.c, got)
		}
	}
}
