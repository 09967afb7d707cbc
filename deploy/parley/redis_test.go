package parley

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/parley-chat/parley/shared/redistest"
)

// examined is doctor's report about a server with these arguments.
func examined(t *testing.T, scheme string, args ...string) map[string]check {
	t.Helper()
	server := redistest.Start(t, redistest.Options{Args: args})
	if strings.Contains(scheme, "cluster") {
		client := server.Client()
		if err := client.ClusterAddSlotsRange(t.Context(), 0, 16383).Err(); err != nil {
			t.Fatal(err)
		}
		deadline := time.Now().Add(time.Minute)
		for !strings.Contains(client.ClusterInfo(t.Context()).Val(), "cluster_state:ok") {
			if time.Now().After(deadline) {
				t.Fatal("the cluster is not up")
			}
		}
	}
	var out, errs bytes.Buffer
	code := Run(t.Context(), []string{"doctor", "--json", "--timeout=30s", "--bus=" + scheme + "://" + server.Addr}, &out, &errs)
	var r report
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatalf("exit code %d: %v\n%s%s", code, err, out.String(), errs.String())
	}
	if failed := code == ExitFailure; failed != r.failed() {
		t.Errorf("exit code %d for %+v", code, r)
	}
	byTopic := map[string]check{}
	for _, c := range r {
		about := strings.Fields(c.About)
		byTopic[about[len(about)-1]] = c
	}
	return byTopic
}

func TestDoctorExaminesRedis(t *testing.T) {
	for name, c := range map[string]struct {
		scheme string
		args   []string
		about  string
		level  string
		says   string
	}{
		"good":              {"redis", nil, "durability", ok, "appendfsync always"},
		"version":           {"redis", nil, "version", ok, "7."},
		"latency":           {"redis", nil, "latency", "", "median"},
		"clock":             {"redis", nil, "clock", ok, "ms from here"},
		"never started":     {"redis", nil, "partitions", warn, "no service has ever started"},
		"no file":           {"redis", []string{"--appendonly", "no"}, "durability", fail, "appendonly is off"},
		"once a second":     {"redis", []string{"--appendfsync", "everysec"}, "durability", warn, "everysec"},
		"when it pleases":   {"redis", []string{"--appendfsync", "no"}, "durability", fail, "appendfsync no"},
		"evicts":            {"redis", []string{"--maxmemory-policy", "volatile-lru"}, "eviction", fail, "volatile-lru"},
		"no limit":          {"redis", nil, "memory", warn, "no limit"},
		"limit":             {"redis", []string{"--maxmemory", "100mb"}, "memory", ok, "of 100.0 MiB"},
		"nearly full":       {"redis", []string{"--maxmemory", "1mb"}, "memory", warn, "of 1.0 MiB"},
		"master of cluster": {"redis+cluster", []string{"--cluster-enabled", "yes"}, "durability", ok, "appendfsync always"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := examined(t, c.scheme, c.args...)[c.about]
			if c.level != "" && got.Level != c.level || !strings.Contains(got.Found, c.says) {
				t.Errorf("%s: %+v, want %s with %q", c.about, got, c.level, c.says)
			}
			if (got.Level == ok) != (got.Change == "") {
				t.Errorf("%s: %+v says what to change, or does not", c.about, got)
			}
		})
	}
}
