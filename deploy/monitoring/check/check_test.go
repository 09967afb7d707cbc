// Package check holds the dashboard and the alerts against Prometheus' own
// parser and against docs/metrics.md. It is a module of its own, because that parser
// comes with much that nothing else here needs.
package check

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/promql/parser"
	"gopkg.in/yaml.v3"
)

const (
	rulesFile     = "../../prometheus/rules.yml"
	dashboardFile = "../../grafana/dashboards/parley.json"
	tableFile     = "../../../docs/metrics.md"
	runbookFile   = "../../../docs/operations.md"
)

// foreign are metrics that are not ours, with their labels.
var foreign = map[string][]string{"up": nil, "process_cpu_seconds_total": nil, "process_resident_memory_bytes": nil, "go_goroutines": nil}

// added are the labels that Prometheus adds to each series.
var added = []string{"job", "instance"}

type rules struct {
	Groups []struct {
		Name, Interval string
		Rules          []rule
	}
}

type rule struct {
	Alert, Expr, For string
	Labels           map[string]string
	Annotations      map[string]string
}

func TestRules(t *testing.T) {
	known := metrics(t)
	runbook := paragraphs(t)
	var file rules
	decoder := yaml.NewDecoder(strings.NewReader(read(t, rulesFile)))
	decoder.KnownFields(true)
	if err := decoder.Decode(&file); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, group := range file.Groups {
		if _, err := time.ParseDuration(group.Interval); err != nil {
			t.Errorf("group %s: %v", group.Name, err)
		}
		for _, r := range group.Rules {
			switch {
			case r.Alert == "" || seen[r.Alert]:
				t.Errorf("alert %q has no name, or one that another has", r.Alert)
			case !slices.Contains([]string{"critical", "warning"}, r.Labels["severity"]):
				t.Errorf("%s: severity %q", r.Alert, r.Labels["severity"])
			case r.Annotations["summary"] == "":
				t.Errorf("%s says nothing", r.Alert)
			}
			seen[r.Alert] = true
			if _, err := time.ParseDuration(r.For); r.For != "" && err != nil {
				t.Errorf("%s: for: %v", r.Alert, err)
			}
			check(t, r.Alert, r.Expr, known)
			if len(runbook[r.Alert]) < 100 {
				t.Errorf("docs/operations.md says too little about %s under \"## Alerts\"", r.Alert)
			}
		}
	}
	if len(seen) < 10 {
		t.Errorf("only %d alerts", len(seen))
	}
	for name := range runbook {
		if !seen[name] {
			t.Errorf("docs/operations.md tells of the alert %s, which is not in the rules", name)
		}
	}
}

type panel struct {
	ID          int
	Type, Title string
	GridPos     struct{ H, W, X, Y int }
	Targets     []struct {
		RefID, Expr, LegendFormat string
		Datasource                struct{ Type, UID string }
	}
}

func TestDashboard(t *testing.T) {
	known := metrics(t)
	var board struct {
		UID, Title, Refresh string
		SchemaVersion       int
		Panels              []panel
		Templating          struct {
			List []struct{ Name, Type, Query string }
		}
	}
	if err := json.Unmarshal([]byte(read(t, dashboardFile)), &board); err != nil {
		t.Fatal(err)
	}
	if board.UID == "" || board.Title == "" || board.SchemaVersion < 36 || len(board.Panels) < 10 {
		t.Errorf("not a dashboard: uid %q, title %q, schema %d, %d panels", board.UID, board.Title, board.SchemaVersion, len(board.Panels))
	}
	if v := board.Templating.List; len(v) != 1 || v[0].Name != "datasource" || v[0].Type != "datasource" || v[0].Query != "prometheus" {
		t.Errorf("variables: %+v", v)
	}
	ids := map[int]bool{}
	for i, p := range board.Panels {
		if ids[p.ID] || p.ID == 0 || p.Title == "" {
			t.Errorf("panel %d (%q) has no id or title of its own", p.ID, p.Title)
		}
		ids[p.ID] = true
		checkPlace(t, p, board.Panels[:i])
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("panel %q asks nothing", p.Title)
		}
		for _, target := range p.Targets {
			if target.RefID == "" || target.Datasource.UID != "${datasource}" || target.LegendFormat == "" {
				t.Errorf("panel %q: target %+v", p.Title, target)
			}
			check(t, p.Title, strings.ReplaceAll(target.Expr, "$__rate_interval", "1m"), known)
		}
	}
}

// checkPlace wants a panel inside of the grid, over no other.
func checkPlace(t *testing.T, p panel, before []panel) {
	g := p.GridPos
	if g.W < 1 || g.H < 1 || g.X < 0 || g.X+g.W > 24 {
		t.Errorf("panel %q is outside of the grid: %+v", p.Title, g)
	}
	for _, other := range before {
		o := other.GridPos
		if g.X < o.X+o.W && o.X < g.X+g.W && g.Y < o.Y+o.H && o.Y < g.Y+g.H {
			t.Errorf("panel %q lies over %q", p.Title, other.Title)
		}
	}
}

// check wants an expression that Prometheus takes, over metrics and labels that are.
func check(t *testing.T, where, expr string, known map[string][]string) {
	t.Helper()
	parsed, err := parser.ParseExpr(expr)
	if err != nil {
		t.Errorf("%s: %s: %v", where, expr, err)
		return
	}
	var labels []string // of all that it asks for
	parser.Inspect(parsed, func(node parser.Node, _ []parser.Node) error {
		if v, ok := node.(*parser.VectorSelector); ok {
			its, is := known[v.Name]
			if !is {
				t.Errorf("%s: there is no metric %q", where, v.Name)
			}
			its = append(slices.Clone(its), added...)
			for _, m := range v.LabelMatchers {
				if m.Name != "__name__" && !slices.Contains(its, m.Name) {
					t.Errorf("%s: %s has no label %s", where, v.Name, m.Name)
				}
			}
			labels = append(labels, its...)
		}
		return nil
	})
	parser.Inspect(parsed, func(node parser.Node, _ []parser.Node) error {
		if a, ok := node.(*parser.AggregateExpr); ok {
			for _, l := range a.Grouping {
				if !slices.Contains(labels, l) {
					t.Errorf("%s: nothing in %s has the label %s", where, expr, l)
				}
			}
		}
		return nil
	})
}

// metrics are the names that can be asked for, with their labels.
func metrics(t *testing.T) map[string][]string {
	t.Helper()
	known := map[string][]string{}
	for name, labels := range foreign {
		known[name] = labels
	}
	row := regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| ([a-z]+) \\| (.*?) \\|")
	for _, m := range row.FindAllStringSubmatch(read(t, tableFile), -1) {
		var labels []string
		if m[3] != "–" {
			labels = strings.Split(strings.ReplaceAll(m[3], "`", ""), ", ")
		}
		if m[2] != "histogram" {
			known[m[1]] = labels
			continue
		}
		known[m[1]+"_sum"], known[m[1]+"_count"] = labels, labels
		known[m[1]+"_bucket"] = append(slices.Clone(labels), "le")
	}
	if len(known) < 40 {
		t.Fatalf("%d metrics in %s", len(known), tableFile)
	}
	return known
}

// paragraphs are what stands under "## Alerts", by heading.
func paragraphs(t *testing.T) map[string]string {
	t.Helper()
	_, alerts, found := strings.Cut(read(t, runbookFile), "\n## Alerts\n")
	if !found {
		t.Fatalf("%s has no section Alerts", runbookFile)
	}
	if end := regexp.MustCompile(`(?m)^## `).FindStringIndex(alerts); end != nil {
		alerts = alerts[:end[0]]
	}
	all := map[string]string{}
	for _, part := range strings.Split(alerts, "\n### ")[1:] {
		name, text, _ := strings.Cut(part, "\n")
		all[strings.TrimSpace(name)] = strings.TrimSpace(text)
	}
	return all
}

// What Grafana reads at its start.
func TestProvisioning(t *testing.T) {
	for _, file := range []string{"datasources/prometheus.yaml", "dashboards/parley.yaml"} {
		var content struct {
			APIVersion  int `yaml:"apiVersion"`
			Datasources []struct{ Name, Type, URL, UID string }
			Providers   []struct {
				Name, Type string
				Options    struct{ Path string }
			}
		}
		if err := yaml.Unmarshal([]byte(read(t, "../../grafana/provisioning/"+file)), &content); err != nil {
			t.Fatal(err)
		}
		if content.APIVersion != 1 || len(content.Datasources)+len(content.Providers) != 1 {
			t.Errorf("%s: %+v", file, content)
		}
		for _, d := range content.Datasources {
			if d.Type != "prometheus" || d.URL == "" || d.UID == "" {
				t.Errorf("%s: %s", file, fmt.Sprint(d))
			}
		}
		for _, p := range content.Providers {
			if p.Type != "file" || p.Options.Path == "" {
				t.Errorf("%s: %s", file, fmt.Sprint(p))
			}
		}
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}
