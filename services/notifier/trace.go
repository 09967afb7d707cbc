package notifier

import (
	"slices"
	"time"

	"github.com/parley-chat/parley/shared/bus"
	"github.com/parley-chat/parley/shared/event"
	"github.com/parley-chat/parley/shared/topic"
	"github.com/parley-chat/parley/shared/tracing"
)

// onMessageTrace tells an operator where the room's events go, and passes the
// question on to those edges.
func (p *partition) onMessageTrace(now int64, e *event.Event) {
	if now-e.At > event.VolatileMS {
		p.s.metrics.skipped.WithLabelValues("old").Inc()
		return
	}
	p.nodes = p.state.Nodes(p.nodes[:0], e.Room)
	for _, n := range p.nodes {
		p.deliver(n, event.Delivery{Room: e.Room, At: e.At, Trace: e.Trace})
	}
	nodes := slices.Sorted(slices.Values(p.nodes))
	answer := topic.Traces(e.Trace.ReplyTo)
	finding := event.Finding{From: topic.Notifier, Node: p.writer.Scope(), At: time.Now().UnixMilli(),
		Routed: &event.RouteFinding{Nodes: nodes, Users: p.state.Members(now, e.Room).Count}}
	// The lane is forgotten, or its repeats would keep the topic alive.
	err := bus.Enqueue(p.writer, answer, func(error) { p.writer.Forget(answer.Name) }, finding)
	if err != nil {
		p.s.log.Debug("trace not answered", "room", e.Room, "err", err)
	}
}

// follow begins the span of an event whose trace is sampled.
func (p *partition) follow(e *event.Event) tracing.Span {
	if e.Traceparent == "" {
		return tracing.Span{}
	}
	span := p.s.tracer.Follow(e.Traceparent, "notifier route")
	if span.On() {
		e.Traceparent = span.Traceparent()
	}
	return span
}
