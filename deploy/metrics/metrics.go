// Package metrics makes docs/metrics.md, the table of every metric that the
// programs export. What is registered by New of each service is asked for its name,
// labels and help, so that also what nothing has counted yet is listed; a test
// compares the table with that, and others hold running programs, the dashboard and
// the alerts against the table.
package metrics

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// Metric is one row of the table.
type Metric struct {
	Name   string
	Type   string // counter, gauge, histogram
	Labels []string
	Help   string
}

// recorder is a registry that notes what is registered. Not for concurrent use.
type recorder struct {
	*prometheus.Registry
	metrics []Metric
	err     error
}

// Register notes the collector's metrics and registers it.
func (r *recorder) Register(c prometheus.Collector) error {
	if err := r.Registry.Register(c); err != nil {
		return err
	}
	described := make(chan *prometheus.Desc, 16)
	go func() {
		defer close(described)
		c.Describe(described)
	}()
	for d := range described {
		m, err := metricOf(d, c)
		if err != nil {
			r.err = err
			continue
		}
		r.metrics = append(r.metrics, m)
	}
	return nil
}

// MustRegister is prometheus.Registerer's.
func (r *recorder) MustRegister(all ...prometheus.Collector) {
	for _, c := range all {
		if err := r.Register(c); err != nil {
			panic(err)
		}
	}
}

// descForm is how a Desc prints itself, which is the only way to read it.
var descForm = regexp.MustCompile(`^Desc\{fqName: "([^"]*)", help: "(.*?)"(?:, unit: "[^"]*")?, constLabels: \{(.*)\}, variableLabels: \{(.*)\}\}$`)

func metricOf(d *prometheus.Desc, c prometheus.Collector) (Metric, error) {
	parts := descForm.FindStringSubmatch(d.String())
	if parts == nil {
		return Metric{}, fmt.Errorf("cannot read %s", d)
	}
	m := Metric{Name: parts[1], Help: strings.ReplaceAll(parts[2], `\"`, `"`), Type: typeOf(c)}
	for pair := range strings.SplitSeq(parts[3], ",") {
		if name, _, ok := strings.Cut(pair, "="); ok {
			m.Labels = append(m.Labels, name)
		}
	}
	for name := range strings.SplitSeq(parts[4], ",") {
		if name != "" {
			m.Labels = append(m.Labels, name)
		}
	}
	return m, nil
}

func typeOf(c prometheus.Collector) string {
	switch v := c.(type) {
	case *prometheus.CounterVec:
		return "counter"
	case *prometheus.GaugeVec:
		return "gauge"
	case *prometheus.HistogramVec:
		return "histogram"
	case prometheus.Metric:
		var written dto.Metric
		if v.Write(&written) != nil {
			return "unknown"
		}
		switch {
		case written.Counter != nil:
			return "counter"
		case written.Gauge != nil:
			return "gauge"
		case written.Histogram != nil:
			return "histogram"
		}
	}
	return "unknown"
}

// Write writes the table, sorted by name.
func Write(w io.Writer, all []Metric) {
	slices.SortFunc(all, func(a, b Metric) int { return cmp.Compare(a.Name, b.Name) })
	fmt.Fprint(w, intro)
	for _, m := range all {
		labels := "–"
		if len(m.Labels) > 0 {
			labels = "`" + strings.Join(m.Labels, "`, `") + "`"
		}
		fmt.Fprintf(w, "| `%s` | %s | %s | %s |\n", m.Name, m.Type, labels, m.Help)
	}
}

const intro = `# Metrics

Every program serves them at ` + "`/metrics`" + ` of its operators' listener, beside Go's own (` + "`go_…`, `process_…`" + `). Names are
` + "`parley_<service>_<name>_<unit>`" + `; those of the bus are alike in all services. No label names a user or a room, so the
number of series grows with partitions and edges only: a topic that belongs to one process goes by its kind (` + "`deliveries`, `probe`" + `).
Histograms have ` + "`_bucket`, `_sum` and `_count`" + `. The table is made from the code
(` + "`cd deploy && go test ./metrics -update`" + `), and a test holds it against running services.

| metric | type | labels | meaning |
|---|---|---|---|
`

var rowForm = regexp.MustCompile("^\\| `([a-z_]+)` \\| ([a-z]+) \\| (.*?) \\| (.*) \\|$")

// Read reads a table that Write wrote.
func Read(r io.Reader) (all []Metric, err error) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		parts := rowForm.FindStringSubmatch(lines.Text())
		if parts == nil {
			continue
		}
		m := Metric{Name: parts[1], Type: parts[2], Help: parts[4]}
		if parts[3] != "–" {
			m.Labels = strings.Split(strings.ReplaceAll(parts[3], "`", ""), ", ")
		}
		all = append(all, m)
	}
	return all, lines.Err()
}
