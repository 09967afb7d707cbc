package standalone

import (
	"bytes"
	"context"
	"testing"
	"time"

	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/parley-chat/parley/services/ingress/protocol/client"
)

// TestOneMessageIsOneTrace has a user send a message, and finds its way in a
// collector: from the frame that came in to the edge that gives it out.
func TestOneMessageIsOneTrace(t *testing.T) {
	memory := tracetest.NewInMemoryExporter()
	cfg, p := settings(t)
	p.Traces = sdk.NewTracerProvider(sdk.WithSyncer(memory))
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	ended := make(chan error, 1)
	var greeted bytes.Buffer
	go func() { ended <- Run(ctx, cfg, p, &greeted) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()

	c, err := client.Dial(ctx, client.Config{URLs: []string{"http://" + cfg.Ingress.Listen}, User: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	room, err := c.Join(ctx, "general", client.JoinOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := room.Send(ctx, "hello"); err != nil {
		t.Fatal(err)
	}
	if _, err := room.Next(ctx); err != nil {
		t.Fatal(err)
	}

	// Each span begins after its parent did; the last one ends a moment after the frame.
	order := []string{"ingress request", "chat decide", "notifier route", "ingress deliver"}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	var spans map[string]tracetest.SpanStub
	for spans = byName(memory.GetSpans()); len(spans) < len(order)+1; spans = byName(memory.GetSpans()) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("only these spans: %v", names(memory.GetSpans()))
		}
	}
	for i, name := range order {
		span := spans[name]
		if span.SpanContext.TraceID() != spans[order[0]].SpanContext.TraceID() {
			t.Errorf("%s is of another trace", name)
		}
		if i == 0 {
			if span.Parent.IsValid() {
				t.Errorf("%s has a parent", name)
			}
			continue
		}
		before := spans[order[i-1]]
		if span.Parent.SpanID() != before.SpanContext.SpanID() || span.StartTime.Before(before.StartTime) {
			t.Errorf("%s does not follow %s", name, order[i-1])
		}
	}
	if spans["chat append"].Parent.SpanID() != spans["chat decide"].SpanContext.SpanID() {
		t.Error("chat append is not within chat decide")
	}
}

func byName(spans tracetest.SpanStubs) map[string]tracetest.SpanStub {
	all := map[string]tracetest.SpanStub{}
	for _, s := range spans {
		all[s.Name] = s
	}
	return all
}

func names(spans tracetest.SpanStubs) (all []string) {
	for _, s := range spans {
		all = append(all, s.Name)
	}
	return all
}
