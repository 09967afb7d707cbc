package bench

import (
	"context"
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"github.com/parley-chat/parley/deploy/loadgen"
	"github.com/parley-chat/parley/deploy/loadgen/page"
)

// Growth is how cost grows along several dimensions.
type Growth struct {
	Began      string
	Quick      bool
	Machine    Machine
	Dimensions []Dimension
}

// Dimension is one thing that grows while the rest stays.
type Dimension struct {
	Name, Held string // what grows, what is held
	Points     []GrowthPoint
}

// GrowthPoint is one measurement.
type GrowthPoint struct {
	X      float64
	Micros float64 // CPU of all processes a delivery
	KiB    float64 // resident at the edges a connection
	Report loadgen.Report
}

// growthStep is a point to be measured.
type growthStep struct {
	x        int
	system   System
	scenario loadgen.Scenario
}

// MeasureGrowth measures all dimensions; log says how far it is. Quick takes 3
// minutes and fewer points.
func MeasureGrowth(ctx context.Context, p Programs, m Machine, quick bool, log io.Writer) (Growth, error) {
	began := time.Now()
	g := Growth{Began: began.UTC().Format("2006-01-02"), Quick: quick, Machine: m}
	for _, d := range growthDimensions(quick) {
		out := Dimension{Name: d.name, Held: d.held}
		for _, step := range d.steps {
			r, err := p.Measure(ctx, step.system, step.scenario)
			if err != nil {
				return g, fmt.Errorf("%s %d: %w", d.name, step.x, err)
			}
			at := GrowthPoint{X: float64(step.x), KiB: r.Memory.EdgeKiB}
			if r.DeliveriesPerCPU > 0 {
				at.Micros = 1e6 / r.DeliveriesPerCPU
			}
			r.Timeline, r.Samples = nil, nil
			at.Report = r
			out.Points = append(out.Points, at)
			fmt.Fprintf(log, "%4.0fs  %-18s %6d  %8.2f µs a delivery  %6.1f KiB a connection  p99 %.1f ms\n",
				time.Since(began).Seconds(), d.name, step.x, at.Micros, at.KiB, r.Delivery.P99)
		}
		g.Dimensions = append(g.Dimensions, out)
	}
	return g, nil
}

type growthDimension struct {
	name, held string
	steps      []growthStep
}

func growthDimensions(quick bool) []growthDimension {
	base := loadgen.Scenario{
		Name: "growth", Kind: loadgen.Messages, Body: 128,
		Settle: 5 * time.Second, WarmUp: 2 * time.Second, Measure: 10 * time.Second, Drain: 10 * time.Second,
	}
	users, deliveries := 10_000, 20_000.0
	pick := func(quick, full []int) []int { return full }
	if quick {
		base.Settle, base.WarmUp, base.Measure = time.Second, time.Second, 3*time.Second
		users, deliveries = 2000, 10_000
		pick = func(quick, full []int) []int { return quick }
	}
	dimension := func(name, held string, values []int, of func(x int) (System, loadgen.Scenario)) growthDimension {
		d := growthDimension{name: name, held: held}
		for _, x := range values {
			system, s := of(x)
			d.steps = append(d.steps, growthStep{x, system, s})
		}
		return d
	}
	of := func(rooms, members int, rate float64) loadgen.Scenario {
		s := base
		s.Rooms, s.Members, s.Rate = rooms, members, rate
		return s
	}
	return []growthDimension{
		dimension("members per room", fmt.Sprintf("%s connections, %s deliveries/s", number(float64(users)), number(deliveries)),
			pick([]int{10, 100, 1000}, []int{10, 100, 1000, 10_000}), func(x int) (System, loadgen.Scenario) {
				return Parley(2), of(users/x, x, deliveries/float64(x))
			}),
		dimension("rooms", "one member each, 1,000 messages/s",
			pick([]int{10, 100, 1000}, []int{10, 100, 1000, 10_000}), func(x int) (System, loadgen.Scenario) {
				return Parley(2), of(x, 1, 1000)
			}),
		dimension("connections", "one edge, rooms of 100, 5,000 deliveries/s",
			pick([]int{1000, 4000}, []int{1000, 2000, 5000, 10_000, 18_000}), func(x int) (System, loadgen.Scenario) {
				return Parley(1), of(x/100, 100, 50)
			}),
		dimension("edges", fmt.Sprintf("rooms of 100, %s connections in all, 5,000 deliveries/s", number(float64(users))),
			pick([]int{1, 2, 4}, []int{1, 2, 4}), func(x int) (System, loadgen.Scenario) {
				return Parley(x), of(users/100, 100, 50)
			}),
		dimension("partitions", "200 rooms of 10, 1,000 messages/s",
			pick([]int{1, 8, 32}, []int{1, 2, 4, 8, 16, 32}), func(x int) (System, loadgen.Scenario) {
				return Parley(2).With(fmt.Sprintf("PARLEY_PARTITIONS=%d", x)), of(200, 10, 1000)
			}),
		dimension("bytes of a body", "100 rooms of 10, 200 messages/s",
			pick([]int{64, 1024, 16_384}, []int{64, 256, 1024, 4096, 16_384}), func(x int) (System, loadgen.Scenario) {
				s := of(100, 10, 200)
				s.Body = x
				return Parley(2), s
			}),
	}
}

// rise is by how much a cost may lie over the lowest before it before we speak of
// a knee: more than repeated runs differ by.
const rise = 1.3

// Knee is from where on a delivery costs more than before; 0: from nowhere.
func (d Dimension) Knee() float64 {
	lowest := math.Inf(1)
	for _, p := range d.Points {
		if p.Micros > rise*lowest {
			return p.X
		}
		if p.Micros > 0 {
			lowest = min(lowest, p.Micros)
		}
	}
	return 0
}

// Markdown is the growth as a part of the page; picture is the plot, as seen from it.
func (g Growth) Markdown(picture string) string {
	var b strings.Builder
	how := "`make bench-growth`"
	if g.Quick {
		how = "`make bench-growth QUICK=1` (short periods and small crowds: the figures scatter)"
	}
	fmt.Fprintf(&b, "%s, Parley %s, by %s: %s.\n\n![Cost per delivery and per connection](%s)\n\n", g.Began, g.Machine.Version, how, g.Machine, picture)
	b.WriteString("| what grows | held | | CPU µs a delivery | KiB a connection at the edges | edge CPU µs a connect | delivery p50 / p99 ms |\n|---|---|--:|--:|--:|--:|--:|\n")
	for _, d := range g.Dimensions {
		for i, p := range d.Points {
			name, held := "", ""
			if i == 0 {
				name, held = d.Name, d.Held
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %.2f | %s | %.0f | %.2f / %.2f |\n", name, held, number(p.X), p.Micros, atScale(p),
				p.Report.Connecting.EdgeMicros, p.Report.Delivery.P50, p.Report.Delivery.P99)
		}
	}
	b.WriteString("\nA cost per delivery that does not rise is growth that is linear or better. From where on it is more than 1.3 times the lowest before:\n\n")
	for _, d := range g.Dimensions {
		if knee := d.Knee(); knee > 0 {
			fmt.Fprintf(&b, "* %s: from %s on.\n", d.Name, number(knee))
		} else {
			fmt.Fprintf(&b, "* %s: nowhere in this range.\n", d.Name)
		}
	}
	return b.String()
}

// atScale leaves out what so few connections cannot tell: the process itself
// outweighs them.
func atScale(p GrowthPoint) string {
	if p.Report.Connections < 1000 {
		return "–"
	}
	return fmt.Sprintf("%.1f", p.KiB)
}

// Picture is the plot of all dimensions.
func (g Growth) Picture() ([]byte, error) {
	cost := page.Plot{Title: "CPU per delivery", X: "what grows, times its first value", Y: "µs", LogX: true, LogY: true}
	memory := page.Plot{Title: "Resident memory per connection, at the edges (from 1,000 connections)", X: "what grows, times its first value", Y: "KiB", LogX: true}
	for _, d := range g.Dimensions {
		c, m := page.Line{Name: d.Name, Dots: true}, page.Line{Name: d.Name, Dots: true}
		for _, p := range d.Points {
			x := p.X / d.Points[0].X
			c.Points = append(c.Points, page.Point{X: x, Y: p.Micros})
			if p.Report.Connections >= 1000 {
				m.Points = append(m.Points, page.Point{X: x, Y: p.KiB})
			}
		}
		cost.Lines = append(cost.Lines, c)
		if len(m.Points) > 0 {
			memory.Lines = append(memory.Lines, m)
		}
	}
	return page.Grid([]page.Plot{cost, memory})
}
