package e2e

import (
	"context"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parley-chat/parley/deploy/cluster"
	"github.com/parley-chat/parley/services/ingress/protocol"
	"github.com/parley-chat/parley/shared/bus"
	"github.com/parley-chat/parley/shared/bus/backend"
	"github.com/parley-chat/parley/shared/event"
	"github.com/parley-chat/parley/shared/topic"
)

// The bus messages of a version to come: a field more, and a kind more.
type (
	laterCommand struct {
		event.Command
		Colour string         `json:"colour,omitempty"`
		Pin    map[string]any `json:"pin,omitempty"`
	}
	laterEvent struct {
		event.Event
		Colour string         `json:"colour,omitempty"`
		Pinned map[string]any `json:"pinned,omitempty"`
	}
	laterDelivery struct {
		event.Delivery
		Colour string         `json:"colour,omitempty"`
		Pinned map[string]any `json:"pinned,omitempty"`
	}
)

// TestOldBesideNew: what a later version says passes through every service without
// harm, field by field and kind by kind.
func TestOldBesideNew(t *testing.T) {
	onEachBroker(t, oldBesideNew)
}

func oldBesideNew(t *testing.T, on cluster.Config) {
	on.Ingress, on.Chat, on.Notifiers, on.Env = 1, 1, 1, unhurried
	c := start(t, on)
	room := "skew"
	alice := connect(t, c.Edges[0].URL, "alice", hello{})
	alice.join(room)
	node := event.NodeID(alice.welcome.Node)

	ctx, cancel := context.WithTimeout(context.Background(), patience(90*time.Second))
	defer cancel()
	broker, err := backend.Open(ctx, c.BusURL, backend.Options{Prefix: "parley", Name: "later"})
	if err != nil {
		t.Fatal(err)
	}
	defer broker.Close()
	b, err := bus.New(broker, bus.Config{Partitions: 8, Name: "later-1"})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	w := b.Writer("later-1", 0, false)
	defer w.Close()

	now := func() int64 { return time.Now().UnixMilli() }
	who := event.Who{Node: node, Session: event.SessionID(alice.welcome.Session), User: "alice", Life: 1}
	commands := bus.Topic[laterCommand]{Name: "commands", Groups: []string{topic.Chat},
		Key: func(c laterCommand) string { return c.Key() }}
	post := func(cid string, pin map[string]any) laterCommand {
		c := laterCommand{Command: event.Command{Who: who, Room: event.RoomID(room), At: now()}, Colour: "red", Pin: pin}
		if pin == nil {
			c.Post = &event.PostMessage{CID: event.ClientID(cid), Body: []byte(`{"text":"from a later edge"}`)}
		}
		return c
	}
	if err := bus.Publish(ctx, w, commands, post("later-1", nil), post("", map[string]any{"seq": 1}), post("later-2", nil)); err != nil {
		t.Fatal(err)
	}
	alice.awaitSeq(room, 2, patience(10*time.Second))

	events := bus.Topic[laterEvent]{Name: "events", Groups: []string{topic.Notifier}, Key: func(e laterEvent) string { return e.Key() }}
	typing := func() error {
		return bus.Publish(ctx, w, events, laterEvent{Event: event.Event{Who: event.Who{User: "bob", Session: "s_bob"}, Room: event.RoomID(room), At: now(),
			Typing: &event.TypingStarted{}}, Colour: "red"})
	}
	pinned := laterEvent{Event: event.Event{Room: event.RoomID(room), At: now()}, Pinned: map[string]any{"seq": 1}}
	if err := bus.Publish(ctx, w, events, pinned); err != nil {
		t.Fatal(err)
	}
	alice.awaitTyping("bob", typing)

	deliveries := bus.Topic[laterDelivery]{Name: topic.Deliveries(node).Name, Groups: []string{topic.Edge}}
	if err := bus.Publish(ctx, w, deliveries, laterDelivery{Delivery: event.Delivery{At: now()}, Pinned: map[string]any{"seq": 1}}); err != nil {
		t.Fatal(err)
	}
	alice.awaitTyping("carol", func() error {
		return bus.Publish(ctx, w, deliveries, laterDelivery{Delivery: event.Delivery{Room: event.RoomID(room), At: now(), From: "carol", Typing: &event.TypingStarted{}}, Colour: "red"})
	})

	if f := alice.send(room, "still", "still here"); f.Seq != 3 {
		t.Errorf("afterwards: %s", f.Raw)
	}
	for _, p := range c.Services() {
		poll(t, p.Name+" counts one unknown kind", patience(5*time.Second), func() (string, bool) {
			for line := range strings.Lines(metrics(t, p)) {
				if strings.HasPrefix(line, "parley_"+p.Kind+"_") && strings.Contains(line, `="unknown"}`) {
					return line, strings.HasSuffix(strings.TrimSpace(line), " 1")
				}
			}
			return "no such metric", false
		})
	}
}

// awaitTyping has it said again until it is seen that the user types: what is volatile
// is dropped when it is older than 5 s, which a busy machine may make it.
func (u *user) awaitTyping(from string, say func() error) {
	u.t.Helper()
	deadline := time.Now().Add(patience(20 * time.Second))
	for {
		if err := say(); err != nil {
			u.t.Fatal(err)
		}
		err := u.awaitErr("typing from "+from, 2*time.Second, func() bool {
			return slices.ContainsFunc(u.frames, func(f protocol.Frame) bool { return f.Type == protocol.TypeTyping && f.From == from })
		})
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			u.t.Fatal(err)
		}
	}
}

func metrics(t *testing.T, p *cluster.Process) string {
	res, err := http.Get(p.Admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}
