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
	Offered float64 // messages/s that are once as much: the most that was acknowledged in a closed loop
	Usual   float64 // ms, p99 of an acknowledgement at half of that, before anything else
	Stages  []Stage
}

// Stage is one open loop at a multiple of what was acknowledged in a closed one,
// and half of it afterwards.
type Stage struct {
	Times    float64
	Report   loadgen.Report
	Recovery float64 // seconds until all is acknowledged in time again; below 0: not while it was watched
}

const (
	tolerated = 0.9 // of the maximum
	recoverIn = 5   // s
	recovered = 100 // ms, p99 of an acknowledgement, or twice the usual one
	steady    = 3   // s that recovery has to last: a busy machine stumbles by itself
	bounded   = 2   // s: an acknowledgement or refusal later than that was queued
)

// windows are unanswered sends over all rooms. Saturation is with the one that
// brings most: too few leave batches small, too many wait for each other.
var windows = []int{512, 1024, 2048}

// overloading is how long each step takes.
type overloading struct{ warmUp, search, measure, watch time.Duration }

// MeasureOverload finds what Parley can do in C, and offers once to three times as
// much. Quick takes 2 minutes instead of 5.
func MeasureOverload(ctx context.Context, p Programs, m Machine, quick bool, log io.Writer) (Overload, error) {
	o := Overload{Began: time.Now().UTC().Format("2006-01-02"), Quick: quick, Machine: m}
	scenario, err := loadgen.Preset("C", quick)
	if err != nil {
		return o, err
	}
	scenario.Name = "overload"
	times := overloading{warmUp: 4 * time.Second, search: 10 * time.Second, measure: 20 * time.Second, watch: 15 * time.Second}
	if quick {
		scenario.Rooms = 200
		times = overloading{warmUp: 3 * time.Second, search: 3 * time.Second, measure: 6 * time.Second, watch: 10 * time.Second}
	}
	err = p.run(ctx, Parley(2), func(t loadgen.Target) error {
		return o.measure(ctx, p.options(t, scenario), times, log)
	})
	return o, err
}

func (o *Overload) measure(ctx context.Context, options loadgen.Options, t overloading, log io.Writer) (err error) {
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
	if err := o.saturate(ctx, s, t, log); err != nil {
		return err
	}
	half := loadgen.Load{Kind: crowd.Sends, Rate: o.Offered / 2, WarmUp: 2 * time.Second, Measure: t.watch, Drain: 15 * time.Second}
	usual, err := s.Load(ctx, half)
	if err != nil {
		return err
	}
	o.Usual = usual.Ack.P99
	fmt.Fprintf(log, "half of it: p99 %.0f ms\n", o.Usual)
	half.WarmUp = 0 // recovery is measured from its first second on
	for _, times := range []float64{1, 1.5, 2, 3} {
		if err := s.Connect(ctx); err != nil { // who was closed by the stage before
			return err
		}
		// No draining: how it comes out of the overload is what is measured next.
		r, err := s.Load(ctx, loadgen.Load{Kind: crowd.Sends, Rate: times * o.Offered, WarmUp: t.warmUp, Measure: t.measure})
		if err != nil {
			return err
		}
		after, err := s.Load(ctx, half)
		if err != nil {
			return err
		}
		r.Closed += after.Closed
		stage := Stage{Times: times, Report: r, Recovery: o.recovery(after)}
		o.Stages = append(o.Stages, stage)
		fmt.Fprintf(log, "%.1f times: %.0f acknowledged/s, p50/p99 %.0f/%.0f ms; %.0f refused/s, %.0f/%.0f ms; %d MiB; %d closed; recovered in %.0f s\n",
			times, r.AckedPerSecond, r.Ack.P50, r.Ack.P99, r.RefusedPerSecond, r.Refusal.P50, r.Refusal.P99, r.Memory.Peak>>20, r.Closed, stage.Recovery)
	}
	return nil
}

// saturate finds how much is acknowledged at most in a closed loop.
func (o *Overload) saturate(ctx context.Context, s *loadgen.Session, t overloading, log io.Writer) error {
	var reasons map[string]int64
	for _, window := range windows {
		r, err := s.Load(ctx, loadgen.Load{Kind: crowd.Sends, Window: window, WarmUp: 2 * time.Second, Measure: t.search, Drain: 15 * time.Second})
		if err != nil {
			return err
		}
		fmt.Fprintf(log, "%d unanswered at a time: %.0f acknowledged/s\n", window, r.AckedPerSecond)
		o.Offered, reasons = max(o.Offered, r.AckedPerSecond), r.Reasons
	}
	if o.Offered < 1 {
		return fmt.Errorf("nothing was acknowledged in a closed loop: %v", reasons)
	}
	return nil
}

// maximum is the most that was acknowledged at all.
func (o *Overload) maximum() float64 {
	most := o.Offered
	for _, s := range o.Stages {
		most = max(most, s.Report.AckedPerSecond)
	}
	return most
}

// healthy is what an acknowledgement takes at most, at p99, once it has recovered, in ms.
func (o *Overload) healthy() float64 { return max(recovered, 2*o.Usual) }

// recovery is the first second from which on all that was due is acknowledged in
// time, for so many seconds or to the end.
func (o *Overload) recovery(after loadgen.Report) float64 {
	seconds := min(int(after.Seconds), len(after.Timeline))
	good := 0
	for i := range seconds {
		if s := after.Timeline[i]; s.Refused > 0 || s.Ack.P99 > o.healthy() || s.Ack.Count < s.Sent*9/10 {
			good = 0
			continue
		}
		if good++; good == steady {
			return float64(i + 1 - steady)
		}
	}
	if good == 0 {
		return -1
	}
	return float64(seconds - good)
}

// Markdown is the overload as a part of the page.
func (o *Overload) Markdown() string {
	var b strings.Builder
	how := "`make bench-overload`"
	if o.Quick {
		how = "`make bench-overload QUICK=1` (short periods: the figures scatter)"
	}
	fmt.Fprintf(&b, "%s, Parley %s, by %s: %s. In a closed loop it acknowledges %s messages/s in C; that is offered in an open one once and more. "+
		"Senders do not wait as they are told to, but go on at the same rate.\n\n", o.Began, o.Machine.Version, how, o.Machine, number(o.Offered))
	b.WriteString("| offered | acknowledged/s | of the most | refused | acknowledgement p50 / p99 ms | refusal p50 / p99 ms | memory of all services, MiB | recovered within | |\n|--:|--:|--:|--:|--:|--:|--:|--:|---|\n")
	for _, s := range o.Stages {
		r := s.Report
		within := fmt.Sprintf("%.0f s", s.Recovery+1)
		if s.Recovery < 0 {
			within = "not while watched"
		}
		fmt.Fprintf(&b, "| %g × | %s | %.2f | %.0f %% | %.0f / %.0f | %s | %d | %s | %s |\n", s.Times, number(r.AckedPerSecond), r.AckedPerSecond/o.maximum(),
			100*s.refused(), r.Ack.P50, r.Ack.P99, refusal(r), r.Memory.Peak>>20, within, o.verdict(s))
	}
	fmt.Fprintf(&b, "\nIt bends when the throughput stays at %.0f %% of the most that was seen, of 100 sends 99 are acknowledged, or refused, within %d s, memory stays below twice that of the first line, no connection is closed, and of half of that load "+
		"99 of 100 are acknowledged within %.0f ms again after %d s (before the overload: %.0f ms).\n",
		tolerated*100, bounded, o.healthy(), recoverIn, o.Usual)
	return b.String()
}

// refused is the share of sends that were refused.
func (s Stage) refused() float64 {
	if s.Report.Sent == 0 {
		return 0
	}
	return float64(s.Report.Refused) / float64(s.Report.Sent)
}

func refusal(r loadgen.Report) string {
	if r.Refused == 0 {
		return "–"
	}
	return fmt.Sprintf("%.0f / %.0f", r.Refusal.P50, r.Refusal.P99)
}

// verdict says what a stage does not hold. Where just what it can do is offered,
// that much need not come: the offer is the best of a few seconds.
func (o *Overload) verdict(s Stage) string {
	var missed []string
	if s.Report.AckedPerSecond < tolerated*min(o.maximum(), s.Times*o.Offered) {
		missed = append(missed, "throughput")
	}
	if max(s.Report.Ack.P99, s.Report.Refusal.P99) > bounded*1000 {
		missed = append(missed, "latency")
	}
	if first := o.Stages[0].Report.Memory.Peak; s.Report.Memory.Peak > 2*first {
		missed = append(missed, "memory")
	}
	if s.Report.Closed > 0 {
		missed = append(missed, fmt.Sprintf("%d connections closed", s.Report.Closed))
	}
	if s.Recovery < 0 || s.Recovery >= recoverIn {
		missed = append(missed, "recovery")
	}
	if len(missed) == 0 {
		return "bends"
	}
	return "**not: " + strings.Join(missed, ", ") + "**"
}
