// Package tracing is how services say where a message spends its time: spans of
// OpenTelemetry, and what ties them together over the bus. Each event that belongs
// to a sampled trace carries its own W3C traceparent, so that one message is one
// trace from frame to frame, however it was batched; work that is done for several
// at once is a span of the first one's trace with links to the others'. Without a
// provider, and for what is not sampled, nothing is allocated and nothing is carried.
package tracing

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// Tracer starts the spans of one service. nil is a tracer that is off. Safe for
// concurrent use.
type Tracer struct{ tracer trace.Tracer }

// New returns the tracer of a service; nil where there is no provider.
func New(provider trace.TracerProvider, service string) *Tracer {
	if provider == nil {
		return nil
	}
	return &Tracer{provider.Tracer("github.com/parley-chat/parley/" + service)}
}

// Begin starts a trace, if the sampler wants it.
func (t *Tracer) Begin(name string, attributes ...attribute.KeyValue) Span {
	if t == nil {
		return Span{}
	}
	_, span := t.tracer.Start(context.Background(), name,
		trace.WithNewRoot(), trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(attributes...))
	return sampled(span)
}

// Follow starts a span under the one that a traceparent names, where there is one.
func (t *Tracer) Follow(traceparent, name string, attributes ...attribute.KeyValue) Span {
	if t == nil || traceparent == "" {
		return Span{}
	}
	_, span := t.tracer.Start(remote(traceparent), name,
		trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(attributes...))
	return sampled(span)
}

// Together starts a span for what is done for several at once: a child of the
// first, with links to the rest. Without any it does nothing.
func (t *Tracer) Together(spans []Span, name string) Span {
	if t == nil || len(spans) == 0 {
		return Span{}
	}
	links := make([]trace.Link, 0, len(spans)-1)
	for _, s := range spans[1:] {
		links = append(links, trace.Link{SpanContext: s.span.SpanContext()})
	}
	parent := trace.ContextWithSpan(context.Background(), spans[0].span)
	_, span := t.tracer.Start(parent, name, trace.WithLinks(links...))
	return sampled(span)
}

// Span is one that has begun. The zero value does nothing.
type Span struct{ span trace.Span }

func sampled(span trace.Span) Span {
	if !span.SpanContext().IsSampled() {
		return Span{}
	}
	return Span{span}
}

// On tells whether the span is recorded.
func (s Span) On() bool { return s.span != nil }

// Set adds attributes.
func (s Span) Set(attributes ...attribute.KeyValue) {
	if s.span != nil {
		s.span.SetAttributes(attributes...)
	}
}

// Traceparent is what the next hop follows; empty for a span that is not recorded.
func (s Span) Traceparent() string {
	if s.span == nil {
		return ""
	}
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(trace.ContextWithSpan(context.Background(), s.span), carrier)
	return carrier["traceparent"]
}

// End ends the span; with an error it says so.
func (s Span) End(err error) {
	if s.span == nil {
		return
	}
	if err != nil {
		s.span.SetStatus(codes.Error, err.Error())
	}
	s.span.End(trace.WithTimestamp(time.Now()))
}

func remote(traceparent string) context.Context {
	return propagation.TraceContext{}.Extract(context.Background(), propagation.MapCarrier{"traceparent": traceparent})
}
