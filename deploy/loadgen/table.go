package loadgen

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"
)

// WriteTable writes the report for people.
func (r Report) WriteTable(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(name, format string, args ...any) { fmt.Fprintf(t, "%s\t%s\n", name, fmt.Sprintf(format, args...)) }
	line(r.Target+" "+r.Scenario, "%s", r.About)
	line("users", "%d in %d rooms, on %d servers; connected in %.2f s (%d tries again)", r.Connections, r.Rooms, r.Servers, r.Connecting.Seconds, r.Connecting.Retried)
	if r.Sent > 0 {
		line("requests", "%d due in %.1f s, %d served, %d refused, %d unanswered", r.Sent, r.Seconds, r.Acked+r.Pages, r.Refused, r.Unanswered)
		line("a second", "%.0f acknowledged, %.0f delivered, %.0f pages, %.0f refused", r.AckedPerSecond, r.DeliveredPerSecond, r.PagesPerSecond, r.RefusedPerSecond)
		line("deliveries", "%d of %d, %d skipped, %d repeated", r.Delivered, r.Expected, r.Skipped, r.Repeated)
	}
	for _, l := range []struct {
		name string
		Latency
	}{{"answer ms", r.Ack}, {"delivery ms", r.Delivery}, {"last delivery ms", r.Last}} {
		if l.Count > 0 {
			line(l.name, "p50 %.2f  p90 %.2f  p99 %.2f  p99.9 %.2f  max %.2f", l.P50, l.P90, l.P99, l.P999, l.Max)
		}
	}
	if len(r.CPU) > 0 {
		line("CPU", "%.3f cores; %.0f deliveries per CPU-second; µs a request: %.0f services, %.0f Redis", r.Cores, r.DeliveriesPerCPU, r.ServiceMicros, r.RedisMicros)
		for _, name := range slices.Sorted(maps.Keys(r.CPU)) {
			line("  "+name, "%.3f cores, %.1f MiB", r.CPU[name]/r.Seconds, float64(r.Memory.After[name])/(1<<20))
		}
		line("a connection", "%.1f KiB at the edges, %.1f KiB in all; CPU to connect: %.0f µs at the edges, %.0f µs in all",
			r.Memory.EdgeKiB, r.Memory.AllKiB, r.Connecting.EdgeMicros, r.Connecting.AllMicros)
	}
	if d := r.Resumption; d != nil {
		line("resumption", "%d connections in %.2f s, %.2f CPU-seconds from the drop on (%d tries again)", d.Connections, d.Seconds, d.CPU, d.Retried)
	}
	g := r.Generator
	line("generator", "%.2f cores, busiest loop %.0f %%, sent late p99 %.2f ms, turn p99 %.2f ms", g.Cores, g.Busy*100, g.Lag.P99, g.Turn.P99)
	for _, reason := range slices.Sorted(maps.Keys(r.Reasons)) {
		line("  "+reason, "%d", r.Reasons[reason])
	}
	for _, warning := range r.Warnings {
		line("WARNING", "%s", warning)
	}
	return t.Flush()
}
