package bus

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// probe goes through a topic of the process's own, so that a replica without
// partitions shows as ready, and one whose broker does not deliver does not.
type probe struct {
	back atomic.Int64 // Unix ms of the last one that came back
	trip atomic.Int64 // how long it took, ns
}

type ping struct {
	At int64 `json:"at"` // Unix ns
}

const (
	probeEvery   = 2 * time.Second
	probeTooOld  = 9 * time.Second // red within 10 s is promised, and whoever asks does so now and then
	probeTimeout = time.Minute
)

// Health returns the readiness check: it fails when nothing that Run published to
// itself came back for 9 s.
func (b *Bus) Health() func() error {
	return func() error {
		back := b.probe.back.Load()
		if back == 0 {
			return errors.New("bus: nothing has come through the broker yet")
		}
		if age := time.Since(time.UnixMilli(back)); age > probeTooOld {
			return fmt.Errorf("bus: nothing came through the broker for %s", age.Round(time.Second))
		}
		return nil
	}
}

func (b *Bus) runProbe(ctx context.Context) error {
	t := Topic[ping]{Name: "probe-" + b.cfg.Name, Groups: []string{"probe"}}
	w := b.Writer("probe", 0, false)
	defer w.Close()
	ready := make(chan struct{})
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		return Read(ctx, b, t, "probe", ReadOptions{TTL: probeTimeout, Drop: true, Ready: func() { close(ready) }}, b.probe)
	})
	group.Go(func() error {
		select {
		case <-ready:
		case <-ctx.Done():
			return nil
		}
		send := func() { _ = Enqueue(w, t, nil, ping{At: time.Now().UnixNano()}) }
		send()
		b.every(ctx, probeEvery, send)
		return nil
	})
	return group.Wait()
}

func (p *probe) Consume(_ context.Context, batch []ping) error {
	now := time.Now()
	p.back.Store(now.UnixMilli())
	p.trip.Store(max(now.UnixNano()-batch[len(batch)-1].At, 0))
	return nil
}
func (*probe) Missed(context.Context, string) {}
func (*probe) Close()                         {}
