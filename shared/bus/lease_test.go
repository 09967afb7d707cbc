package bus

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestHolding(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := &Bus{started: time.Now(), cfg: Config{LeaseTTL: 6 * time.Second}}
		h, ctx := b.hold(context.Background(), Partition{}, b.clock())
		defer h.end()
		time.Sleep(4 * time.Second)
		h.renewed(b.clock() - time.Second) // the call took a second
		time.Sleep(4*time.Second - time.Millisecond)
		if !h.valid() || ctx.Err() != nil {
			t.Fatal("lost before its time")
		}
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		if h.valid() || !errors.Is(context.Cause(ctx), errLeaseLost) {
			t.Fatal("valid when its time is over")
		}
		h.renewed(b.clock()) // the answer comes too late
		if h.valid() {
			t.Fatal("valid again")
		}
	})
}

// A process that was stopped (SIGSTOP) for longer than the lease: its timers have
// not run, and nothing is valid all the same.
func TestHoldingAfterStop(t *testing.T) {
	b := &Bus{started: time.Now().Add(-time.Minute), cfg: Config{LeaseTTL: 6 * time.Second}}
	h, ctx := b.hold(context.Background(), Partition{}, b.clock())
	defer h.end()
	h.timer.Stop()
	b.started = b.started.Add(-5 * time.Second)
	if h.valid() || ctx.Err() == nil {
		t.Fatal("valid after the stop")
	}
}
