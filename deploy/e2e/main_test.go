// Package e2e has scripted users speak the protocol with real processes: two of
// each service on a redis-server of their own, the same on NATS, and the
// standalone program. The binaries are built with the race detector, and what it
// reports in their logs fails the run.
package e2e

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/parley-chat/parley/deploy/cluster"
)

var binaries string

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "parley-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if err := cluster.Build(context.Background(), dir, true); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	binaries = dir
	return m.Run()
}

// unlimited are the settings of tests whose subject is not a limit.
var unlimited = []string{
	"PARLEY_RATE=0", "PARLEY_ADDRESS_RATE=0", "PARLEY_ADDRESS_OPEN=0", "PARLEY_USER_SESSIONS=1000", "PARLEY_DRAIN=0s",
}

// start runs a cluster for the test, and looks into its logs at the end.
func start(t *testing.T, cfg cluster.Config) *cluster.Cluster {
	t.Helper()
	cfg.Bin, cfg.Dir = binaries, t.TempDir()
	cfg.Env = append(append([]string(nil), unlimited...), cfg.Env...)
	if !cfg.Standalone && cfg.Ingress == 0 {
		cfg.Ingress, cfg.Chat, cfg.Notifiers = 2, 2, 2
	}
	c, err := cluster.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience(20*time.Second))
		defer cancel()
		if err := c.Stop(ctx); err != nil && !t.Failed() {
			t.Errorf("stop: %v", err)
		}
		for _, p := range c.Services() {
			faults, err := p.Faults()
			if err != nil {
				t.Error(err)
			}
			for _, f := range faults {
				t.Errorf("%s wrote:\n%s", p.Name, f)
			}
			if t.Failed() {
				t.Logf("end of the log of %s:\n%s", p.Name, p.Tail(3000))
			}
		}
	})
	ctx, cancel := context.WithTimeout(context.Background(), patience(60*time.Second))
	defer cancel()
	if err := c.Start(ctx); err != nil {
		t.Fatal(err)
	}
	return c
}

// inMemory is a folder of the test's own in memory where the system has that, for
// tests of six servers that would else wait for one disk most of the time. Killed
// processes leave their files there as on a disk.
func inMemory(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "parley-e2e-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// edges are the addresses of two edges; the standalone's one counts twice.
func edges(c *cluster.Cluster) (one, two string) {
	return c.Edges[0].URL, c.Edges[len(c.Edges)-1].URL
}

// roomOf is a room of the test's own.
func roomOf(t *testing.T) string {
	return strings.NewReplacer("/", ".", "#", "-").Replace(t.Name())
}
