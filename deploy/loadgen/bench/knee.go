package bench

import (
	"fmt"
	"math"
	"strings"

	"github.com/parley-chat/parley/deploy/loadgen/page"
)

// rise is by how much a cost may lie over the lowest before it before we speak of
// a knee: more than repeated runs differ by.
const rise = 1.3

// Knee is from where on a delivery costs more than before; 0: from nowhere.
func (d Dimension) Knee() float64 { return knee(d.costs()) }

// costs are the points with their CPU a delivery, memories those with their KiB a
// connection, of as many connections as can tell it.
func (d Dimension) costs() (out []page.Point) {
	for _, p := range d.Points {
		out = append(out, page.Point{X: p.X, Y: p.Micros})
	}
	return out
}

func (d Dimension) memories() (out []page.Point) {
	for _, p := range d.Points {
		if p.telling() {
			out = append(out, page.Point{X: p.X, Y: p.KiB})
		}
	}
	return out
}

func knee(points []page.Point) float64 {
	lowest := math.Inf(1)
	for _, p := range points {
		if p.Y > rise*lowest {
			return p.X
		}
		if p.Y > 0 {
			lowest = min(lowest, p.Y)
		}
	}
	return 0
}

// growth says how a cost goes with what grows: where it rises, and how the whole
// therefore grows. Of a cost that stays, the whole grows in proportion.
func growth(points []page.Point, perUnit bool) string {
	if len(points) < 2 {
		return "too few points"
	}
	first, last := points[0], points[len(points)-1]
	times, x := last.Y/first.Y, last.X/first.X
	end := fmt.Sprintf("at %s, %s times the first, it is %s times as much", number(last.X), number(x), number(times))
	at := knee(points)
	switch {
	case at == 0 && times < 1/rise:
		return "no knee in this range, better than linear: " + end
	case at == 0:
		return "no knee in this range, linear: " + end
	case perUnit && times <= x:
		return fmt.Sprintf("the knee is at %s, where what grows begins to weigh; better than linear: %s", number(at), end)
	}
	return fmt.Sprintf("**the knee is at %s**, worse than linear from there on: %s", number(at), end)
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
	fmt.Fprintf(&b, "\nWhat one delivery, and one connection, costs should stay as things grow: then the whole grows in proportion. A knee is where the cost is first more than %g times the lowest before it.\n\n", rise)
	for _, d := range g.Dimensions {
		fmt.Fprintf(&b, "* **%s**: CPU a delivery: %s.", d.Name, growth(d.costs(), d.PerUnit))
		if m := d.memories(); len(m) > 1 {
			fmt.Fprintf(&b, " Memory a connection: %s.", growth(m, d.PerUnit))
		}
		b.WriteString("\n")
	}
	for _, f := range g.Failed {
		fmt.Fprintf(&b, "* Not measured: %s.\n", f)
	}
	return b.String()
}

// telling leaves out what so few connections cannot tell: the process itself
// outweighs them.
func (p GrowthPoint) telling() bool { return p.Report.Connections >= 1000 && p.KiB > 0 }

func atScale(p GrowthPoint) string {
	if !p.telling() {
		return "–"
	}
	return fmt.Sprintf("%.1f", p.KiB)
}

// Picture is the plot of all dimensions.
func (g Growth) Picture() ([]byte, error) {
	cost := page.Plot{Title: "CPU per delivery", X: "what grows, times its first value", Y: "µs", LogX: true, LogY: true}
	memory := page.Plot{Title: "Resident memory per connection, at the edges (from 1,000 connections)", X: "what grows, times its first value", Y: "KiB", LogX: true}
	for _, d := range g.Dimensions {
		relative := func(points []page.Point) page.Line {
			line := page.Line{Name: d.Name, Dots: true}
			for _, p := range points {
				line.Points = append(line.Points, page.Point{X: p.X / d.Points[0].X, Y: p.Y})
			}
			return line
		}
		cost.Lines = append(cost.Lines, relative(d.costs()))
		if m := relative(d.memories()); len(m.Points) > 1 {
			memory.Lines = append(memory.Lines, m)
		}
	}
	return page.Grid([]page.Plot{cost, memory})
}
