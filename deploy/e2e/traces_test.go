package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/parley-chat/parley/deploy/cluster"
)

// TestOneTraceOverProcesses: what each process exports by the standard variables is
// one trace, from the sender's edge to both edges of the room.
func TestOneTraceOverProcesses(t *testing.T) {
	t.Parallel()
	c := start(t, cluster.Config{Ingress: 2, Chat: 1, Notifiers: 1, Env: []string{
		"OTEL_TRACES_EXPORTER=console", "OTEL_TRACES_SAMPLER=parentbased_always_on", "OTEL_BSP_SCHEDULE_DELAY=100"}})
	one, two := edges(c)
	room := roomOf(t)
	alice, bob := connect(t, one, "alice", hello{}), connect(t, two, "bob", hello{})
	alice.join(room)
	bob.join(room)
	alice.send(room, "c1", "hello")
	bob.awaitSeq(room, 1, patience(10*time.Second))

	want := []string{"ingress-1 ingress request", "chat-1 chat decide", "chat-1 chat append", "notifier-1 notifier route", "ingress-1 ingress deliver", "ingress-2 ingress deliver"}
	poll(t, "one trace of all hops", patience(20*time.Second), func() (string, bool) {
		traces := map[string]map[string]bool{} // id → hops
		for _, p := range c.Services() {
			for _, s := range spansOf(t, p) {
				if traces[s.SpanContext.TraceID] == nil {
					traces[s.SpanContext.TraceID] = map[string]bool{}
				}
				traces[s.SpanContext.TraceID][p.Name+" "+s.Name] = true
			}
		}
		for _, hops := range traces {
			whole := true
			for _, hop := range want {
				whole = whole && hops[hop]
			}
			if whole {
				return "", true
			}
		}
		return fmt.Sprint(traces), false
	})
}

type span struct {
	Name        string
	SpanContext struct{ TraceID string }
}

// spansOf reads the spans that a process wrote to its log.
func spansOf(t *testing.T, p *cluster.Process) (all []span) {
	t.Helper()
	f, err := os.Open(p.LogFile)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var s span
		if strings.HasPrefix(lines.Text(), `{"Name":`) && json.Unmarshal(lines.Bytes(), &s) == nil {
			all = append(all, s)
		}
	}
	return all
}
