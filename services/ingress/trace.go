package ingress

import (
	"time"

	"github.com/parley-chat/parley/shared/bus"
	"github.com/parley-chat/parley/shared/event"
	"github.com/parley-chat/parley/shared/topic"
)

// mostLagging is how many subscriptions a trace names that are not past the message.
const mostLagging = 100

// onTrace tells an operator how far the subscribers here are. It comes behind the
// message on the same way, so who is not past it is slow or was not given it.
func (s *Service) onTrace(d *event.Delivery) {
	if time.Now().UnixMilli()-d.At > event.VolatileMS {
		s.metrics.dropped.WithLabelValues(d.Kind()).Inc()
		return
	}
	var found event.CursorFinding
	if r := s.hub.room(d.Room); r != nil {
		found = r.cursors(d.Trace)
	}
	n := s.node.Load()
	finding := event.Finding{From: topic.Edge, Node: string(n.id), At: time.Now().UnixMilli(), Read: &found}
	answer := topic.Traces(d.Trace.ReplyTo)
	if err := bus.Enqueue(n.writer, answer, func(error) { n.writer.Forget(answer.Name) }, finding); err != nil {
		s.log.Debug("trace not answered", "room", d.Room, "err", err)
	}
}

// cursors compares the room's cursors with a message's place.
func (r *room) cursors(t *event.MessageTrace) event.CursorFinding {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := event.CursorFinding{Epoch: event.Epoch(r.log.Epoch()), Head: r.log.Head(), Subscribers: len(r.subs)}
	if f.Other = f.Epoch != t.Epoch; f.Other {
		return f
	}
	for _, sub := range r.subs {
		if sub.cursor.Seq >= t.Seq {
			f.Past++
		} else if len(f.Lagging) < mostLagging {
			who := sub.session.who
			f.Lagging = append(f.Lagging, event.LaggingReads{User: who.User, Session: who.Session, Seq: sub.cursor.Seq})
		}
	}
	return f
}
