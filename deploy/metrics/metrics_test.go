package metrics

import (
	"bytes"
	"flag"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/parley-chat/parley/services/chat"
	"github.com/parley-chat/parley/services/ingress"
	"github.com/parley-chat/parley/services/notifier"
	"github.com/parley-chat/parley/shared/bus"
	"github.com/parley-chat/parley/shared/bus/backend"
)

var update = flag.Bool("update", false, "write the table anew")

const table = "../../docs/metrics.md"

func TestTableIsThatOfTheCode(t *testing.T) {
	all := exported(t)
	var want bytes.Buffer
	Write(&want, all)
	if *update {
		if err := os.WriteFile(table, want.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(table)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, want.Bytes()) {
		t.Error("docs/metrics.md says something else than the code; write it anew: cd deploy && go test ./metrics -update")
	}
	read, err := Read(bytes.NewReader(have))
	if err != nil || len(read) != len(all) {
		t.Errorf("%d rows of %d can be read: %v", len(read), len(all), err)
	}
}

// Names as operators expect them, and nothing that names people or rooms.
func TestNames(t *testing.T) {
	form := regexp.MustCompile(`^parley_(build|bus|chat|ingress|notifier|redis)_[a-z]+(_[a-z]+)*$`)
	for _, m := range exported(t) {
		switch {
		case !form.MatchString(m.Name):
			t.Errorf("%s is no name", m.Name)
		case m.Type == "unknown":
			t.Errorf("%s is of an unknown type", m.Name)
		case (m.Type == "counter") != strings.HasSuffix(m.Name, "_total"):
			t.Errorf("%s is a %s", m.Name, m.Type)
		case m.Type == "histogram" && !regexp.MustCompile(`_(seconds|bytes|entries|events)$`).MatchString(m.Name):
			t.Errorf("%s has no unit", m.Name)
		case !strings.HasSuffix(m.Help, "."):
			t.Errorf("%s: %q is no sentence", m.Name, m.Help)
		}
		for _, l := range m.Labels {
			if slices.Contains([]string{"user", "room", "session", "node", "cid"}, l) {
				t.Errorf("%s has the label %s, which has no bound", m.Name, l)
			}
		}
	}
}

// exported has every service register what it exports. Nothing runs, and no broker
// is there.
func exported(t *testing.T) []Metric {
	t.Helper()
	r := &recorder{Registry: prometheus.NewRegistry()}
	const nowhere = "redis://127.0.0.1:1/0"
	broker, err := backend.Open(t.Context(), nowhere, backend.Options{Prefix: "parley", Name: "metrics", Registry: r})
	if err != nil {
		t.Fatal(err)
	}
	defer broker.Close()
	b, err := bus.New(broker, bus.Config{Partitions: 8, Name: "metrics-1", Registry: r})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if _, err := chat.New(chat.Config{}, b, chat.Options{Store: nowhere, Bus: nowhere, Registry: r}); err != nil {
		t.Fatal(err)
	}
	if _, err := notifier.New(notifier.Config{}, b, notifier.Options{Store: nowhere, Registry: r}); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cfg := ingress.Config{Listen: "127.0.0.1:0"}
	cfg.Auth, cfg.FrameBytes, cfg.BodyBytes = "dev", 1<<16, 1<<15
	if _, err := ingress.New(cfg, b, ingress.Options{Node: "metrics", Listener: l, Registry: r}); err != nil {
		t.Fatal(err)
	}
	if r.err != nil {
		t.Fatal(r.err)
	}
	// The process package's own, which every program has.
	return append(r.metrics, Metric{"parley_build_info", "gauge", []string{"service", "version"}, "Always 1; the labels say which program in which version this is."})
}
