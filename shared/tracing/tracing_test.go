package tracing

import (
	"errors"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

func TestOneTraceOverHops(t *testing.T) {
	memory := tracetest.NewInMemoryExporter()
	tracer := New(sdk.NewTracerProvider(sdk.WithSyncer(memory)), "test")
	frame := tracer.Begin("frame", attribute.String("type", "send"))
	other := tracer.Begin("other")
	hop := tracer.Follow(frame.Traceparent(), "hop")
	both := tracer.Together([]Span{hop, other}, "both")
	both.End(nil)
	hop.End(errors.New("no luck"))
	frame.End(nil)
	other.End(nil)

	spans := map[string]tracetest.SpanStub{}
	for _, s := range memory.GetSpans() {
		spans[s.Name] = s
	}
	id := spans["frame"].SpanContext.TraceID()
	if spans["hop"].SpanContext.TraceID() != id || spans["hop"].Parent.SpanID() != spans["frame"].SpanContext.SpanID() {
		t.Errorf("the hop does not follow the frame: %+v", spans["hop"])
	}
	if got := spans["both"]; got.SpanContext.TraceID() != id || len(got.Links) != 1 ||
		got.Links[0].SpanContext.TraceID() != spans["other"].SpanContext.TraceID() {
		t.Errorf("what is done together has no link to the other trace: %+v", got)
	}
	if spans["hop"].Status.Code != codes.Error {
		t.Error("the error does not show")
	}
}

func TestWhatIsOffCostsNothing(t *testing.T) {
	never := New(sdk.NewTracerProvider(sdk.WithSampler(sdk.NeverSample())), "test")
	if s := never.Begin("frame"); s.On() || s.Traceparent() != "" {
		t.Error("a span that is not sampled is carried on")
	}
	var off *Tracer
	if New(nil, "test") != nil {
		t.Error("a tracer without provider is not off")
	}
	allocated := testing.AllocsPerRun(100, func() {
		s := off.Begin("frame")
		f := off.Follow(s.Traceparent(), "hop")
		f.Set()
		off.Together(nil, "both").End(nil)
		f.End(nil)
		s.End(nil)
	})
	if allocated != 0 {
		t.Errorf("%v allocations for a message while tracing is off", allocated)
	}
}

// A traceparent comes from other processes: whatever it is, it ends nothing.
func TestOddTraceparents(t *testing.T) {
	tracer := New(sdk.NewTracerProvider(), "test")
	for _, odd := range []string{"x", "00-0-0-0", strings.Repeat("0", 10_000), "00-00000000000000000000000000000000-0000000000000000-01"} {
		tracer.Follow(odd, "hop").End(nil)
	}
}
