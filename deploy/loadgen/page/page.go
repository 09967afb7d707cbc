// Package page draws reports: a self-contained HTML page for one load, and the
// plots of docs/performance.md.
package page

import (
	"bytes"
	"fmt"
	"html/template"
	"maps"
	"slices"

	"github.com/parley-chat/parley/deploy/loadgen"
)

var tmpl = template.Must(template.New("page").Parse(`<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{{.R.Target}}: {{.R.Scenario}}</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 62rem; padding: 0 1rem; color: #222; background: #fff }
pre { background: #f5f5f5; padding: 1rem; overflow-x: auto }
figure { margin: 1.5rem 0 } svg { max-width: 100%; height: auto } .warning { color: #a00 }
</style>
<h1>{{.R.Target}}: scenario {{.R.Scenario}}</h1>
<p>{{.R.About}}. {{.R.Began.Format "2006-01-02 15:04:05 MST"}}.</p>
{{range .R.Warnings}}<p class="warning">Warning: {{.}}.</p>{{end}}
<pre>{{.Table}}</pre>
{{range .Plots}}<figure>{{.}}</figure>
{{end}}</html>
`))

// HTML is the report as one page; nothing is loaded from elsewhere.
func HTML(r loadgen.Report) ([]byte, error) {
	var table bytes.Buffer
	if err := r.WriteTable(&table); err != nil {
		return nil, err
	}
	plots, err := plotsOf(r)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = tmpl.Execute(&out, struct {
		R     loadgen.Report
		Table string
		Plots []template.HTML
	}{r, table.String(), plots})
	return out.Bytes(), err
}

func plotsOf(r loadgen.Report) ([]template.HTML, error) {
	var out []template.HTML
	for _, p := range []Plot{throughput(r), percentiles(r), cpu(r), memory(r)} {
		if p.empty() {
			continue
		}
		svg, err := p.SVG()
		if err != nil {
			return nil, fmt.Errorf("draw %s: %w", p.Title, err)
		}
		// An XML declaration has no place within HTML.
		if i := bytes.Index(svg, []byte("<svg")); i > 0 {
			svg = svg[i:]
		}
		out = append(out, template.HTML(svg)) // our own drawing, escaped by the library
	}
	return out, nil
}

func throughput(r loadgen.Report) Plot {
	p := Plot{Title: "Throughput", X: "s", Y: "a second"}
	p.add("acknowledged", r.Timeline, func(s loadgen.Second) float64 { return float64(s.Acked) })
	p.add("delivered", r.Timeline, func(s loadgen.Second) float64 { return float64(s.Delivered) })
	p.add("refused", r.Timeline, func(s loadgen.Second) float64 { return float64(s.Refused) })
	return p
}

func percentiles(r loadgen.Report) Plot {
	p := Plot{Title: "Latency from when a message was due", X: "s", Y: "ms", LogY: true}
	p.add("answer p50", r.Timeline, func(s loadgen.Second) float64 { return s.Ack.P50 })
	p.add("answer p99", r.Timeline, func(s loadgen.Second) float64 { return s.Ack.P99 })
	p.add("delivery p50", r.Timeline, func(s loadgen.Second) float64 { return s.Delivery.P50 })
	p.add("delivery p99", r.Timeline, func(s loadgen.Second) float64 { return s.Delivery.P99 })
	p.add("delivery max", r.Timeline, func(s loadgen.Second) float64 { return s.Delivery.Max })
	return p
}

func cpu(r loadgen.Report) Plot {
	return sampled(Plot{Title: "CPU", X: "s", Y: "cores"}, r, func(s loadgen.Sample, name string) (float64, bool) {
		n, ok := s.CPU[name]
		return n, ok
	})
}

func memory(r loadgen.Report) Plot {
	return sampled(Plot{Title: "Resident memory", X: "s", Y: "MiB"}, r, func(s loadgen.Sample, name string) (float64, bool) {
		n, ok := s.RSS[name]
		return float64(n) / (1 << 20), ok
	})
}

// sampled adds a line for each process.
func sampled(p Plot, r loadgen.Report, of func(loadgen.Sample, string) (float64, bool)) Plot {
	names := map[string]bool{}
	for _, s := range r.Samples {
		for name := range s.CPU {
			names[name] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		line := Line{Name: name}
		for _, s := range r.Samples {
			if y, ok := of(s, name); ok {
				line.Points = append(line.Points, Point{s.At, y})
			}
		}
		if len(line.Points) > 0 {
			p.Lines = append(p.Lines, line)
		}
	}
	return p
}
