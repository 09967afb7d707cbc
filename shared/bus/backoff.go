package bus

import (
	"context"
	"math/rand/v2"
	"time"
)

// backoff doubles from first to last, each less up to a quarter by chance so that
// replicas do not retry in step.
type backoff struct{ first, last, next time.Duration }

func newBackoff(first, last time.Duration) *backoff {
	return &backoff{first: first, last: last, next: first}
}

func (b *backoff) reset() { b.next = b.first }

// sleep waits, or until ctx ends or a channel given (nil is none) is closed.
func (b *backoff) sleep(ctx context.Context, stop ...<-chan struct{}) {
	d := b.next - rand.N(b.next/4+1)
	b.next = min(b.last, 2*b.next)
	sleep(ctx, d, stop...)
}

func sleep(ctx context.Context, d time.Duration, stop ...<-chan struct{}) {
	var stopped <-chan struct{}
	if len(stop) > 0 {
		stopped = stop[0]
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	case <-stopped:
	}
}
