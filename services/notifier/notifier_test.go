package notifier

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/parley-chat/parley/shared/bus"
	"github.com/parley-chat/parley/shared/bus/membus"
	"github.com/parley-chat/parley/shared/event"
	"github.com/parley-chat/parley/shared/topic"
)

const patience = 15 * time.Second

// world is a notifier on the in-memory bus, with a chat that says what the test
// wants.
type world struct {
	t       *testing.T
	ctx     context.Context
	bus     *bus.Bus
	service *Service
	chat    *bus.Writer
	metrics *prometheus.Registry
}

func newWorld(t *testing.T, cfg Config) *world {
	backend := membus.New()
	metrics := prometheus.NewRegistry()
	b, err := bus.New(backend, bus.Config{
		Partitions: 1, Name: "test", Logger: slog.New(slog.DiscardHandler), LeaseTTL: 1500 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(cfg, b, Options{Store: "memory://", Registry: metrics})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	w := &world{t: t, ctx: ctx, bus: b, service: s, metrics: metrics, chat: b.Writer("chat-00", 1, true)}
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.Run(ctx); err != nil {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(func() {
		cancel()
		wg.Wait()
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		if err := backend.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// edge is a node that reads its deliveries and answers syncs.
type edge struct {
	w    *world
	id   event.NodeID
	got  chan event.Delivery
	kill context.CancelFunc
}

func (w *world) edge(id event.NodeID) *edge {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.ctx)
	e := &edge{w: w, id: id, got: make(chan event.Delivery, 1000), kill: cancel}
	ready := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		_ = bus.Read(ctx, w.bus, topic.Deliveries(id), topic.Edge, bus.ReadOptions{Ready: func() { close(ready) }}, e)
	})
	<-ready
	wg.Go(func() { _ = w.bus.Announce(ctx, topic.Nodes, string(id), func() {}) })
	w.t.Cleanup(func() { cancel(); wg.Wait() })
	e.await("a request to sync", func(d event.Delivery) bool { return d.SyncAsk != nil })
	w.say(event.Event{Who: event.Who{Node: id}, Synced: &event.NodeSynced{Sync: event.SyncNode{Whole: true, ID: 1, Part: 1, Parts: 1}}})
	e.await("the answer", func(d event.Delivery) bool { return d.Synced != nil })
	return e
}

func (e *edge) Consume(_ context.Context, batch []event.Delivery) error {
	for _, d := range batch {
		e.got <- d
	}
	return nil
}
func (e *edge) Missed(_ context.Context, scope string) { e.w.t.Errorf("%s misses %s", e.id, scope) }
func (e *edge) Close()                                 {}

// await returns the first delivery that fits; others are passed over.
func (e *edge) await(what string, fits func(event.Delivery) bool) event.Delivery {
	e.w.t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case d := <-e.got:
			if fits(d) {
				return d
			}
		case <-timeout:
			e.w.t.Fatalf("%s got no %s", e.id, what)
		}
	}
}

func (w *world) say(events ...event.Event) {
	w.t.Helper()
	for i := range events {
		if events[i].At == 0 {
			events[i].At = time.Now().UnixMilli()
		}
	}
	if err := bus.Publish(w.ctx, w.chat, topic.Events(), events...); err != nil {
		w.t.Fatal(err)
	}
}

func (e *edge) who(session event.SessionID, life event.Life, user event.UserID) event.Who {
	return event.Who{Node: e.id, Session: session, Life: life, User: user}
}

func (e *edge) join(room event.RoomID, w event.Who) {
	e.w.t.Helper()
	e.w.say(event.Event{Who: w, Room: room, Request: 1, Joined: &event.RoomJoined{Head: 4}})
	e.await("joined", func(d event.Delivery) bool { return d.Joined != nil && d.Session == w.Session })
}

func posted(seq uint64) *event.MessagePosted {
	return &event.MessagePosted{Entry: event.Entry{Seq: seq, Kind: event.KindMessage, Body: json.RawMessage(`"x"`)}}
}

func TestRouting(t *testing.T) {
	w := newWorld(t, Config{})
	a, b, c := w.edge("a"), w.edge("b"), w.edge("c")
	ann, bob, cat := a.who("s1", 1, "ann"), b.who("s2", 1, "bob"), c.who("s3", 1, "cat")
	a.join("r", ann)
	b.join("r", bob)

	w.say(
		event.Event{Who: ann, Room: "r", Request: 9, Posted: posted(5)},
		event.Event{Who: cat, Room: "r", Request: 8, Posted: posted(6)}, // not a member
		event.Event{Who: cat, Room: "r", Request: 7, Posted: &event.MessagePosted{Entry: event.Entry{Seq: 6}, Again: true}},
		event.Event{Who: ann, Room: "r", Typing: &event.TypingStarted{}},
		event.Event{Who: ann, Room: "r", At: 1, Signal: &event.SignalSent{}}, // old
		event.Event{Who: cat, Request: 6, Refused: &event.Refusal{Code: "limit"}},
		event.Event{Room: "r"}, // of a kind to come
		event.Event{Epoch: &event.EpochChanged{Epoch: "e2"}},
	)
	kinds := func(e *edge) (got []string) {
		for {
			d := e.await("delivery", func(event.Delivery) bool { return true })
			if d.Presence != nil || d.SyncAsk != nil {
				continue
			}
			var seq uint64
			if d.Posted != nil {
				seq = d.Posted.Entry.Seq
			}
			got = append(got, fmt.Sprintf("%s %d %s %d", d.Kind(), seq, d.Session, d.Request))
			if d.Epoch != nil {
				return got
			}
		}
	}
	for e, want := range map[*edge][]string{
		a: {"posted 5 s1 9", "posted 6  0", "posted 6  0", "typing 0 s1 0", "epoch 0  0"},
		b: {"posted 5  0", "posted 6  0", "posted 6  0", "typing 0 s1 0", "epoch 0  0"},
		c: {"posted 6 s3 8", "refused 0 s3 6", "epoch 0  0"},
	} {
		if got := kinds(e); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s got %q, want %q", e.id, got, want)
		}
	}
}

func TestPresence(t *testing.T) {
	w := newWorld(t, Config{PresenceHold: time.Second})
	a, b := w.edge("a"), w.edge("b")
	ann, bob := a.who("s1", 1, "ann"), b.who("s2", 1, "bob")
	a.join("r", ann)
	b.join("r", bob)
	change := func(on, off string) {
		t.Helper()
		a.await("presence of +"+on+" -"+off, func(d event.Delivery) bool {
			has := func(users []event.UserID, u string) bool {
				return u == "" || len(users) > 0 && string(users[len(users)-1]) == u
			}
			return d.Presence != nil && has(d.Presence.On, on) && has(d.Presence.Off, off)
		})
	}
	change("bob", "")
	w.say(event.Event{Who: ann, Room: "r", Request: 3, Members: &event.ListMembers{}})
	d := a.await("members", func(d event.Delivery) bool { return d.Members != nil })
	if d.Request != 3 || d.Members.Count != 2 || len(d.Members.Users) != 2 {
		t.Errorf("members: %+v", d.Members)
	}
	w.say(event.Event{Who: bob, Room: "r", Left: &event.RoomLeft{}})
	change("", "bob")
	b.join("r", bob)
	change("bob", "")
	b.kill()
	change("", "bob")
}

func TestUsers(t *testing.T) {
	w := newWorld(t, Config{UserSessions: 1})
	a := w.edge("a")
	ann, other := a.who("s1", 1, "ann"), a.who("s2", 1, "ann")
	open := func(who event.Who) event.Event {
		return event.Event{Who: who, Opened: &event.SessionOpened{Row: event.SessionRow{Who: who, Agent: "test", Since: 5}}}
	}
	find := func(who event.Who) event.Event {
		return event.Event{Who: who, Request: 2, Find: &event.FindUser{User: "ann"}}
	}
	w.say(open(ann), open(other), find(ann), find(a.who("s9", 1, "bob")))
	over := a.await("refusal of the second session", func(d event.Delivery) bool { return d.Replaced != nil })
	if !over.Replaced.Over || over.Session != "s2" || over.Replaced.Limit != 1 {
		t.Errorf("%+v of %s", over.Replaced, over.Session)
	}
	found := func(d event.Delivery) bool { return d.Found != nil }
	if own := a.await("answer to ann", found); own.Session != "s1" || own.Found.Count != 1 || len(own.Found.Rows) != 1 || own.Found.Rows[0].Agent != "test" {
		t.Errorf("ann found %+v", own.Found)
	}
	if others := a.await("answer to bob", found); others.Found.Count != 1 || others.Found.Rows != nil || others.Found.Since != 5 {
		t.Errorf("bob found %+v", others.Found)
	}
	w.say(event.Event{Who: ann, Closed: &event.SessionClosed{Clean: true}}, find(ann))
	if none := a.await("answer", found); none.Found.Count != 0 {
		t.Errorf("after the end found %+v", none.Found)
	}
}

func TestMissedAsksAll(t *testing.T) {
	w := newWorld(t, Config{})
	a := w.edge("a")
	p := w.service.owned()[0]
	p.Missed(w.ctx, "chat-00")
	a.await("a request to sync", func(d event.Delivery) bool { return d.SyncAsk != nil && d.SyncAsk.Rooms == nil })
}

func TestMetricsAreNamed(t *testing.T) {
	w := newWorld(t, Config{})
	families, err := w.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, f := range families {
		names[f.GetName()] = true
	}
	for _, name := range []string{"nodes", "rooms", "rows", "sessions", "syncs_asked_total"} {
		if !names["parley_notifier_"+name] {
			t.Errorf("no metric parley_notifier_%s", name)
		}
	}
}

func TestBadStore(t *testing.T) {
	b, err := bus.New(membus.New(), bus.Config{Partitions: 1, Name: "test"})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if _, err := New(Config{}, b, Options{Store: "http://x"}); err == nil {
		t.Error("http:// was taken for a store")
	}
}
