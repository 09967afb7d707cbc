package bus

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

var errLeaseLost = errors.New("lease lost")

// holding is one lease that this process has. It is valid until a time of the
// bus's clock that is reckoned from before the call that took or renewed it, so
// it is never valid here longer than at the broker, whatever stopped the process.
type holding struct {
	bus       *Bus
	partition Partition
	until     atomic.Int64    // by the bus's clock
	ctx       context.Context // ends when the lease is lost
	lost      context.CancelCauseFunc
	timer     *time.Timer

	stopOnce sync.Once
	stop     chan struct{} // closed: give it up when the batch in hand is done
}

// hold begins a holding; its context ends when the lease is lost.
func (b *Bus) hold(ctx context.Context, p Partition, asked time.Duration) (*holding, context.Context) {
	h := &holding{bus: b, partition: p, stop: make(chan struct{})}
	h.ctx, h.lost = context.WithCancelCause(context.WithoutCancel(ctx))
	h.timer = time.AfterFunc(time.Hour, func() { h.valid() })
	h.renewed(asked)
	return h, h.ctx
}

// renewed tells that a call begun at asked was answered with yes. What has run out
// meanwhile stays lost.
func (h *holding) renewed(asked time.Duration) {
	if h.until.Load() != 0 && !h.valid() {
		return
	}
	ttl := h.bus.cfg.LeaseTTL
	until := asked + ttl - min(time.Second, ttl/6)
	h.until.Store(int64(until))
	h.timer.Reset(until - h.bus.clock() + time.Millisecond)
}

// valid ends the holding when its time is over, for good.
func (h *holding) valid() bool {
	if h.bus.clock() < time.Duration(h.until.Load()) {
		return true
	}
	h.lost(errLeaseLost)
	return false
}

func (h *holding) giveUp() { h.stopOnce.Do(func() { close(h.stop) }) }

func (h *holding) stopping() bool { return isClosed(h.stop) }

// kept tells whether it goes on: it is neither given up nor lost.
func (h *holding) kept() bool { return !h.stopping() && h.valid() && h.ctx.Err() == nil }

// end frees what the holding holds in this process.
func (h *holding) end() {
	h.timer.Stop()
	h.lost(nil)
}
