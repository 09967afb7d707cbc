package chat

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/parley-chat/parley/services/chat/internal/store"
	"github.com/parley-chat/parley/shared/event"
	"github.com/parley-chat/parley/shared/redistest"
)

func TestSendJoinRead(t *testing.T) {
	w := newWorld(t)
	w.chat("memory://", Config{})

	first := w.posted(post("general", "c1"))
	if first.Entry.Seq != 1 || first.Entry.From != "alice" || first.Entry.CID != "c1" || first.Epoch == "" || first.Entry.ID == "" || first.Again {
		t.Fatalf("%+v", first)
	}
	e := w.answer(w.ask(post("general", "c1")))
	if e.Accepted == nil || !e.Accepted.Dup || e.Accepted.Seq != 1 || e.Accepted.At != first.Entry.At {
		t.Fatalf("replay: %+v", e)
	}
	other := post("general", "c1")
	other.Post.Body = []byte(`"another body"`)
	if e := w.answer(w.ask(other)); e.Refused == nil || e.Refused.Code != "conflict" || e.Refused.CID != "c1" {
		t.Fatalf("another body: %+v", e.Refused)
	}
	for i := 2; i <= 5; i++ {
		if p := w.posted(post("general", fmt.Sprint("c", i))); p.Entry.Seq != uint64(i) || p.Epoch != first.Epoch {
			t.Fatalf("%+v", p)
		}
	}
	if e := w.answer(w.ask(event.Command{Room: "general", Join: &event.JoinRoom{Last: 2}})); e.Joined == nil || e.Joined.Head != 5 || e.Joined.After != 3 || e.Joined.Epoch != first.Epoch {
		t.Fatalf("join: %+v", e.Joined)
	}
	if e := w.answer(w.ask(event.Command{Room: "new", Join: &event.JoinRoom{}})); e.Joined == nil || e.Joined.Head != 0 || e.Joined.Floor != 1 {
		t.Fatalf("join of a new room: %+v", e.Joined)
	}
	after := uint64(1)
	e = w.answer(w.ask(event.Command{Room: "general", Read: &event.ReadHistory{After: &after, Limit: 3}}))
	if e.Page == nil || len(e.Page.Entries) != 3 || e.Page.Entries[0].Seq != 2 || !e.Page.More || e.Page.After != 1 || e.Page.Head != 5 || e.Page.Epoch != first.Epoch {
		t.Fatalf("page: %+v", e.Page)
	}
	for epoch, same := range map[event.Epoch]bool{first.Epoch: true, "of-before": false} {
		held := event.Held{Epoch: epoch, Head: 5, Floor: e.Page.Floor}
		got := w.answer(w.ask(event.Command{Room: "general", Read: &event.ReadHistory{After: &after, Limit: 3, Have: &held}})).Page
		if got == nil || got.Same != same || got.Same != (len(got.Entries) == 0) || got.Head != 5 || got.Epoch != first.Epoch {
			t.Fatalf("page, of which the one of epoch %s is held: %+v", epoch, got)
		}
	}
	if n := w.count(func(e event.Event) bool { return e.Posted != nil && e.Posted.Entry.CID == "c1" }); n != 1 {
		t.Fatalf("the event of c1 was published %d times", n)
	}
}

func TestPassedOn(t *testing.T) {
	w := newWorld(t)
	w.chat("memory://", Config{})
	kinds := map[string]event.Command{
		"left":    {Room: "r", Leave: &event.LeaveRoom{Clean: true}},
		"members": {Room: "r", Members: &event.ListMembers{}},
		"find":    {Find: &event.FindUser{User: "bob"}},
		"typing":  {Room: "r", Type: &event.StartTyping{}},
		"signal":  {Room: "r", Signal: &event.SendSignal{Body: []byte(`{}`)}},
		"opened":  {OpenSession: &event.OpenSession{Row: event.SessionRow{Who: event.Who{User: "alice"}, Agent: "test"}}},
		"closed":  {CloseSession: &event.CloseSession{Clean: true}},
	}
	for kind, c := range kinds {
		e := w.answer(w.ask(c))
		if e.Kind() != kind || e.User != "alice" || e.Session != "s_1" || e.Room != c.Room {
			t.Errorf("%s became %s: %+v", c.Kind(), e.Kind(), e)
		}
	}
}

func TestRefused(t *testing.T) {
	w := newWorld(t)
	w.chat("memory://", Config{})
	long := post("r", strings.Repeat("c", 65))
	bad := post("r", "c")
	bad.Post.Body = []byte(`{"n":`)
	commands := map[string]event.Command{
		"room with a space": post("a room", "c"),
		"reserved room":     {Room: "~x", Join: &event.JoinRoom{}},
		"no cid":            post("r", ""),
		"long cid":          long,
		"body is no JSON":   bad,
		"bad user":          {Room: "r", Find: &event.FindUser{User: "@x"}},
	}
	for name, c := range commands {
		if e := w.answer(w.ask(c)); e.Refused == nil || e.Refused.Code != "bad_request" || e.Refused.Message == "" {
			t.Errorf("%s: %+v %+v", name, e, e.Refused)
		}
	}
	nobody := post("r", "from-nobody")
	nobody.Session = "s_2" // and no request: a send is answered all the same
	w.say(nobody)
	e := w.wait("refusal", func(e event.Event) bool { return e.Refused != nil && e.Refused.CID == "from-nobody" })
	if e.Refused.Code != "forbidden" || e.Session != "s_2" {
		t.Errorf("%+v", e)
	}
}

func TestSkipped(t *testing.T) {
	w := newWorld(t)
	w.chat("memory://", Config{})
	old := time.Now().Add(-6 * time.Second).UnixMilli()
	w.ask(event.Command{Room: "r"}) // of a kind that is not known yet
	w.ask(event.Command{Room: "r", At: old, Type: &event.StartTyping{}})
	c := post("r", "c1")
	c.At = time.Now().Add(-time.Hour).UnixMilli() // not volatile: dedupe makes it safe
	if e := w.answer(w.ask(c)); e.Posted == nil {
		t.Fatalf("%+v", e)
	}
	if n := w.count(func(e event.Event) bool { return e.Request == 1 || e.Request == 2 || e.Typing != nil }); n != 0 {
		t.Fatalf("%d events of what should be skipped", n)
	}
}

func TestSync(t *testing.T) {
	w := newWorld(t)
	w.chat("memory://", Config{RoomsCached: 2})
	var rooms []event.RoomID
	var epoch event.Epoch
	for i := range 8 { // more than are held in memory
		id := event.RoomID(fmt.Sprint("room-", i))
		if event.PartitionFor(string(id), partitions) == 1 {
			rooms = append(rooms, id)
			epoch = w.posted(post(id, "c1")).Epoch
		}
	}
	rooms = append(rooms, "no such room")
	sync := func(seq uint64) event.Event {
		c := event.Command{Sync: &event.SyncNode{Partition: 1, Whole: true, ID: 7, Part: 1, Parts: 1}}
		for _, id := range rooms {
			c.Sync.Rooms = append(c.Sync.Rooms, event.RoomSync{Room: id, Cursor: event.Cursor{Epoch: epoch, Seq: seq}})
		}
		c.Sync.Rooms[len(rooms)-1].Cursor = event.Cursor{}
		return w.answer(w.ask(c))
	}
	check := func(e event.Event, same bool) {
		t.Helper()
		if e.Synced == nil || e.Synced.Sync.ID != 7 || len(e.Synced.Heads) != len(rooms) {
			t.Fatalf("%+v", e)
		}
		for i, h := range e.Synced.Heads {
			want := uint64(1)
			if i == len(rooms)-1 {
				want = 0
			}
			if h.Room != rooms[i] || h.Head != want || h.Floor != 1 || (h.Epoch == epoch) != same {
				t.Errorf("head %d: %+v", i, h)
			}
		}
	}
	check(sync(1), true)
	// An edge that holds more than the log has was shown it: the log lost it.
	check(sync(9), false)
	w.wait("epoch change", func(e event.Event) bool { return e.Epoch != nil && e.Epoch.Partition == 1 && e.Epoch.Epoch != epoch })
}

// A client can show any cursor it likes; while it is known that nothing was lost,
// that changes nothing for others.
func TestBogusCursor(t *testing.T) {
	w := newWorld(t)
	w.chat("memory://", Config{})
	p := w.posted(post("r", "c1"))
	e := w.answer(w.ask(event.Command{Room: "r", Join: &event.JoinRoom{Since: &event.Cursor{Epoch: p.Epoch, Seq: 1 << 40}}}))
	if e.Joined == nil || !e.Joined.Reset || e.Joined.After != 1 || e.Joined.Epoch != p.Epoch {
		t.Fatalf("%+v", e.Joined)
	}
	if p2 := w.posted(post("r", "c2")); p2.Epoch != p.Epoch || p2.Entry.Seq != 2 {
		t.Fatalf("%+v", p2)
	}
}

func TestTakeover(t *testing.T) {
	server := redistest.Start(t, redistest.Options{})
	w := newWorld(t)
	stop := w.chat(server.URL, Config{})
	p := w.posted(post("r", "c1"))
	w.posted(post("r", "c2"))
	stop()
	w.chat(server.URL, Config{})
	e := w.answer(w.ask(post("r", "c1")))
	if e.Accepted == nil || !e.Accepted.Dup || e.Accepted.Seq != 1 {
		t.Fatalf("%+v", e)
	}
	again := w.wait("event of c1 again", func(e event.Event) bool { return e.Posted != nil && e.Posted.Again })
	if again.Posted.Entry.ID != p.Entry.ID || string(again.Posted.Entry.Body) != `"c1"` || again.Request != 0 || again.Session != "" || again.Posted.Epoch != p.Epoch {
		t.Fatalf("%+v", again)
	}
	if p := w.posted(post("r", "c3")); p.Entry.Seq != 3 {
		t.Fatalf("%+v", p)
	}
	if n := w.count(func(e event.Event) bool {
		return e.Epoch != nil && e.Epoch.Epoch != p.Epoch && event.PartitionFor("r", partitions) == e.Epoch.Partition
	}); n != 0 {
		t.Fatal("a takeover changed the epoch")
	}
}

func TestEmptiedStore(t *testing.T) {
	server := redistest.Start(t, redistest.Options{})
	w := newWorld(t)
	w.chat(server.URL, Config{})
	p := w.posted(post("r", "c1"))
	partition := event.PartitionFor("r", partitions)
	server.Flush()
	// Noticed although nobody writes.
	changed := w.wait("epoch change", func(e event.Event) bool {
		return e.Epoch != nil && e.Epoch.Partition == partition && e.Epoch.Epoch != p.Epoch
	})
	p2 := w.posted(post("r", "c1"))
	if p2.Entry.Seq != 1 || p2.Epoch != changed.Epoch.Epoch || p2.Entry.ID == p.Entry.ID {
		t.Fatalf("%+v", p2)
	}
	e := w.answer(w.ask(event.Command{Room: "r", Join: &event.JoinRoom{Since: &event.Cursor{Epoch: p.Epoch, Seq: 1}}}))
	if e.Joined == nil || !e.Joined.Reset {
		t.Fatalf("%+v", e.Joined)
	}
	server.Flush()
	if p3 := w.posted(post("r", "c2")); p3.Epoch == p2.Epoch {
		t.Fatal("a send into an emptied store kept the epoch")
	}
}

func TestStoreComesBack(t *testing.T) {
	server := redistest.Start(t, redistest.Options{})
	w := newWorld(t)
	w.chat(server.URL, Config{})
	p := w.posted(post("r", "c1"))
	server.Kill()
	var requests []uint64
	for i := range 5 {
		requests = append(requests, w.ask(post("r", fmt.Sprint("late", i))))
	}
	server.Run()
	for i, r := range requests {
		if e := w.answer(r); e.Posted == nil || e.Posted.Entry.Seq != uint64(i+2) || e.Posted.Epoch != p.Epoch {
			t.Fatalf("%+v", e)
		}
	}
}

func TestRetention(t *testing.T) {
	w := newWorld(t)
	w.chat("memory://", Config{RetentionCount: 3})
	for i := range 8 {
		w.posted(post("r", fmt.Sprint("c", i)))
	}
	e := w.answer(w.ask(event.Command{Room: "r", Read: &event.ReadHistory{}}))
	if e.Page == nil || e.Page.Floor != 6 || e.Page.Head != 8 || len(e.Page.Entries) != 3 || e.Page.More {
		t.Fatalf("%+v", e.Page)
	}
}

func TestOtherPartitions(t *testing.T) {
	server := redistest.Start(t, redistest.Options{})
	s, err := store.Open(server.URL, "parley", store.Fast, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Settle(t.Context(), 16); err != nil {
		t.Fatal(err)
	}
	service, err := New(Config{}, newWorld(t).newBus("chat"), Options{Store: server.URL, Bus: "memory://"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := service.Run(ctx); !errors.Is(err, store.ErrPartitions) || !strings.Contains(err.Error(), "PARLEY_PARTITIONS=16") {
		t.Fatal(err)
	}
}

func TestStoreMustFitTheBus(t *testing.T) {
	_, err := New(Config{}, newWorld(t).newBus("chat"), Options{Store: "memory://", Bus: "redis://u:secret@h:1/0"})
	if err == nil || !strings.Contains(err.Error(), "PARLEY_STORE") || strings.Contains(err.Error(), "secret") {
		t.Fatal(err)
	}
}
