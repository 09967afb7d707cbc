package bench

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parley-chat/parley/deploy/loadgen"
)

func TestPutKeepsWhatIsWrittenByHand(t *testing.T) {
	path := filepath.Join(t.TempDir(), "performance.md")
	if err := os.WriteFile(path, []byte("# By hand\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		section Section
		text    string
	}{{Compared, "one"}, {Grown, "two"}, {Compared, "three\n"}} {
		if err := Put(path, step.section, step.text); err != nil {
			t.Fatal(err)
		}
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := "# By hand\n\n<!-- generated: begin compare -->\nthree\n<!-- generated: end compare -->\n\n<!-- generated: begin growth -->\ntwo\n<!-- generated: end growth -->\n"
	if string(raw) != want {
		t.Errorf("got:\n%s\nwant:\n%s", raw, want)
	}
	for _, broken := range []string{Grown.begin(), Grown.end(), Grown.end() + Grown.begin()} {
		if _, err := put(broken, Grown, "x"); err == nil {
			t.Errorf("%q is taken for a page with markers", broken)
		}
	}
}

func reported(scenario, target string, with func(*loadgen.Report)) loadgen.Report {
	r := loadgen.Report{Scenario: scenario, Target: target, Sent: 10, Members: 10, Delivered: 100}
	with(&r)
	return r
}

// TestTargetsScaleWithTheBaseline: a machine on which the baseline reaches half is
// asked for half, and allowed twice the time; ratios and memory stay.
func TestTargetsScaleWithTheBaseline(t *testing.T) {
	r := Results{Reports: []loadgen.Report{
		reported("C", baseline, func(r *loadgen.Report) { r.AckedPerSecond = referenceC / 2 }),
		reported("C", parley, func(r *loadgen.Report) { r.AckedPerSecond, r.ServiceMicros = 4000, 500 }),
		reported("A", parley, func(r *loadgen.Report) { r.Memory.EdgeKiB = 9 }),
		reported("B", baseline, func(r *loadgen.Report) { r.DeliveriesPerCPU = 50_000 }),
		// The median of three rounds is not moved by one that went wrong.
		reported("B", parley, func(r *loadgen.Report) { r.DeliveriesPerCPU, r.Delivery.P99 = 100_000, 30 }),
		reported("B", parley, func(r *loadgen.Report) { r.DeliveriesPerCPU, r.Delivery.P99 = 75_000, 39 }),
		reported("B", parley, func(r *loadgen.Report) { r.DeliveriesPerCPU, r.Delivery.P99 = 10, 5000 }),
		reported("Bslow", parley, func(r *loadgen.Report) { r.Delivery.P99 = 78 }),
	}}
	got := map[string]outcome{}
	for _, o := range r.outcomes() {
		got[o.scenario+" "+o.what] = o
	}
	for what, want := range map[string]outcome{
		"C acknowledged messages/s at most":                      {here: 3750, measured: 4000, reached: true},
		"C … to the durable baseline's":                          {here: 1.3, measured: 4000.0 / 2850, reached: true},
		"C CPU of all services a message":                        {here: 400, measured: 500},
		"A resident per connection at the edges":                 {here: 10, measured: 9, reached: true},
		"B deliveries per CPU-second, to the durable baseline's": {here: 1.3, measured: 1.5, reached: true},
		"B delivery p99":                                         {here: 40, measured: 39, reached: true},
		"Bslow delivery p99 to all others, to that of B":         {here: 1.2, measured: 2},
	} {
		o := got[what]
		if o.here != want.here || o.measured != want.measured || o.reached != want.reached || (o.factor >= 1) != o.reached {
			t.Errorf("%s: target %v, measured %v, reached %v, factor %v; want %v, %v, %v", what, o.here, o.measured, o.reached, o.factor, want.here, want.measured, want.reached)
		}
	}
	if o, ok := got["D all back and caught up"]; ok {
		t.Errorf("D was not measured, but is %+v", o)
	}
	page := r.Markdown()
	for _, want := range []string{"make bench-compare", "| C | acknowledged messages/s at most | ≥ 7,500 | 3,750 | 4,000 | 1.07 | reached |", "**not reached**", "| B | parley | 0 | 0 | 75,000 |"} {
		if !strings.Contains(page, want) {
			t.Errorf("%q is not in\n%s", want, page)
		}
	}
}

func TestRecoveryHasToLast(t *testing.T) {
	good := loadgen.Second{Sent: 10, Acked: 10, Ack: loadgen.Latency{P99: 20, Count: 10}}
	slow, refused, silent := good, good, good
	slow.Ack.P99, refused.Refused, silent.Ack.Count = 900, 1, 2
	o := Overload{Usual: 30}
	for want, seconds := range map[float64][]loadgen.Second{
		0: {good, good, good, slow, slow},
		1: {slow, good, good, good, refused},
		2: {refused, silent, good, good, good},
		3: {good, good, slow, good, good},
	} {
		if got := o.recovery(loadgen.Report{Seconds: float64(len(seconds)), Timeline: append(seconds, slow)}); got != want {
			t.Errorf("recovered after %v s, want %v", got, want)
		}
	}
	if got := o.recovery(loadgen.Report{Seconds: 3, Timeline: []loadgen.Second{good, good, slow}}); got != -1 {
		t.Errorf("recovered after %v s, want never", got)
	}
	o.Usual = 500 // a busy machine is judged by what it did before
	if got := o.recovery(loadgen.Report{Seconds: 3, Timeline: []loadgen.Second{slow, slow, slow}}); got != 0 {
		t.Errorf("recovered after %v s, want 0", got)
	}
}

func TestOverloadSaysWhatDoesNotBend(t *testing.T) {
	stage := func(times, acked, p99, recovery float64, peak int64) Stage {
		r := loadgen.Report{AckedPerSecond: acked, Ack: loadgen.Latency{P99: p99}}
		r.Memory.Peak = peak
		return Stage{Times: times, Report: r, Recovery: recovery}
	}
	o := Overload{Offered: 1000, Stages: []Stage{stage(1, 990, 50, 0, 100), stage(2, 1050, 900, 4, 180), stage(3, 500, 9000, -1, 400)}}
	o.Stages[1].Report.Sent, o.Stages[1].Report.Refused = 2000, 950
	o.Stages[1].Report.Refusal = loadgen.Latency{P50: 3, P99: 70}
	page := o.Markdown()
	for _, want := range []string{"| 1.00 | 48 % |", "| 3 / 70 |", "| 0.94 | 0 % |", "| bends |", "**not: throughput, latency, memory, recovery**", "not while watched"} {
		if !strings.Contains(page, want) {
			t.Errorf("%q is not in\n%s", want, page)
		}
	}
	if n := strings.Count(page, "| bends |"); n != 2 {
		t.Errorf("%d stages bend, want 2", n)
	}
}

func TestGrowthNamesTheKnee(t *testing.T) {
	points := func(micros ...float64) (out []GrowthPoint) {
		x := 10.0
		for _, m := range micros {
			out = append(out, GrowthPoint{X: x, Micros: m, KiB: 9, Report: loadgen.Report{Connections: 2000}})
			x *= 10
		}
		return out
	}
	g := Growth{Dimensions: []Dimension{
		{Name: "members", Points: points(20, 5, 5.5, 8)},
		{Name: "rooms", Points: points(9, 7, 7)},
		{Name: "bytes", PerUnit: true, Points: points(5, 5, 7, 15)},
	}, Failed: []string{"rooms, 10,000: it broke"}}
	if at := g.Dimensions[0].Knee(); at != 10_000 {
		t.Errorf("the knee is at %v, want 10,000", at)
	}
	page := g.Markdown("pictures/growth.svg")
	for _, want := range []string{"**members**: CPU a delivery: **the knee is at 10,000**, worse than linear", "**rooms**: CPU a delivery: no knee", "better than linear: at 10,000, 1,000 times the first, it is 3 times", "* Not measured: rooms, 10,000: it broke.", "(pictures/growth.svg)", "| 100 | 5.00 | 9.0 |"} {
		if !strings.Contains(page, want) {
			t.Errorf("%q is not in\n%s", want, page)
		}
	}
	if svg, err := g.Picture(); err != nil || !strings.Contains(string(svg), "</svg>") {
		t.Errorf("the picture: %v", err)
	}
}

// TestAPointIsMeasuredAgain: after a failure, and while it costs more than those
// before it; what is cheapest counts, and a point that never works is an error.
func TestAPointIsMeasuredAgain(t *testing.T) {
	broken := errors.New("broken")
	for name, c := range map[string]struct {
		micros []float64 // of each run; 0: it fails
		want   float64
		runs   int
	}{
		"as cheap":    {[]float64{12}, 12, 1},
		"after noise": {[]float64{30, 11}, 11, 2},
		"a knee":      {[]float64{30, 20, 25}, 20, 3},
		"a failure":   {[]float64{0, 10}, 10, 2},
		"only once":   {[]float64{0, 20, 0}, 20, 3},
		"never":       {[]float64{0, 0, 0}, 0, 3},
	} {
		runs := 0
		at, err := Dimension{Points: []GrowthPoint{{Micros: 10}}}.measure(t.Context(), 3, func() (loadgen.Report, error) {
			runs++
			if micros := c.micros[runs-1]; micros > 0 {
				return loadgen.Report{DeliveriesPerCPU: 1e6 / micros}, nil
			}
			return loadgen.Report{}, broken
		})
		if math.Abs(at.Micros-c.want) > 1e-9 || runs != c.runs || (err != nil) != (c.want == 0) {
			t.Errorf("%s: %v µs after %d runs, %v; want %v after %d", name, at.Micros, runs, err, c.want, c.runs)
		}
	}
}

func TestEveryScenarioOfTheChecksIsMeasured(t *testing.T) {
	known := map[string]bool{"C half": true}
	for _, name := range loadgen.Names {
		known[name] = true
	}
	for _, c := range checks {
		if !known[c.scenario] {
			t.Errorf("nothing measures %s", c.scenario)
		}
	}
	for _, quick := range []bool{true, false} {
		for _, d := range growthDimensions(quick) {
			if len(d.steps) < 2 {
				t.Errorf("%s grows in %d points", d.name, len(d.steps))
			}
			for _, s := range d.steps {
				if s.scenario.Rate <= 0 || s.scenario.Rooms < 1 || s.scenario.Members < 1 {
					t.Errorf("%s %d: %+v", d.name, s.x, s.scenario)
				}
			}
		}
	}
}
