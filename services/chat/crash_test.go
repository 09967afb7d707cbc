package chat

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/parley-chat/parley/services/chat/internal/store"
	"github.com/parley-chat/parley/shared/bus"
	"github.com/parley-chat/parley/shared/event"
	"github.com/parley-chat/parley/shared/redistest"
)

// mortal is the bus of a chat that dies at a gate: what it publishes counts there.
type mortal struct {
	bus.Backend
	gate *redistest.Gate
}

func (m mortal) Publisher() message.Publisher { return mortalPublisher{m.gate, m.Backend.Publisher()} }

type mortalPublisher struct {
	gate *redistest.Gate
	message.Publisher
}

func (p mortalPublisher) Publish(topic string, messages ...*message.Message) error {
	if !strings.HasPrefix(topic, "events-") {
		return p.Publisher.Publish(topic, messages...)
	}
	if !p.gate.Step() {
		return fmt.Errorf("%w: dead", bus.ErrUnavailable)
	}
	if err := p.Publisher.Publish(topic, messages...); err != nil {
		return err
	}
	select {
	case <-p.gate.Died(): // published, and it never learnt it
		return fmt.Errorf("%w: dead", bus.ErrUnavailable)
	default:
		return nil
	}
}

// TestCrashPoints has a chat die at each of its I/Os, before or after it took
// effect: each request to the store and each publish. Its successor answers what is
// left; every send is one entry, under the seq that was acknowledged, and no event
// ever said otherwise.
func TestCrashPoints(t *testing.T) {
	server := redistest.Start(t, redistest.Options{Args: []string{"--appendfsync", "no"}})
	for _, after := range []bool{false, true} {
		reached := true
		for at := 1; reached && at < 200; at++ {
			t.Run(fmt.Sprintf("at %d after=%t", at, after), func(t *testing.T) { reached = crash(t, server, at, after) })
		}
		if reached {
			t.Fatal("200 steps, and it was not done: the test counts something that has no end")
		}
	}
}

// crash returns whether the point was reached before everything was done.
func crash(t *testing.T, server *redistest.Server, at int, after bool) (reached bool) {
	server.Flush()
	gate := server.Gate(at, after)
	w := newWorld(t)
	b, err := bus.New(mortal{w.backend, gate}, bus.Config{Partitions: partitions, Name: "mortal", LeaseTTL: 600 * time.Millisecond,
		PublishTimeout: 100 * time.Millisecond, StopTimeout: 100 * time.Millisecond, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	first, err := New(Config{}, b, Options{Store: gate.URL, Bus: "memory://", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	stop := w.run(first.Run)
	posts := map[uint64]event.ClientID{}
	for _, cid := range []string{"c1", "c2", "c1", "c3"} {
		posts[w.ask(post("r", cid))] = event.ClientID(cid)
	}
	w.ask(event.Command{Room: "r", Read: &event.ReadHistory{}}) // whose answer may go with the chat that reads the page
	reached = w.answeredBefore(gate.Died())
	if reached {
		stop()
		w.chat(server.URL, Config{})
	}
	s, err := store.Open(server.URL, "parley", store.Fast, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	seqs := map[event.ClientID]uint64{}
	for request, cid := range posts {
		e := w.answer(request)
		var seq uint64
		switch {
		case e.Posted != nil:
			seq = e.Posted.Entry.Seq
		case e.Accepted != nil:
			seq = e.Accepted.Seq
		}
		if was, ok := seqs[cid]; seq == 0 || ok && was != seq {
			t.Errorf("%s was answered %d and %d: %+v", cid, was, seq, e)
		}
		seqs[cid] = seq
	}
	entries, err := s.Between(t.Context(), event.PartitionFor("r", partitions), "r", 1, 100, 100)
	if err != nil || len(entries) != len(seqs) {
		t.Fatalf("%d entries of %d sends, %v", len(entries), len(seqs), err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, entry := range entries {
		if entry.Seq != uint64(i+1) || seqs[entry.CID] != entry.Seq {
			t.Errorf("entry %d is %s, which was acknowledged as %d", entry.Seq, entry.CID, seqs[entry.CID])
		}
		told := false
		for _, e := range w.events {
			if e.Posted == nil || e.Posted.Entry.CID != entry.CID {
				continue
			}
			told = true
			if e.Posted.Entry.ID != entry.ID || e.Posted.Entry.Seq != entry.Seq {
				t.Errorf("%s was told as %d %s, and is %d %s", entry.CID, e.Posted.Entry.Seq, e.Posted.Entry.ID, entry.Seq, entry.ID)
			}
		}
		if !told {
			t.Errorf("nobody was told of %s", entry.CID)
		}
	}
	return reached
}

// answeredBefore waits until all requests are answered; true: died is closed before.
func (w *world) answeredBefore(died <-chan struct{}) bool {
	w.t.Helper()
	limit := time.After(30 * time.Second)
	for {
		w.mu.Lock()
		open := map[uint64]bool{}
		for i := range w.request {
			open[i+1] = true
		}
		for _, e := range w.events {
			delete(open, e.Request)
		}
		changed := w.changed
		w.mu.Unlock()
		if len(open) == 0 {
			return false
		}
		select {
		case <-died:
			return true
		case <-changed:
		case <-limit:
			w.t.Fatalf("requests %v are not answered", open)
		}
	}
}
