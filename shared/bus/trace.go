package bus

import (
	"context"
	"fmt"
	"math/rand/v2"
)

type traceKey struct{}

// WithTrace has Publish carry the W3C traceparent to the consumers of what is published.
func WithTrace(ctx context.Context, traceparent string) context.Context {
	return context.WithValue(ctx, traceKey{}, traceparent)
}

// Trace is the traceparent of the batch that a Consume got its context for; "" if
// there is none. A bus message has one for all its events: that of the first
// which was published with one, else a new one.
func Trace(ctx context.Context) string {
	trace, _ := ctx.Value(traceKey{}).(string)
	return trace
}

func newTrace() string {
	return fmt.Sprintf("00-%016x%016x-%016x-00", rand.Uint64(), rand.Uint64(), rand.Uint64()|1)
}
