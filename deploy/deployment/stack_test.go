package deployment

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/parley-chat/parley/deploy/cluster"
)

// TestStack brings the compose stack up where a Docker engine runs or can be started,
// and the same as processes of this machine where none can: two browsers and sixteen
// clients chat through the balancer while the edges are scaled up to four and down
// again, and every process is upgraded. Nothing is lost or doubled.
func TestStack(t *testing.T) {
	old := previous(t)
	e, err := findEngine(t)
	var c *containers
	if err == nil {
		c, err = newContainers(e, old)
	}
	if err != nil {
		t.Logf("no containers here, so the stack runs as processes of this machine: %v", err)
		t.Run("processes", func(t *testing.T) { stackOfProcesses(t, old) })
		return
	}
	t.Cleanup(func() { c.end(t) })
	t.Run("containers", func(t *testing.T) {
		c.t = t
		stackOfContainers(t, c)
	})
}

func stackOfProcesses(t *testing.T, old string) {
	c, dns, url := behind(t, 0)
	alice, bob := browsers(t, url)
	alice.tell(bob, "before")
	l := underLoad(t, url, nil)
	l.more(60)

	// Up to four edges, as `make scale SERVICE=ingress N=4`, and down again.
	for range 2 {
		p, err := c.Add("ingress")
		if err != nil {
			t.Fatal(err)
		}
		within(t, 30*time.Second, p.Start)
	}
	dns.set(1, 2, 3, 4)
	l.more(40)
	arrivals(t, url, c.Edges[2:])
	for _, p := range c.Edges[2:] {
		within(t, 40*time.Second, p.Stop)
	}
	dns.set(1, 2)
	l.more(40)

	// An upgrade from the version before, where it is known: these run it, one after the
	// other goes back to it and forward again.
	for _, p := range []*cluster.Process{c.Chats[0], c.Notifiers[0], c.Edges[0]} {
		upgrade(t, l, p, old)
	}
	for _, p := range c.Services() {
		upgrade(t, l, p, binaries)
	}
	l.finish()
	bob.tell(alice, "after")
	if l.moves() == 0 {
		t.Error("no connection moved, though every edge was drained")
	}
}

// upgrade ends the process as an orchestrator does, and starts another version.
func upgrade(t *testing.T, l *load, p *cluster.Process, bin string) {
	t.Helper()
	within(t, 40*time.Second, p.Stop)
	l.more(15)
	p.Use(bin)
	within(t, 40*time.Second, p.Start)
	l.more(15)
}

// arrivals waits until new connections reach all of the edges.
func arrivals(t *testing.T, url string, edges []*cluster.Process) {
	t.Helper()
	names := map[string]bool{}
	for _, p := range edges {
		names[p.Name] = true
	}
	eventually(t, "the balancer finds the new edges", 20*time.Second, func() error {
		m := &member{name: "arrival", room: "arrivals", acked: map[string]uint64{}, changed: make(chan struct{}, 1)}
		if err := m.connect(url, nil); err != nil {
			return err
		}
		node := m.client.Status().Node
		_ = m.client.Close()
		for name := range names {
			if strings.HasPrefix(node, name+"-") {
				delete(names, name)
			}
		}
		if len(names) > 0 {
			return fmt.Errorf("nobody came to %v yet", names)
		}
		return nil
	})
}

// previous are the services of the commit before this one, where the history is there;
// else those of this one.
func previous(t *testing.T) string {
	t.Helper()
	source, bin := t.TempDir(), t.TempDir()
	archive := exec.Command("sh", "-c", `git -C "$0" archive HEAD^ shared services | tar -x -C "$1"`, project, source)
	if out, err := archive.CombinedOutput(); err != nil || !has(source, "services/chat/go.mod") {
		t.Logf("no history here (%v %s): the version before is this one", err, strings.TrimSpace(string(out)))
		return binaries
	}
	if err := build(source, bin); err != nil {
		t.Logf("the commit before does not build: the version before is this one: %v", err)
		return binaries
	}
	return bin
}

func has(dir, path string) bool {
	_, err := os.Stat(filepath.Join(dir, path))
	return err == nil
}
