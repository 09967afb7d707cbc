package e2e

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parley-chat/parley/deploy/cluster"
	documented "github.com/parley-chat/parley/deploy/metrics"
)

// What each kind of program exports at least when people have chatted. The bus's
// and redis' are in all of them.
var exportedBy = map[string][]string{"ingress": {"ingress"}, "chat": {"chat"}, "notifier": {"notifier"}, "standalone": {"ingress", "chat", "notifier"}}

// TestMetricsAreAsDocumented holds running programs against docs/metrics.md.
func TestMetricsAreAsDocumented(t *testing.T) {
	t.Parallel()
	f, err := os.Open("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	table, err := documented.Read(f)
	if err != nil || len(table) < 40 {
		t.Fatalf("docs/metrics.md: %d rows, %v", len(table), err)
	}
	for _, cfg := range []cluster.Config{{Standalone: true}, {Ingress: 1, Chat: 1, Notifiers: 1}} {
		c := start(t, cfg)
		alice := connect(t, c.Edges[0].URL, "alice", hello{})
		room := roomOf(t)
		alice.join(room)
		alice.send(room, "c1", "hello")
		alice.awaitSeq(room, 1, patience(10*time.Second))
		for _, p := range c.Services() {
			checkMetrics(t, p, table)
		}
	}
}

func checkMetrics(t *testing.T, p *cluster.Process, table []documented.Metric) {
	t.Helper()
	var text string
	poll(t, p.Name+" has looked at its topics", patience(10*time.Second), func() (string, bool) {
		text = metrics(t, p)
		return text, strings.Contains(text, "parley_bus_lag_messages{")
	})
	types := map[string]string{}
	for line := range strings.Lines(text) {
		if name, ok := strings.CutPrefix(line, "# TYPE parley_"); ok {
			name, kind, _ := strings.Cut(strings.TrimSpace(name), " ")
			types["parley_"+name] = kind
		}
	}
	for name, kind := range types {
		i := slices.IndexFunc(table, func(m documented.Metric) bool { return m.Name == name })
		if i < 0 || table[i].Type != kind {
			t.Errorf("%s exports the %s %s, which docs/metrics.md does not have", p.Name, kind, name)
		}
		service := strings.Split(name, "_")[1]
		if own := slices.Contains(exportedBy[p.Kind], service); !own && !slices.Contains([]string{"bus", "build", "redis"}, service) {
			t.Errorf("%s exports %s", p.Name, name)
		}
	}
	for _, m := range table {
		service := strings.Split(m.Name, "_")[1]
		if len(m.Labels) == 0 && slices.Contains(exportedBy[p.Kind], service) && types[m.Name] == "" {
			t.Errorf("%s does not export %s", p.Name, m.Name)
		}
	}
	for _, want := range []string{"parley_bus_published_events_total", "parley_bus_publish_batch_events", "parley_build_info"} {
		if types[want] == "" {
			t.Errorf("%s does not export %s", p.Name, want)
		}
	}
	if strings.Contains(text, roomOf(t)) || strings.Contains(text, `"alice"`) {
		t.Errorf("the metrics of %s name a room or a user", p.Name)
	}
}
