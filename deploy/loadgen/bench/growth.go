package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"github.com/parley-chat/parley/deploy/loadgen"
)

// Growth is how cost grows along several dimensions.
type Growth struct {
	Began      string
	Quick      bool
	Machine    Machine
	Dimensions []Dimension
	Failed     []string // points that could not be measured, and why
}

// Dimension is one thing that grows while the rest stays.
type Dimension struct {
	Name, Held string // what grows, what is held
	PerUnit    bool   // a delivery may cost in proportion to it
	Points     []GrowthPoint
}

// GrowthPoint is one measurement.
type GrowthPoint struct {
	X      float64
	Micros float64 // CPU of all processes a delivery
	KiB    float64 // resident at the edges a connection
	Report loadgen.Report
}

// tries is how often a point is measured that fails, or that costs more than those
// before it: on a busy machine it may be the machine that did.
const tries = 3

// patience is for how long points are measured again, in quick; a whole one takes its time.
const patience = 7 * time.Minute

// longestPoint ends a measurement that hangs.
const longestPoint = 3 * time.Minute

// MeasureGrowth measures all dimensions; log says how far it is. Quick takes 6
// minutes and fewer points. What cannot be measured is left out and named.
func MeasureGrowth(ctx context.Context, p Programs, m Machine, quick bool, log io.Writer) (Growth, error) {
	began := time.Now()
	g := Growth{Began: began.UTC().Format("2006-01-02"), Quick: quick, Machine: m}
	for _, d := range growthDimensions(quick) {
		out := Dimension{Name: d.name, Held: d.held, PerUnit: d.perUnit}
		for _, step := range d.steps {
			most := tries
			if quick && time.Since(began) > patience {
				most = 1
			}
			at, err := out.measure(ctx, most, func() (loadgen.Report, error) {
				once, cancel := context.WithTimeout(ctx, longestPoint)
				defer cancel()
				return p.Measure(once, step.system, step.scenario)
			})
			if ctx.Err() != nil {
				return g, ctx.Err()
			}
			if err != nil {
				g.Failed = append(g.Failed, fmt.Sprintf("%s, %s: %v", d.name, number(float64(step.x)), err))
				fmt.Fprintf(log, "%4.0fs  %-18s %6d  failed: %v\n", time.Since(began).Seconds(), d.name, step.x, err)
				continue
			}
			at.X = float64(step.x)
			out.Points = append(out.Points, at)
			fmt.Fprintf(log, "%4.0fs  %-18s %6d  %8.2f µs a delivery  %6.1f KiB a connection  p99 %.1f ms\n",
				time.Since(began).Seconds(), d.name, step.x, at.Micros, at.KiB, at.Report.Delivery.P99)
		}
		if len(out.Points) > 0 {
			g.Dimensions = append(g.Dimensions, out)
		}
	}
	if len(g.Dimensions) == 0 {
		return g, fmt.Errorf("nothing could be measured: %s", strings.Join(g.Failed, "; "))
	}
	return g, nil
}

// measure measures one point. What else happens on the machine can only add, so that
// of several times the cheapest counts.
func (d Dimension) measure(ctx context.Context, tries int, run func() (loadgen.Report, error)) (best GrowthPoint, err error) {
	for range tries {
		r, failure := run()
		if ctx.Err() != nil {
			return best, ctx.Err()
		}
		if failure == nil && r.DeliveriesPerCPU == 0 {
			failure = errors.New("nothing was delivered")
		}
		if failure != nil {
			err = failure
			continue
		}
		r.Timeline, r.Samples = nil, nil
		at := GrowthPoint{Micros: 1e6 / r.DeliveriesPerCPU, KiB: r.Memory.EdgeKiB, Report: r}
		if best.Micros == 0 || at.Micros < best.Micros {
			best = at
		}
		if d.PerUnit || best.Micros <= rise*d.lowest() {
			break
		}
	}
	if best.Micros > 0 {
		return best, nil
	}
	return best, err
}

// lowest is the lowest cost so far; above all when there is none.
func (d Dimension) lowest() float64 {
	lowest := math.Inf(1)
	for _, p := range d.Points {
		lowest = min(lowest, p.Micros)
	}
	return lowest
}
