package bench

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/parley-chat/parley/deploy/loadgen"
	"github.com/parley-chat/parley/deploy/loadgen/crowd"
)

// Overload is what happens beyond saturation.
type Overload struct {
	Began   string
	Quick   bool
	Machine Machine
	Maximum float64 // acknowledged messages/s in a closed loop
	Stages  []Stage
}

// Stage is one open loop at a multiple of the maximum, and half of it afterwards.
type Stage struct {
	Times    float64
	Report   loadgen.Report
	Recovery float64 // seconds until all is acknowledged in time again; below 0: not while it was watched
}

const (
	tolerated  = 0.9 // of the maximum
	recoverIn  = 5   // s
	recovered  = 100 // ms, p99 of an acknowledgement
	boundedFor = 2   // s: an acknowledgement later than that was queued, not refused
)

// MeasureOverload finds what Parley can do in C, and offers once to three times as
// much.
func MeasureOverload(ctx context.Context, p Programs, m Machine, quick bool, log io.Writer) (Overload, error) {
	o := Overload{Began: time.Now().UTC().Format("2006-01-02"), Quick: quick, Machine: m}
	scenario, err := loadgen.Preset("C", quick)
	if err != nil {
		return o, err
	}
	scenario.Name = "overload"
	measure, watch := 20*time.Second, 10*time.Second
	if quick {
		scenario.Rooms, measure, watch = 200, 5*time.Second, 8*time.Second
	}
	err = p.run(ctx, Parley(2), func(t loadgen.Target) error {
		return o.measure(ctx, p.options(t, scenario), measure, watch, log)
	})
	return o, err
}

func (o *Overload) measure(ctx context.Context, options loadgen.Options, measure, watch time.Duration, log io.Writer) (err error) {
	s, err := loadgen.Open(ctx, options)
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := s.Close(); err == nil {
			err = closeErr
		}
	}()
	if err := s.Connect(ctx); err != nil {
		return err
	}
	most, err := s.Load(ctx, loadgen.Load{
		Kind: crowd.Sends, Window: options.Scenario.Window, WarmUp: 2 * time.Second, Measure: measure, Drain: 10 * time.Second,
	})
	if err != nil {
		return err
	}
	if o.Maximum = most.AckedPerSecond; o.Maximum < 1 {
		return fmt.Errorf("nothing was acknowledged in a closed loop: %v", most.Reasons)
	}
	fmt.Fprintf(log, "at most %.0f acknowledged/s\n", o.Maximum)
	for _, times := range []float64{1, 1.5, 2, 3} {
		// No draining: how it comes out of the overload is what is measured next.
		r, err := s.Load(ctx, loadgen.Load{Kind: crowd.Sends, Rate: times * o.Maximum, WarmUp: 2 * time.Second, Measure: measure})
		if err != nil {
			return err
		}
		after, err := s.Load(ctx, loadgen.Load{Kind: crowd.Sends, Rate: o.Maximum / 2, Measure: watch, Drain: 15 * time.Second})
		if err != nil {
			return err
		}
		stage := Stage{Times: times, Report: r, Recovery: recovery(after)}
		o.Stages = append(o.Stages, stage)
		fmt.Fprintf(log, "%.1f times: %.0f acknowledged/s, %.0f refused/s, p99 %.0f ms, %d MiB, recovered in %.0f s\n",
			times, r.AckedPerSecond, r.RefusedPerSecond, r.Ack.P99, r.Memory.Peak>>20, stage.Recovery)
	}
	return nil
}

// recovery is from which second on all that was due is acknowledged in time.
func recovery(after loadgen.Report) float64 {
	seconds := min(int(after.Seconds), len(after.Timeline))
	from := seconds
	for i := seconds - 1; i >= 0; i-- {
		s := after.Timeline[i]
		if s.Refused > 0 || s.Ack.P99 > recovered || s.Ack.Count < s.Sent*9/10 {
			break
		}
		from = i
	}
	if from == seconds {
		return -1
	}
	return float64(from)
}

// Markdown is the overload as a part of the page.
func (o Overload) Markdown() string {
	var b strings.Builder
	how := "`make bench-overload`"
	if o.Quick {
		how = "`make bench-overload QUICK=1` (short periods: the figures scatter)"
	}
	fmt.Fprintf(&b, "%s, Parley %s, by %s: %s. At most, in a closed loop: %s acknowledged messages/s.\n\n", o.Began, o.Machine.Version, how, o.Machine, number(o.Maximum))
	b.WriteString("| offered | acknowledged/s | of the maximum | refused/s | acknowledgement p50 / p99 ms | memory of all services, MiB | recovered within | |\n|--:|--:|--:|--:|--:|--:|--:|---|\n")
	for _, s := range o.Stages {
		within := fmt.Sprintf("%.0f s", s.Recovery+1)
		if s.Recovery < 0 {
			within = "not while watched"
		}
		fmt.Fprintf(&b, "| %g × | %s | %.2f | %s | %.0f / %.0f | %d | %s | %s |\n", s.Times, number(s.Report.AckedPerSecond), s.Report.AckedPerSecond/o.Maximum,
			number(s.Report.RefusedPerSecond), s.Report.Ack.P50, s.Report.Ack.P99, s.Report.Memory.Peak>>20, within, o.verdict(s))
	}
	fmt.Fprintf(&b, "\nIt bends when the throughput stays at %.0f %% of the maximum or more, an acknowledgement comes within %d s or the send is refused, memory stays, and half of the maximum is served within %d ms again after %d s at most.\n",
		tolerated*100, boundedFor, recovered, recoverIn)
	return b.String()
}

// verdict says what a stage does not hold.
func (o Overload) verdict(s Stage) string {
	var missed []string
	if s.Report.AckedPerSecond < tolerated*o.Maximum {
		missed = append(missed, "throughput")
	}
	if s.Report.Ack.P99 > boundedFor*1000 {
		missed = append(missed, "latency")
	}
	if first := o.Stages[0].Report.Memory.Peak; s.Report.Memory.Peak > 2*first {
		missed = append(missed, "memory")
	}
	if s.Recovery < 0 || s.Recovery >= recoverIn {
		missed = append(missed, "recovery")
	}
	if len(missed) == 0 {
		return "bends"
	}
	return "**not: " + strings.Join(missed, ", ") + "**"
}
