package bench

import (
	"slices"

	"github.com/parley-chat/parley/deploy/loadgen"
)

// Results are the reports of a comparison, by scenario and system.
type Results struct {
	Began   string
	Quick   bool
	Machine Machine
	Notes   []string
	Reports []loadgen.Report
	Most    []Most
}

// Most is the highest rate at which 99 of 100 deliveries took less than 100 ms.
type Most struct {
	Scenario, Target string
	Rate             float64 // messages/s
	Deliveries       float64 // a second
}

// of are the reports of a scenario and a system.
func (r *Results) of(scenario, target string) []loadgen.Report {
	var out []loadgen.Report
	for _, report := range r.Reports {
		if report.Scenario == scenario && report.Target == target {
			out = append(out, report)
		}
	}
	return out
}

// median of a figure over the rounds; 0 if there are none.
func (r *Results) median(scenario, target string, figure func(loadgen.Report) float64) float64 {
	var all []float64
	for _, report := range r.of(scenario, target) {
		all = append(all, figure(report))
	}
	return median(all)
}

func median(of []float64) float64 {
	if len(of) == 0 {
		return 0
	}
	slices.Sort(of)
	if n := len(of); n%2 == 0 {
		return (of[n/2-1] + of[n/2]) / 2
	}
	return of[len(of)/2]
}

// Names of the systems that checks speak of.
const (
	parley     = "parley"
	stock      = "parley, stock driver"
	standalone = "standalone"
	baseline   = "baseline, durable"
)

// scale says how a target of the reference machine is carried to another: by what
// the durable baseline reaches there in C.
type scale int

const (
	fixed scale = iota
	more        // of a faster machine more is asked
	less        // and here less: times, costs
)

// referenceC is what the durable baseline reached in C, in acknowledged messages a
// second, where the targets were set.
const referenceC = 5700

// check is one figure to reach.
type check struct {
	scenario, system, what, unit string
	target                       float64
	atMost                       bool
	scale                        scale
	figure                       func(loadgen.Report) float64
	against                      other // if set, the target is the ratio to its figure
}

// other is what a figure is compared with.
type other struct{ scenario, system string }

func perCPU(r loadgen.Report) float64      { return r.DeliveriesPerCPU }
func acked(r loadgen.Report) float64       { return r.AckedPerSecond }
func deliveryP50(r loadgen.Report) float64 { return r.Delivery.P50 }
func deliveryP99(r loadgen.Report) float64 { return r.Delivery.P99 }
func lastP99(r loadgen.Report) float64     { return r.Last.P99 }
func micros(r loadgen.Report) float64      { return r.ServiceMicros }

func made(r loadgen.Report) float64 {
	if r.Sent == 0 {
		return 0
	}
	return float64(r.Delivered) / float64(r.Sent*int64(r.Members)) * 100
}

func resumed(of func(loadgen.Resumed) float64) func(loadgen.Report) float64 {
	return func(r loadgen.Report) float64 {
		if r.Resumption == nil {
			return 0
		}
		return of(*r.Resumption)
	}
}

// checks are the figures to reach, in the order of the page.
var checks = []check{
	{"A", parley, "resident per connection at the edges", "KiB", 10, true, fixed, func(r loadgen.Report) float64 { return r.Memory.EdgeKiB }, other{}},
	{"A", parley, "… with chats and notifiers", "KiB", 12, true, fixed, func(r loadgen.Report) float64 { return r.Memory.AllKiB }, other{}},
	{"A", parley, "cores in all, idle", "", 0.02, true, less, func(r loadgen.Report) float64 { return r.Cores }, other{}},
	{"A", parley, "edge CPU per connect", "µs", 120, true, less, func(r loadgen.Report) float64 { return r.Connecting.EdgeMicros }, other{}},
	{"B", parley, "deliveries per CPU-second, to the durable baseline's", "×", 1.3, false, fixed, perCPU, other{"B", baseline}},
	{"B", parley, "delivery p99", "ms", 20, true, less, deliveryP99, other{}},
	{"Bslow", parley, "delivery p99 to all others, to that of B", "×", 1.2, true, fixed, deliveryP99, other{"B", parley}},
	{"B800", parley, "deliveries made", "%", 100, false, fixed, made, other{}},
	{"B800", parley, "deliveries per CPU-second", "", 450_000, false, more, perCPU, other{}},
	{"B800", parley, "delivery p99", "ms", 60, true, less, deliveryP99, other{}},
	{"C", parley, "acknowledged messages/s at most", "", 7500, false, more, acked, other{}},
	{"C", parley, "… to the durable baseline's", "×", 1.3, false, fixed, acked, other{"C", baseline}},
	{"C", parley, "CPU of all services a message", "µs", 200, true, less, micros, other{}},
	{"C half", parley, "acknowledgement p50 at half of that", "ms", 2, true, less, func(r loadgen.Report) float64 { return r.Ack.P50 }, other{}},
	{"C half", parley, "acknowledgement p99 at half of that", "ms", 10, true, less, func(r loadgen.Report) float64 { return r.Ack.P99 }, other{}},
	{"D", parley, "all back and caught up", "s", 1.5, true, less, resumed(func(d loadgen.Resumed) float64 { return d.Seconds }), other{}},
	{"D", parley, "CPU from the drop on", "s", 3, true, less, resumed(func(d loadgen.Resumed) float64 { return d.CPU }), other{}},
	{"E", parley, "last member p99, 1 message/s", "ms", 110, true, less, lastP99, other{}},
	{"E10", parley, "last member p99, 10 messages/s", "ms", 200, true, less, lastP99, other{}},
	{"F", parley, "pages/s", "", 1000, false, more, func(r loadgen.Report) float64 { return r.PagesPerSecond }, other{}},
	{"F", parley, "page p50", "ms", 2, true, less, func(r loadgen.Report) float64 { return r.Ack.P50 }, other{}},
	{"F", parley, "page p99", "ms", 10, true, less, func(r loadgen.Report) float64 { return r.Ack.P99 }, other{}},
	{"quiet", parley, "delivery p50", "ms", 1.5, true, less, deliveryP50, other{}},
	{"quiet", parley, "delivery p99", "ms", 5, true, less, deliveryP99, other{}},
	{"quiet", standalone, "delivery p50, standalone", "ms", 0.5, true, less, deliveryP50, other{}},
}

// outcome is a check that was measured.
type outcome struct {
	check
	here     float64 // the target, for this machine
	measured float64
	reached  bool
	factor   float64 // above 1: better than the target
}

// outcomes holds the results against the checks; what was not measured is left out.
func (r *Results) outcomes() []outcome {
	speed := r.median("C", baseline, acked) / referenceC
	var out []outcome
	for _, c := range checks {
		if len(r.of(c.scenario, c.system)) == 0 {
			continue
		}
		o := outcome{check: c, here: c.target, measured: r.median(c.scenario, c.system, c.figure)}
		switch {
		case c.against != (other{}):
			by := r.median(c.against.scenario, c.against.system, c.figure)
			if by == 0 {
				continue
			}
			o.measured /= by
		case speed > 0 && c.scale == more:
			o.here *= speed
		case speed > 0 && c.scale == less:
			o.here /= speed
		}
		o.reached, o.factor = o.measured >= o.here, o.measured/o.here
		if c.atMost {
			o.reached, o.factor = o.measured <= o.here, 0
			if o.measured > 0 {
				o.factor = o.here / o.measured
			}
		}
		out = append(out, o)
	}
	return out
}
