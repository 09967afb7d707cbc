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

// rounds is how often the systems that are compared take turns.
const rounds = 3

// comparison is a Compare under way.
type comparison struct {
	programs Programs
	quick    bool
	log      io.Writer
	results  Results
	began    time.Time
}

// Compare measures Parley and the durable baseline in turn, and everything that has
// a figure to reach; it says in log what it does. Quick takes 8 minutes instead of 40.
func Compare(ctx context.Context, p Programs, m Machine, quick bool, log io.Writer) (Results, error) {
	c := &comparison{programs: p, quick: quick, log: log, began: time.Now()}
	c.results = Results{Began: c.began.UTC().Format("2006-01-02"), Quick: quick, Machine: m}
	for _, step := range []func(context.Context) error{
		c.inTurn, c.halfOfC, c.alone, c.most,
	} {
		if err := step(ctx); err != nil {
			return c.results, err
		}
	}
	return c.results, nil
}

func (c *comparison) scenario(name string) loadgen.Scenario {
	s, err := loadgen.Preset(name, c.quick)
	if err != nil {
		panic(err) // the names stand in this file
	}
	if c.quick {
		s.WarmUp, s.Measure = time.Second, 4*time.Second
		if s.Kind != loadgen.Idle { // how long memory is given belongs to the figure
			s.Settle = time.Second
		}
	}
	return s
}

// measure runs one scenario against a fresh system and keeps the report.
func (c *comparison) measure(ctx context.Context, s System, scenario loadgen.Scenario) error {
	r, err := c.programs.Measure(ctx, s, scenario)
	if err != nil {
		return err
	}
	r.Timeline, r.Samples = nil, nil // the page needs no more
	c.results.Reports = append(c.results.Reports, r)
	fmt.Fprintf(c.log, "%4.0fs  %-7s %-22s %8.0f acked/s %9.0f delivered/s %8.0f per CPU-s  answer %.2f/%.2f  delivery %.2f/%.2f ms\n",
		time.Since(c.began).Seconds(), scenario.Name, s.Name, r.AckedPerSecond, r.DeliveredPerSecond, r.DeliveriesPerCPU,
		r.Ack.P50, r.Ack.P99, r.Delivery.P50, r.Delivery.P99)
	for _, w := range r.Warnings {
		fmt.Fprintf(c.log, "       warning: %s\n", w)
	}
	return nil
}

// inTurn compares where the same minute matters: at equal load, and at most.
func (c *comparison) inTurn(ctx context.Context) error {
	withStock := true
	for range rounds {
		for _, name := range []string{"B", "Bslow", "C"} {
			scenario := c.scenario(name)
			systems := []System{Baseline(true), Parley(2)}
			if name == "Bslow" { // is held against Parley in B
				systems = systems[1:]
			}
			for _, s := range systems {
				if err := c.measure(ctx, s, scenario); err != nil {
					return err
				}
			}
			if name != "C" || !withStock {
				continue
			}
			if err := c.measure(ctx, Stock(), scenario); err != nil {
				if !strings.Contains(err.Error(), "unexpected option: driver") {
					return err
				}
				withStock = false
				c.results.Notes = append(c.results.Notes, "This build has one Redis driver; `?driver=stock` was not measured.")
				fmt.Fprintln(c.log, "       this build knows no ?driver=stock: not measured")
			}
		}
	}
	return nil
}

// halfOfC offers half of what Parley can do.
func (c *comparison) halfOfC(ctx context.Context) error {
	s := c.scenario("C")
	s.Name, s.Window = "C half", 0
	s.Rate = c.results.median("C", parley, acked) / 2
	s.About = "1,000 rooms of 10, half of the most messages/s"
	if s.Rate <= 0 {
		return nil
	}
	return c.measure(ctx, Parley(2), s)
}

// alone measures what has a figure of its own.
func (c *comparison) alone(ctx context.Context) error {
	type step struct {
		system   System
		scenario string
	}
	steps := []step{
		{Parley(2), "B800"}, {Baseline(true), "A"}, {Parley(2), "A"}, {Parley(2), "D"},
		{Parley(2), "E"}, {Parley(2), "E10"}, {Parley(2), "F"}, {Parley(2), "quiet"}, {Standalone(), "quiet"},
	}
	if !c.quick { // three of what varies most, and the baseline where it has an answer
		steps = append(steps, step{Baseline(true), "B800"}, step{Baseline(true), "E"}, step{Baseline(true), "E10"}, step{Baseline(true), "quiet"},
			step{Parley(2), "B800"}, step{Parley(2), "B800"}, step{Parley(2), "D"}, step{Parley(2), "D"})
	}
	for _, s := range steps {
		if err := c.measure(ctx, s.system, c.scenario(s.scenario)); err != nil {
			return err
		}
	}
	return nil
}

// most looks for the highest rate at which deliveries still come in time.
func (c *comparison) most(ctx context.Context) error {
	if c.quick {
		return nil
	}
	for name, rates := range map[string][]float64{
		"B": {100, 200, 400, 600, 800, 1200, 1600, 2400},
		"C": {1000, 2000, 3000, 4000, 5000, 6000, 7000, 8000, 10_000, 12_000, 15_000},
	} {
		for _, s := range []System{Baseline(true), Parley(2)} {
			scenario := c.scenario(name)
			scenario.Window = 0
			m := Most{Scenario: name, Target: s.Name}
			err := c.programs.run(ctx, s, func(t loadgen.Target) error {
				var err error
				m.Rate, m.Deliveries, err = highest(ctx, c.programs.options(t, scenario), rates)
				return err
			})
			if err != nil {
				return fmt.Errorf("%s, most in %s: %w", s.Name, name, err)
			}
			c.results.Most = append(c.results.Most, m)
			fmt.Fprintf(c.log, "%4.0fs  most %-2s %-22s %8.0f messages/s with p99 below 100 ms\n", time.Since(c.began).Seconds(), name, s.Name, m.Rate)
		}
	}
	return nil
}

// inTime is what a delivery may take, at p99, in ms.
const inTime = 100

// highest tries the rates in turn until one is too high.
func highest(ctx context.Context, o loadgen.Options, rates []float64) (rate, deliveries float64, err error) {
	s, err := loadgen.Open(ctx, o)
	if err != nil {
		return 0, 0, err
	}
	defer func() {
		if closeErr := s.Close(); err == nil {
			err = closeErr
		}
	}()
	if err := s.Connect(ctx); err != nil {
		return 0, 0, err
	}
	for _, next := range rates {
		r, err := s.Load(ctx, loadgen.Load{
			Kind: crowd.Sends, Rate: next, WarmUp: 2 * time.Second, Measure: 5 * time.Second, Drain: 10 * time.Second,
		})
		if err != nil {
			return rate, deliveries, err
		}
		if r.Delivery.P99 >= inTime || r.Acked < r.Sent || r.Missing > 0 {
			break
		}
		rate, deliveries = next, r.DeliveredPerSecond
	}
	return rate, deliveries, nil
}
