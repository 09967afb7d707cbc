package store

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/parley-chat/parley/shared/event"
	"github.com/parley-chat/parley/shared/redistest"
)

// place is an engine under test and what can happen to it from outside.
type place struct {
	engine engine
	flush  func()                     // everything is gone
	cut    func(event.RoomID)         // the log of the room is gone
	behind func(guard)                // the guard is an older one
	lose   func(event.RoomID, uint64) // entries from here on are gone
}

const part = 3

// places runs a test on memory and on a real Redis.
func places(t *testing.T, test func(t *testing.T, p place)) {
	t.Run("memory", func(t *testing.T) {
		m := newMemory()
		in := func(do func(p *memoryPartition)) {
			m.mu.Lock()
			defer m.mu.Unlock()
			do(m.at(part))
		}
		test(t, place{
			engine: m,
			flush:  func() { in(func(*memoryPartition) { clear(m.partitions); clear(m.settled) }) },
			cut:    func(id event.RoomID) { in(func(p *memoryPartition) { p.logs[id].entries = nil }) },
			behind: func(g guard) { in(func(p *memoryPartition) { p.raw = g.String() }) },
			lose: func(id event.RoomID, from uint64) {
				in(func(p *memoryPartition) { l := p.logs[id]; l.entries = l.entries[:from-l.entries[0].Seq] })
			},
		})
	})
	t.Run("redis", func(t *testing.T) {
		e, server := redisPlace(t, redistest.Options{})
		test(t, onRedis(t, e, server))
	})
}

func redisPlace(t *testing.T, o redistest.Options) (*redisEngine, *redistest.Server) {
	server := redistest.Start(t, o)
	e := newRedis(&redis.UniversalOptions{Addrs: []string{server.Addr}, MaxRetries: -1, ContextTimeoutEnabled: true, ReadTimeout: 2 * time.Second}, "test", Fast)
	t.Cleanup(func() { _ = e.close() })
	return e, server
}

func onRedis(t *testing.T, e *redisEngine, server *redistest.Server) place {
	client := server.Client()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx := context.Background()
	return place{
		engine: e,
		flush:  server.Flush,
		cut:    func(id event.RoomID) { must(client.Del(ctx, e.log(part, id)).Err()) },
		behind: func(g guard) { must(client.Set(ctx, e.key(part, "w"), g.String(), 0).Err()) },
		lose: func(id event.RoomID, from uint64) {
			entries, err := scanOne(ctx, e, part, span{id, from, ^uint64(0), 1000, false})
			must(err)
			for _, x := range entries {
				must(client.XDel(ctx, e.log(part, id), fmt.Sprintf("%d-0", x.Seq)).Err())
			}
		},
	}
}

func entry(seq uint64) event.Entry {
	return event.Entry{Seq: seq, ID: event.MessageID(fmt.Sprintf("m%d", seq)), From: "alice", CID: event.ClientID(fmt.Sprintf("c%d", seq)),
		Kind: event.KindMessage, Body: []byte(fmt.Sprintf(`{"n":%d}`, seq)), At: time.Now().UnixMilli()}
}

func write(room event.RoomID, from, to uint64) Write {
	w := Write{Room: room}
	for seq := from; seq <= to; seq++ {
		w.Entries = append(w.Entries, entry(seq))
	}
	return w
}

func open(t *testing.T, s *Store, lease uint64) *Log {
	t.Helper()
	l, err := s.Open(t.Context(), part, lease)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func mustAppend(t *testing.T, l *Log, batch ...Write) {
	t.Helper()
	if err := l.Append(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
}

func head(t *testing.T, s *Store, room event.RoomID) Head {
	t.Helper()
	heads, err := s.Heads(t.Context(), part, []event.RoomID{room})
	if err != nil {
		t.Fatal(err)
	}
	return heads[0]
}

func wantErr(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got %v, want %v", err, want)
	}
}

func TestSettle(t *testing.T) {
	places(t, func(t *testing.T, p place) {
		s := &Store{p.engine}
		for range 2 {
			if err := s.Settle(t.Context(), 8); err != nil {
				t.Fatal(err)
			}
		}
		wantErr(t, s.Settle(t.Context(), 16), ErrPartitions)
	})
}

func TestAppendAndRead(t *testing.T) {
	places(t, func(t *testing.T, p place) {
		s := &Store{p.engine}
		l := open(t, s, 1)
		if l.Epoch() == "" || !l.Untold() || !l.Sure() {
			t.Fatalf("first owner: %+v", l.record)
		}
		mustAppend(t, l, write("a", 1, 3), write("b", 1, 1))
		mustAppend(t, l, write("a", 4, 5))
		if got := head(t, s, "a"); got != (Head{Floor: 1, Head: 5}) {
			t.Fatalf("head of a: %+v", got)
		}
		if got := head(t, s, "none"); got != (Head{}) {
			t.Fatalf("head of no room: %+v", got)
		}
		entries, err := s.Between(t.Context(), part, "a", 2, 4, 10)
		if err != nil || len(entries) != 3 || entries[0].Seq != 2 || string(entries[2].Body) != `{"n":4}` || entries[1].CID != "c3" {
			t.Fatalf("entries 2 to 4: %+v, %v", entries, err)
		}
		next := s.Tail(t.Context(), part, "a", 5)
		for want := uint64(5); want > 0; want-- {
			if e, ok, err := next(); err != nil || !ok || e.Seq != want {
				t.Fatalf("tail: %+v %t %v, want %d", e, ok, err, want)
			}
		}
		if _, ok, err := next(); ok || err != nil {
			t.Fatalf("after the oldest: %t %v", ok, err)
		}
	})
}

func TestStaleOwnerWritesNothing(t *testing.T) {
	places(t, func(t *testing.T, p place) {
		s := &Store{p.engine}
		old := open(t, s, 1)
		mustAppend(t, old, write("a", 1, 10))
		owner := open(t, s, 2)
		if owner.Epoch() != old.Epoch() || owner.Generation() <= old.Generation() {
			t.Fatalf("takeover: %+v after %+v", owner, old)
		}
		mustAppend(t, owner, write("a", 11, 11))
		wantErr(t, old.Append(t.Context(), []Write{write("a", 11, 13)}), ErrFenced)
		wantErr(t, old.Check(t.Context()), ErrFenced)
		if got := head(t, s, "a"); got.Head != 11 {
			t.Fatalf("head %d after a stale batch of three, want 11", got.Head)
		}
		_, err := s.Open(t.Context(), part, 1)
		wantErr(t, err, ErrFenced)
		mustAppend(t, owner, write("a", 12, 12))
	})
}

// Whatever the store lost, the next append or look finds it.
func TestLossIsNoticed(t *testing.T) {
	losses := map[string]func(p place, before guard){
		"emptied":          func(p place, _ guard) { p.flush() },
		"guard behind":     func(p place, before guard) { p.behind(before); p.lose("a", 3) },
		"a log is gone":    func(p place, _ guard) { p.cut("a") },
		"a log's tail":     func(p place, _ guard) { p.lose("a", 3) },
		"guard unreadable": func(p place, _ guard) { p.behind(guard{}) },
	}
	for name, lose := range losses {
		t.Run(name, func(t *testing.T) {
			places(t, func(t *testing.T, p place) {
				s := &Store{p.engine}
				l := open(t, s, 1)
				mustAppend(t, l, write("a", 1, 2), write("b", 1, 1))
				before := l.guard
				mustAppend(t, l, write("a", 3, 4))
				lose(p, before)
				wantErr(t, l.Append(t.Context(), []Write{write("b", 2, 2), write("a", 5, 5)}), ErrLost)
				if got := head(t, s, "b"); got.Head > 1 {
					t.Fatalf("b was written: %+v", got)
				}
				was := *l
				if err := l.Renew(t.Context()); err != nil {
					t.Fatal(err)
				}
				if l.Epoch() == was.Epoch() || l.Generation() <= was.Generation() || !l.Untold() || !l.Sure() {
					t.Fatalf("renewed: %+v, was %+v", l, was)
				}
				at := head(t, s, "a").Head
				mustAppend(t, l, write("a", at+1, at+2))
				if got := head(t, s, "a").Head; got != at+2 {
					t.Fatalf("head %d, want %d", got, at+2)
				}
			})
		})
	}
}

func TestCheckNoticesWithoutWriting(t *testing.T) {
	places(t, func(t *testing.T, p place) {
		s := &Store{p.engine}
		l := open(t, s, 1)
		mustAppend(t, l, write("a", 1, 2))
		if err := l.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
		p.flush()
		wantErr(t, l.Check(t.Context()), ErrLost)
	})
}

func TestGoneLogIsSeenByHeads(t *testing.T) {
	places(t, func(t *testing.T, p place) {
		s := &Store{p.engine}
		mustAppend(t, open(t, s, 1), write("a", 1, 2))
		p.cut("a")
		if got := head(t, s, "a"); !got.Gone {
			t.Fatalf("%+v, want it gone", got)
		}
	})
}

// A room whose log is gone is lost once: it begins anew under the next epoch.
func TestForgottenRoomBeginsAnew(t *testing.T) {
	places(t, func(t *testing.T, p place) {
		s := &Store{p.engine}
		stale := open(t, s, 1)
		l := open(t, s, 2)
		mustAppend(t, l, write("a", 1, 2), write("b", 1, 1))
		p.cut("a")
		wantErr(t, stale.Forget(t.Context(), []event.RoomID{"a"}), ErrUnavailable)
		if err := l.Renew(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := l.Forget(t.Context(), []event.RoomID{"a", "b"}); err != nil {
			t.Fatal(err)
		}
		if got := head(t, s, "a"); got.Gone || got.Head != 0 {
			t.Fatalf("%+v, want it empty and not gone", got)
		}
		if got := head(t, s, "b"); got.Head != 1 {
			t.Fatalf("%+v, want b kept", got)
		}
		mustAppend(t, l, write("a", 1, 1))
	})
}

// An owner that lost its lease may be the first to renew an emptied store; the
// owner in the right takes it back.
func TestLaterLeaseWinsAfterLoss(t *testing.T) {
	places(t, func(t *testing.T, p place) {
		s := &Store{p.engine}
		zombie := open(t, s, 1)
		owner := open(t, s, 2)
		p.flush()
		if err := zombie.Renew(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantErr(t, owner.Check(t.Context()), ErrLost)
		if err := owner.Renew(t.Context()); err != nil {
			t.Fatal(err)
		}
		mustAppend(t, owner, write("a", 1, 1))
		wantErr(t, zombie.Append(t.Context(), []Write{write("a", 1, 1)}), ErrFenced)
		wantErr(t, zombie.Renew(t.Context()), ErrFenced)
	})
}

func TestTold(t *testing.T) {
	places(t, func(t *testing.T, p place) {
		s := &Store{p.engine}
		open(t, s, 1)
		if !open(t, s, 2).Untold() {
			t.Fatal("an owner that died before it told the epoch: the next one must tell it")
		}
		l := open(t, s, 3)
		if err := l.Told(t.Context()); err != nil {
			t.Fatal(err)
		}
		if l.Untold() || open(t, s, 4).Untold() {
			t.Fatal("told, and still untold")
		}
	})
}

func TestRetentionByCountIsExact(t *testing.T) {
	places(t, func(t *testing.T, p place) {
		s := &Store{p.engine}
		l := open(t, s, 1)
		const keep = 7
		for to := uint64(1); to <= 300; to += 3 {
			w := write("a", to, to+2)
			if w.Entries[2].Seq > keep {
				w.Floor = w.Entries[2].Seq - keep + 1
			}
			mustAppend(t, l, w)
			h := head(t, s, "a")
			if want := max(int64(to+2)-keep+1, 1); h.Head != to+2 || h.Floor != uint64(want) {
				t.Fatalf("%+v, want floor %d", h, want)
			}
		}
	})
}

func TestRetentionByAge(t *testing.T) {
	places(t, func(t *testing.T, p place) {
		s := &Store{p.engine}
		l := open(t, s, 1)
		const age = time.Hour
		now := time.Now()
		old := func(w Write, ago time.Duration) Write {
			for i := range w.Entries {
				w.Entries[i].At = now.Add(-ago).UnixMilli()
			}
			return w
		}
		mustAppend(t, l, old(write("mixed", 1, 250), 2*time.Hour), old(write("quiet", 1, 3), 2*time.Hour), write("fresh", 1, 2))
		mustAppend(t, l, write("mixed", 251, 253))
		sweep := func() map[event.RoomID]uint64 {
			t.Helper()
			trimmed, err := l.Sweep(t.Context(), now, age, 10)
			if err != nil {
				t.Fatal(err)
			}
			floors := map[event.RoomID]uint64{}
			for _, x := range trimmed {
				floors[x.Room] = x.Floor
			}
			return floors
		}
		if got := sweep(); len(got) != 2 || got["mixed"] != sweepChunk || got["quiet"] != 3 {
			t.Fatalf("first sweep: %v", got)
		}
		if got := sweep(); len(got) != 1 || got["mixed"] != 251 {
			t.Fatalf("second sweep: %v", got)
		}
		if got := sweep(); len(got) != 0 {
			t.Fatalf("third sweep: %v, want nothing due", got)
		}
		if m, q := head(t, s, "mixed"), head(t, s, "quiet"); m != (Head{Floor: 251, Head: 253}) || q != (Head{Floor: 3, Head: 3}) {
			t.Fatalf("mixed %+v, quiet %+v", m, q)
		}
		// The newest was kept although it is too old; behind the next one it goes.
		mustAppend(t, l, write("quiet", 4, 4))
		if got := sweep(); len(got) != 1 || got["quiet"] != 4 {
			t.Fatalf("sweep after a new entry: %v", got)
		}
	})
}

func TestPages(t *testing.T) {
	places(t, func(t *testing.T, p place) {
		s := &Store{p.engine}
		l := open(t, s, 1)
		w := write("a", 1, 300)
		w.Floor = 101
		mustAppend(t, l, w)
		long := write("long", 1, 40)
		for i := range long.Entries {
			long.Entries[i].Body = []byte(`"` + string(make32k()) + `"`)
		}
		mustAppend(t, l, long)
		after := func(n uint64) *uint64 { return &n }
		tests := []struct {
			room        event.RoomID
			read        event.ReadHistory
			first, last uint64
			more        bool
		}{
			{"a", event.ReadHistory{}, 251, 300, true},
			{"a", event.ReadHistory{Limit: 200}, 101, 300, false},
			{"a", event.ReadHistory{Limit: 9999}, 101, 300, false},
			{"a", event.ReadHistory{Before: 151}, 101, 150, false},
			{"a", event.ReadHistory{Before: 152}, 102, 151, true},
			{"a", event.ReadHistory{Before: 101}, 0, 0, false},
			{"a", event.ReadHistory{After: after(0), Limit: 10}, 101, 110, true},
			{"a", event.ReadHistory{After: after(290), Limit: 10}, 291, 300, false},
			{"a", event.ReadHistory{After: after(300)}, 0, 0, false},
			{"a", event.ReadHistory{After: after(^uint64(0))}, 0, 0, false},
			{"a", event.ReadHistory{After: after(110), Before: 115}, 111, 114, false},
			{"long", event.ReadHistory{}, 33, 40, true},
			{"long", event.ReadHistory{After: after(0)}, 1, 8, true},
			{"none", event.ReadHistory{}, 0, 0, false},
		}
		var alone []event.PageRead
		var all []Question
		for _, test := range tests {
			page, err := onePage(t, s, test.room, test.read)
			if err != nil {
				t.Fatal(err)
			}
			alone, all = append(alone, page), append(all, Question{test.room, test.read})
			var first, last uint64
			for i, e := range page.Entries {
				if i > 0 && e.Seq != last+1 {
					t.Fatalf("%+v: %d after %d", test.read, e.Seq, last)
				}
				if i == 0 {
					first = e.Seq
				}
				last = e.Seq
			}
			if first != test.first || last != test.last || page.More != test.more {
				t.Errorf("%s %+v: %d to %d, more %t; want %+v", test.room, test.read, first, last, page.More, test)
			}
			if test.room == "a" && (page.Floor != 101 || page.Head != 300) || test.room == "none" && (page.Floor != 1 || page.Head != 0) {
				t.Errorf("%s: floor %d, head %d", test.room, page.Floor, page.Head)
			}
			test.read.Have = &event.Held{Head: page.Head, Floor: page.Floor}
			again, err := onePage(t, s, test.room, test.read)
			if err != nil || !again.Same || again.Entries != nil || again.Head != page.Head || again.Floor != page.Floor {
				t.Errorf("%s %+v, of what is held: %+v, %v", test.room, test.read, again, err)
			}
		}
		if together, err := s.Pages(t.Context(), part, all...); err != nil || !reflect.DeepEqual(together, alone) {
			t.Errorf("asked for at once the pages are %+v, %v; one by one they are %+v", together, err, alone)
		}
		for _, test := range []struct {
			read event.ReadHistory
			have event.Held
			same bool
		}{
			{event.ReadHistory{}, event.Held{Head: 299, Floor: 101}, false},
			{event.ReadHistory{}, event.Held{Head: 300, Floor: 100}, false}, // how much there is besides has changed
			{event.ReadHistory{Before: 200}, event.Held{Head: 250, Floor: 101}, true},
			{event.ReadHistory{Before: 200}, event.Held{Head: 198, Floor: 101}, false},
			{event.ReadHistory{After: after(150)}, event.Held{Head: 250, Floor: 101}, false}, // it may say more now
			{event.ReadHistory{After: after(280)}, event.Held{Head: 280, Floor: 101}, false},
		} {
			test.read.Have = &test.have
			page, err := onePage(t, s, "a", test.read)
			if err != nil || page.Same != test.same || page.Same == (page.Entries != nil) {
				t.Errorf("%+v, holding %+v: the same %t with %d entries, %v", test.read, test.have, page.Same, len(page.Entries), err)
			}
		}
	})
}

func onePage(t *testing.T, s *Store, id event.RoomID, r event.ReadHistory) (event.PageRead, error) {
	t.Helper()
	pages, err := s.Pages(t.Context(), part, Question{id, r})
	if err != nil {
		return event.PageRead{}, err
	}
	return pages[0], nil
}

func make32k() []byte {
	b := make([]byte, 32<<10-200)
	for i := range b {
		b[i] = 'x'
	}
	return b
}
