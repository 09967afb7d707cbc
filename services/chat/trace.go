package chat

import (
	"context"
	"time"

	"github.com/parley-chat/parley/services/chat/internal/store"
	"github.com/parley-chat/parley/shared/bus"
	"github.com/parley-chat/parley/shared/event"
	"github.com/parley-chat/parley/shared/topic"
	"github.com/parley-chat/parley/shared/tracing"
)

// traceLook is how many entries of a log are looked at for a traced message, the
// newest first. No index by id is kept, because hardly anybody asks.
const traceLook = 10_000

// trace is a page worker's: it looks for a message, says what the log shows, and
// returns the event that takes the question on to the notifier.
func (p *partition) trace(ctx context.Context, c event.Command) event.Event {
	w, v := p.voice()
	logged := p.lookFor(ctx, c)
	logged.Epoch = v.epoch
	answer := topic.Traces(c.Trace.ReplyTo)
	finding := event.Finding{From: topic.Chat, Node: w.Scope(), At: time.Now().UnixMilli(), Logged: &logged}
	// The lane is forgotten, or its repeats would keep the topic alive.
	err := bus.Enqueue(w, answer, func(error) { w.Forget(answer.Name) }, finding)
	if err != nil {
		p.slog.Debug("trace not answered", "room", c.Room, "err", err)
	}
	on := *c.Trace
	on.Seq = max(on.Seq, logged.Seq)
	return event.Event{Room: c.Room, At: c.At, Trace: &event.MessageTrace{TraceMessage: on, Found: logged.Found, Epoch: v.epoch}}
}

func (p *partition) lookFor(ctx context.Context, c event.Command) (f event.LogFinding) {
	heads, err := p.s.store.Heads(ctx, p.number, []event.RoomID{c.Room})
	if err != nil {
		f.Error = err.Error()
		return f
	}
	f.Head, f.Floor = heads[0].Head, max(heads[0].Floor, 1)
	entry, looked, err := find(p.s.store.Tail(ctx, p.number, c.Room, f.Head), c.Trace)
	f.Looked = looked
	if err != nil {
		f.Error = err.Error()
	}
	if entry == nil {
		return f
	}
	f.Found, f.Seq, f.From, f.CID, f.Appended = true, entry.Seq, entry.From, entry.CID, entry.At
	f.Dedupe = p.dedupe(ctx, c.Room, *entry)
	return f
}

// find goes down a log until the message is there.
func find(next func() (event.Entry, bool, error), t *event.TraceMessage) (_ *event.Entry, looked int, err error) {
	for looked < traceLook {
		e, ok, err := next()
		if err != nil || !ok {
			return nil, looked, err
		}
		looked++
		if t.ID != "" && e.ID == t.ID || t.ID == "" && e.Seq == t.Seq {
			return &e, looked, nil
		}
	}
	return nil, looked, nil
}

// dedupe tells what a repeat of the entry's send would get. It takes the turn for it.
func (p *partition) dedupe(ctx context.Context, id event.RoomID, e event.Entry) string {
	if p.take(ctx) != nil {
		return ""
	}
	defer p.give()
	switch r := p.rooms.peek(id); {
	case r == nil || !r.Ready():
		return ""
	case r.Recognises(e.From, e.CID):
		return "dup"
	}
	return "ok"
}

// follow begins the spans of the commands whose traces are sampled.
func (p *partition) follow(commands []event.Command) (spans []tracing.Span) {
	for i := range commands {
		if commands[i].Traceparent == "" {
			continue
		}
		span := p.s.tracer.Follow(commands[i].Traceparent, "chat decide")
		if span.On() {
			commands[i].Traceparent = span.Traceparent()
			spans = append(spans, span)
		}
	}
	return spans
}

// append writes what was decided, in one span for all.
func (p *partition) append(ctx context.Context, writes []store.Write, spans []tracing.Span) error {
	span := p.s.tracer.Together(spans, "chat append")
	err := p.log.Append(ctx, writes)
	span.End(err)
	return err
}

func endAll(spans []tracing.Span, err error) {
	for _, s := range spans {
		s.End(err)
	}
}
