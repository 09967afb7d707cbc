package parley

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/parley-chat/parley/deploy/loadgen"
)

// bench is the load generator against edges that run.
type bench struct {
	URLs    []string      `name:"url" default:"http://127.0.0.1:8080" help:"The edges."`
	Rooms   int           `default:"100" help:"Rooms; 0: users join none."`
	Members int           `default:"10" help:"Members of each room."`
	Rate    float64       `default:"100" help:"Messages a second over all rooms; 0: --window decides."`
	Window  int           `help:"Unanswered sends of each room, with --rate 0."`
	Body    int           `default:"128" help:"Bytes of a body."`
	WarmUp  time.Duration `name:"warmup" default:"2s" help:"Before measuring."`
	Measure time.Duration `default:"10s" help:"How long to measure."`
}

// Run is kong's.
func (c *bench) Run(ctx context.Context, out *output) error {
	load := loadgen.Load{URLs: c.URLs, Rooms: c.Rooms, Members: c.Members, Rate: c.Rate, Window: c.Window,
		Body: c.Body, WarmUp: c.WarmUp, Measure: c.Measure}
	stop := out.clockwork(ctx, c.WarmUp+c.Measure)
	result, err := load.Run(ctx)
	stop()
	if err != nil {
		return err
	}
	return out.document(result, func(w io.Writer) {
		fmt.Fprintf(w, "%d users, %.0f s: %d sent, %d acknowledged, %d delivered, %d refused, %d connections lost\n",
			result.Users, result.Seconds, result.Sent, result.Acked, result.Delivered, result.Refused, result.Closed)
		fmt.Fprintf(w, "send to ack ms:      p50 %.2f, p99 %.2f\nsend to delivery ms: p50 %.2f, p99 %.2f\n",
			result.Ack.P50, result.Ack.P99, result.Delivery.P50, result.Delivery.P99)
	})
}

// clockwork shows a bar that is full after d, until it is stopped.
func (o *output) clockwork(ctx context.Context, d time.Duration) (stop func()) {
	bar := o.progress(int(d.Milliseconds()/100), "measuring")
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				_ = bar.Clear()
				return
			case <-tick.C:
				_ = bar.Add(1)
			}
		}
	}()
	return func() { cancel(); <-ended }
}
