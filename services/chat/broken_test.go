package chat

import (
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/parley-chat/parley/services/chat/internal/room"
	"github.com/parley-chat/parley/services/chat/internal/store"
	"github.com/parley-chat/parley/shared/bus"
	"github.com/parley-chat/parley/shared/event"
	"github.com/parley-chat/parley/shared/redistest"
)

// mute is a broker that takes no events while it is silent.
type mute struct {
	bus.Backend
	silent atomic.Bool
}

func (m *mute) Publisher() message.Publisher { return mutePublisher{m, m.Backend.Publisher()} }

type mutePublisher struct {
	m *mute
	message.Publisher
}

func (p mutePublisher) Publish(topic string, messages ...*message.Message) error {
	if p.m.silent.Load() && strings.HasPrefix(topic, "events-") {
		return fmt.Errorf("%w: muted", bus.ErrUnavailable)
	}
	return p.Publisher.Publish(topic, messages...)
}

// What was appended and could not be published is published when the batch comes
// again.
func TestPublishFails(t *testing.T) {
	w := newWorld(t)
	m := &mute{Backend: w.backend}
	w.backend = m
	w.chat("memory://", Config{})
	w.posted(post("r", "c1"))
	m.silent.Store(true)
	time.AfterFunc(3*time.Second, func() { m.silent.Store(false) }) // longer than one publish is tried
	e := w.answer(w.ask(post("r", "c2")))
	if e.Posted == nil && (e.Accepted == nil || e.Accepted.Seq != 2) {
		t.Fatalf("%+v", e)
	}
	w.wait("the event of c2", func(e event.Event) bool {
		return e.Posted != nil && e.Posted.Entry.CID == "c2" && e.Posted.Entry.Seq == 2
	})
	if p := w.posted(post("r", "c3")); p.Entry.Seq != 3 {
		t.Fatalf("%+v", p)
	}
}

func TestPagesAreBounded(t *testing.T) {
	server := redistest.Start(t, redistest.Options{})
	w := newWorld(t)
	w.chat(server.URL, Config{PageWorkers: 1, PageQueue: 1})
	w.posted(post("r", "c1"))
	server.Pause()
	var requests []uint64
	for range 8 {
		requests = append(requests, w.ask(event.Command{Room: "r", Read: &event.ReadHistory{}}))
	}
	busy := w.wait("refusal", func(e event.Event) bool { return e.Refused != nil })
	if busy.Refused.Code != "unavailable" || busy.Refused.RetryAfterMS == 0 {
		t.Fatalf("%+v", busy.Refused)
	}
	server.Resume()
	for _, r := range requests {
		w.answer(r) // each gets one answer, a page or a refusal
	}
}

// TestPagesOfOtherRooms: a log that cannot be read spoils no page but its own.
func TestPagesOfOtherRooms(t *testing.T) {
	server := redistest.Start(t, redistest.Options{})
	logs, err := store.Open(server.URL, "parley", store.Fast, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = logs.Close() }()
	counted, err := newMetrics(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Client().Set(t.Context(), "parley:{p00}:log:spoilt", "no stream", 0).Err(); err != nil {
		t.Fatal(err)
	}
	p := &partition{s: &Service{store: logs, metrics: counted}, slog: slog.New(slog.DiscardHandler)}
	var jobs []pageJob
	for _, id := range []event.RoomID{"one", "spoilt", "another"} {
		jobs = append(jobs, pageJob{command: event.Command{Room: id, Read: &event.ReadHistory{}}})
	}
	for _, e := range p.answer(t.Context(), jobs) {
		if (e.Room == "spoilt") != (e.Refused != nil) || (e.Room == "spoilt") != (e.Page == nil) {
			t.Errorf("room %s is answered %+v", e.Room, e)
		}
	}
}

func TestRoomsAreBounded(t *testing.T) {
	r := newRooms(3, 1<<20)
	for i := range 5 {
		r.put(room.New(event.RoomID(fmt.Sprint(i)), "e", 0, 0, room.Limits{Keep: 10, DedupeEntries: 10}))
	}
	r.use("1")
	r.shrink()
	if len(r.byID) != 3 || r.peek("1") == nil || r.peek("0") != nil || r.peek("4") == nil || r.order.Len() != 3 {
		t.Fatalf("%v", r.byID)
	}
	before := r.bytes
	x := r.use("4")
	for i := range 10 {
		if _, refused := x.Post("alice", event.PostMessage{CID: event.ClientID(fmt.Sprint(i)), Body: []byte("1")}, "m", 1); refused != nil {
			t.Fatal(refused)
		}
	}
	r.weigh("4")
	if r.bytes <= before {
		t.Fatal("what is remembered costs nothing")
	}
	r.maxBytes = 1
	r.shrink()
	if len(r.byID) != 1 || r.peek("4") == nil {
		t.Fatalf("%v", r.byID)
	}
	r.clear()
	if r.bytes != 0 || len(r.byID) != 0 {
		t.Fatal("not cleared")
	}
}

// With a shared bus Run waits for whoever runs it.
func TestSharedBus(t *testing.T) {
	w := newWorld(t)
	b := w.newBus("all")
	s, err := New(Config{}, b, Options{Store: "memory://", Bus: "memory://", SharedBus: true})
	if err != nil {
		t.Fatal(err)
	}
	stopBus := w.run(b.Run)
	stopChat := w.run(s.Run)
	w.posted(post("r", "c1"))
	if err := s.Health(); err != nil {
		t.Fatal(err)
	}
	stopBus()
	stopChat()
}

func TestUntilSync(t *testing.T) {
	c, s := event.Command{Room: "r"}, event.Command{Sync: &event.SyncNode{}}
	for _, test := range []struct {
		batch []event.Command
		want  int
	}{{[]event.Command{c}, 1}, {[]event.Command{c, c}, 2}, {[]event.Command{s}, 1}, {[]event.Command{s, c}, 1}, {[]event.Command{c, c, s, c}, 2}} {
		if got := untilSync(test.batch); got != test.want {
			t.Errorf("%d commands: %d, want %d", len(test.batch), got, test.want)
		}
	}
}

func TestHealthSaysWhenTheStoreIsAway(t *testing.T) {
	server := redistest.Start(t, redistest.Options{})
	w := newWorld(t)
	s, err := New(Config{}, w.newBus("chat"), Options{Store: server.URL, Bus: "memory://"})
	if err != nil {
		t.Fatal(err)
	}
	w.run(s.Run)
	if err := s.Health(); err != nil {
		t.Fatal(err)
	}
	server.Kill()
	if err := s.Health(); err == nil {
		t.Fatal("healthy without a store")
	}
}
