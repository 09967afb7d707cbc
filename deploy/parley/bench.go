package parley

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/parley-chat/parley/deploy/loadgen"
)

// bench is the load generator against edges that run.
type bench struct {
	URLs     []string      `name:"url" default:"http://127.0.0.1:8080" help:"The edges."`
	Scenario string        `help:"A preset of docs/performance.md instead of the flags below."`
	Quick    bool          `help:"With --scenario: less of what only makes the figures steadier."`
	Rooms    int           `default:"100" help:"Rooms."`
	Members  int           `default:"10" help:"Members of each room."`
	Rate     float64       `default:"100" help:"Messages a second over all rooms; 0: --window decides."`
	Window   int           `help:"Unanswered sends over all rooms, with --rate 0."`
	Body     int           `default:"128" help:"Bytes of a body."`
	WarmUp   time.Duration `name:"warmup" default:"2s" help:"Before measuring."`
	Measure  time.Duration `default:"10s" help:"How long to measure."`
	// One process holds 18,000 connections at most, so more of them take more.
	Processes int `help:"Processes to spread the connections over; 0: as few as hold them."`
}

// Run is kong's.
func (c *bench) Run(ctx context.Context, out *output) error {
	scenario := loadgen.Scenario{Name: "bench", About: "asked for by hand", Kind: loadgen.Messages, Rooms: c.Rooms, Members: c.Members,
		Rate: c.Rate, Window: c.Window, Body: c.Body, WarmUp: c.WarmUp, Measure: c.Measure, Drain: 10 * time.Second}
	if c.Scenario != "" {
		if !slices.Contains(loadgen.Names, c.Scenario) {
			return misused("--scenario %s: there are %s", c.Scenario, strings.Join(loadgen.Names, ", "))
		}
		var err error
		if scenario, err = loadgen.Preset(c.Scenario, c.Quick); err != nil {
			return err
		}
	}
	if c.Processes < 0 {
		return misused("--processes %d: 0 or more", c.Processes)
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program, to start workers: %w", err)
	}
	options := loadgen.Options{Target: loadgen.Target{URLs: c.URLs}, Scenario: scenario, Worker: []string{self, Worker}, Processes: c.Processes}
	if out.watched() {
		options.Progress = out.stderr
	}
	result, err := loadgen.Run(ctx, options)
	if err != nil {
		return err
	}
	return out.document(result, func(w io.Writer) { printReport(w, result) })
}

// Worker is the command with which bench starts this program again, as a process that
// holds a share of the connections. A program that calls [Run] itself, and lets bench
// take more than one process, hands this argument on to Run, too.
const Worker = "bench-worker"

// benchWorker is told over standard input what to do, and answers on standard output.
type benchWorker struct{}

// Run is kong's.
func (benchWorker) Run(ctx context.Context) error {
	debug.SetGCPercent(400) // little is alive beside the connections
	return loadgen.Work(ctx, os.Stdin, os.Stdout)
}

func printReport(w io.Writer, r loadgen.Report) {
	fmt.Fprintf(w, "%d connections, %.0f s: %d sent, %d acknowledged, %d delivered of %d, %d refused, %d connections lost\n",
		r.Connections, r.Seconds, r.Sent, r.Acked, r.Delivered, r.Expected, r.Refused, r.Closed)
	fmt.Fprintf(w, "send to ack ms:      p50 %.2f, p99 %.2f\nsend to delivery ms: p50 %.2f, p99 %.2f\n", r.Ack.P50, r.Ack.P99, r.Delivery.P50, r.Delivery.P99)
	for _, warning := range r.Warnings {
		fmt.Fprintln(w, warning)
	}
}
