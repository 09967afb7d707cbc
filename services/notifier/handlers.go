package notifier

import (
	"context"
	"time"

	"github.com/parley-chat/parley/shared/event"
)

// Consume routes a batch of events. It never fails: what cannot be delivered is
// for the edges to sync.
func (p *partition) Consume(_ context.Context, batch []event.Event) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.s.now()
	for i := range batch {
		span := p.follow(&batch[i])
		p.on(now, &batch[i])
		p.drain()
		span.End(nil)
	}
	p.flush()
	return nil
}

func (p *partition) on(now int64, e *event.Event) {
	switch {
	case e.Posted != nil:
		p.onMessagePosted(e)
	case e.Accepted != nil:
		p.reply(e, event.Delivery{Accepted: e.Accepted})
	case e.Refused != nil:
		p.reply(e, event.Delivery{Refused: e.Refused})
	case e.Page != nil:
		p.reply(e, event.Delivery{Page: e.Page})
	case e.Joined != nil:
		p.state.Joined(now, e.Room, e.Who)
		p.reply(e, event.Delivery{Joined: e.Joined}) // behind the row: no message falls in between
		if e.Room == event.StatusRoom {
			p.showPast(now, e)
		}
	case e.Left != nil:
		p.state.Left(now, e.Room, e.Who, e.Left.Clean)
	case e.Typing != nil:
		p.onVolatile(now, e, event.Delivery{Typing: e.Typing})
	case e.Signal != nil:
		p.onVolatile(now, e, event.Delivery{Signal: e.Signal})
	case e.Members != nil:
		listed := p.state.Members(now, e.Room)
		if e.Members.Sessions {
			p.state.Connections(e.Room, &listed)
		}
		p.reply(e, event.Delivery{Members: &listed})
	case e.Find != nil:
		p.onFindUser(e)
	case e.Opened != nil:
		row := e.Opened.Row
		row.Who = e.Who
		p.state.Opened(now, row)
	case e.Closed != nil:
		p.state.Closed(now, e.Who, e.Closed.Clean)
	case e.Synced != nil:
		p.onNodeSynced(now, e)
	case e.Trace != nil:
		p.onMessageTrace(now, e)
	case e.Measured != nil:
		p.onMeasured(now, e)
	case e.Epoch != nil:
		p.state.Each(func(n event.NodeID) { p.deliver(n, event.Delivery{At: e.At, Epoch: e.Epoch}) })
	default:
		p.onUnknown()
	}
}

// onMessagePosted sends the entry to every node with members, and as an answer to
// the node of the sender, with members or not.
func (p *partition) onMessagePosted(e *event.Event) {
	d := event.Delivery{Room: e.Room, At: e.At, Posted: e.Posted, Traceparent: e.Traceparent}
	answers := e.Request != 0 && !e.Posted.Again
	if answers {
		p.reply(e, d)
	}
	p.nodes = p.state.Nodes(p.nodes[:0], e.Room)
	for _, n := range p.nodes {
		if !answers || n != e.Node {
			p.deliver(n, d)
		}
	}
}

// onVolatile sends what is worth nothing later to every node with members; the
// edge of the sender leaves him out.
func (p *partition) onVolatile(now int64, e *event.Event, d event.Delivery) {
	if now-e.At > event.VolatileMS {
		p.s.metrics.skipped.WithLabelValues("old").Inc()
		return
	}
	d.Room, d.At, d.Session, d.Life, d.From = e.Room, e.At, e.Session, e.Life, e.User
	p.nodes = p.state.Nodes(p.nodes[:0], e.Room)
	for _, n := range p.nodes {
		p.deliver(n, d)
	}
}

func (p *partition) onNodeSynced(now int64, e *event.Event) {
	p.s.metrics.synced.Inc()
	p.state.Synced(now, e.Node, e.Synced.Sync)
	p.reply(e, event.Delivery{Synced: &event.RoomsSynced{
		Partition: e.Synced.Sync.Partition, ID: e.Synced.Sync.ID, Heads: e.Synced.Heads,
	}})
}

// onFindUser leaves the reading to project, which is outside of this loop.
func (p *partition) onFindUser(e *event.Event) {
	select {
	case p.finds <- find{who: e.Who, request: e.Request, at: e.At, user: e.Find.User}:
	default:
		p.reply(e, event.Delivery{Refused: unavailable("too many look-ups are waiting")})
	}
}

// onUnknown skips an event of a kind that a newer chat has and this build does
// not.
func (p *partition) onUnknown() {
	p.s.metrics.skipped.WithLabelValues("unknown").Inc()
	if now := time.Now(); now.Sub(p.unknownSaid) >= time.Minute {
		p.unknownSaid = now
		p.s.log.Warn("events of an unknown kind are skipped; a newer chat sends them", "partition", p.owner.Partition)
	}
}

// reply delivers to where the command came from.
func (p *partition) reply(e *event.Event, d event.Delivery) {
	if !p.state.Reply(e.Node) {
		p.s.metrics.skipped.WithLabelValues("off").Inc()
		return
	}
	d.Room, d.At, d.Session, d.Life, d.Request, d.Traceparent = e.Room, e.At, e.Session, e.Life, e.Request, e.Traceparent
	p.deliver(e.Node, d)
}

func unavailable(message string) *event.Refusal {
	return &event.Refusal{Code: "unavailable", Message: message, RetryAfterMS: 1000}
}
