package chat

import (
	"context"
	"testing"
	"time"

	"github.com/parley-chat/parley/shared/bus"
	"github.com/parley-chat/parley/shared/event"
	"github.com/parley-chat/parley/shared/topic"
)

// finder gathers what hops say.
type finder chan event.Finding

func (f finder) Consume(_ context.Context, batch []event.Finding) error {
	for _, one := range batch {
		f <- one
	}
	return nil
}
func (finder) Missed(context.Context, string) {}
func (finder) Close()                         {}

func TestTraceTellsWhatTheLogShows(t *testing.T) {
	w := newWorld(t)
	w.chat("memory://", Config{})
	posted := w.answer(w.ask(event.Command{Room: "general", Post: &event.PostMessage{CID: "c1", Body: []byte(`"hi"`)}})).Posted
	if posted == nil {
		t.Fatal("not posted")
	}

	answers := make(finder, 8)
	reading := w.newBus("operator")
	made := make(chan struct{})
	w.run(func(ctx context.Context) error {
		return bus.Read(ctx, reading, topic.Traces("t1"), topic.Operator, bus.ReadOptions{Ready: func() { close(made) }}, answers)
	})
	<-made
	ask := func(trace event.TraceMessage) event.LogFinding {
		trace.ReplyTo = "t1"
		w.say(event.Command{Room: "general", Trace: &trace})
		select {
		case f := <-answers:
			if f.From != topic.Chat || f.Logged == nil {
				t.Fatalf("found %+v", f)
			}
			return *f.Logged
		case <-time.After(time.Minute):
			t.Fatal("no answer")
		}
		return event.LogFinding{}
	}
	for name, trace := range map[string]event.TraceMessage{"by id": {ID: posted.Entry.ID}, "by seq": {Seq: 1}} {
		if f := ask(trace); !f.Found || f.Seq != 1 || f.From != "alice" || f.CID != "c1" || f.Dedupe != "dup" || f.Epoch != posted.Epoch || f.Head != 1 {
			t.Errorf("%s: %+v", name, f)
		}
	}
	if f := ask(event.TraceMessage{ID: "another"}); f.Found || f.Looked != 1 {
		t.Errorf("of no message: %+v", f)
	}
	// A question that is late is not answered: the one behind it is the first.
	late := event.TraceMessage{Seq: 1, ReplyTo: "t1"}
	w.say(event.Command{Room: "general", At: time.Now().UnixMilli() - 2*event.VolatileMS, Trace: &late})
	if f := ask(event.TraceMessage{ID: "last"}); f.Found {
		t.Errorf("a late question was answered: %+v", f)
	}
}
