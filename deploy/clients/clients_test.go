// Package clients has the JavaScript client speak to a real server: its examples,
// all of them, under Node. The Go client does so in every end-to-end test.
package clients

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/parley-chat/parley/deploy/cluster"
)

const folder = "../../services/ingress/web/client"

func TestExamplesOfTheJavaScriptClient(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		t.Fatal("node is not installed: `scripts/need` installs it, or names what is missing")
	}
	dir := t.TempDir()
	if err := cluster.Build(t.Context(), dir, true); err != nil {
		t.Fatal(err)
	}
	c, err := cluster.New(cluster.Config{Bin: dir, Dir: dir, Standalone: true, Env: []string{"PARLEY_DRAIN=0s"}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	if err := c.Start(ctx); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := c.Stop(context.WithoutCancel(ctx)); err != nil {
			t.Error(err)
		}
		for _, p := range c.Services() {
			if faults, err := p.Faults(); err != nil || len(faults) > 0 {
				t.Errorf("%s: %v\n%s", p.Name, err, strings.Join(faults, "\n"))
			}
		}
	}()
	// Before Node 22 a flag has the WebSocket that later ones just have.
	cmd := exec.CommandContext(ctx, node, "--experimental-websocket", "--test", "--test-reporter=tap", "--test-timeout=60000", "test/examples.test.js")
	cmd.Dir = folder
	cmd.Env = append(os.Environ(), "PARLEY_URL="+c.Edges[0].URL, "NO_COLOR=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if text := string(out); !strings.Contains(text, "# skipped 0") {
		t.Errorf("examples were skipped:\n%s", text)
	}
}
