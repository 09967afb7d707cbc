// Package deployment runs what an operator deploys: the shipped configurations of
// nginx and HAProxy, of Redis with a user per service and TLS, the services built as
// for their images, scaled and upgraded under load, alone and in any order. Where a
// Docker engine runs, the compose stack itself; where none does, the same as
// processes of this machine.
package deployment

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/parley-chat/parley/deploy/cluster"
)

var (
	binaries string // the services, built as for an image
	project  string // the root of the project
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "parley-deployment-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if project, err = filepath.Abs("../.."); err == nil {
		binaries, err = dir, build(project, dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// build builds the services of the project at root as `make images BASE=local` does.
func build(root, dir string) error {
	for _, service := range []string{"ingress", "chat", "notifier"} {
		cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", dir+string(filepath.Separator), "./cmd/"+service)
		cmd.Dir = filepath.Join(root, "services", service)
		cmd.Env = append(os.Environ(), "GOWORK=off", "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w\n%s", service, err, out)
		}
	}
	return nil
}

// patience is a deadline that tests wait for: three times as long where the machine
// is shared with others.
func patience(d time.Duration) time.Duration {
	if os.Getenv("CI") != "" {
		return 3 * d
	}
	return d
}

// start starts two of each service behind brokers, and looks into their logs at the end.
func start(t *testing.T, cfg cluster.Config) *cluster.Cluster {
	t.Helper()
	c := prepare(t, cfg)
	within(t, 60*time.Second, c.Start)
	return c
}

// prepare is start without starting.
func prepare(t *testing.T, cfg cluster.Config) *cluster.Cluster {
	t.Helper()
	cfg.Bin, cfg.Dir = binaries, t.TempDir()
	if cfg.Ingress == 0 {
		cfg.Ingress, cfg.Chat, cfg.Notifiers = 2, 2, 2
	}
	c, err := cluster.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience(30*time.Second))
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
				t.Logf("end of the log of %s:\n%s", p.Name, p.Tail(2000))
			}
		}
	})
	return c
}

// within fails the test when fn fails or takes longer.
func within(t *testing.T, d time.Duration, fn func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience(d))
	defer cancel()
	if err := fn(ctx); err != nil {
		t.Fatal(err)
	}
}

// eventually waits until holds returns nil.
func eventually(t *testing.T, what string, d time.Duration, holds func() error) {
	t.Helper()
	deadline := time.After(patience(d))
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := holds()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within %s: %s: %v", patience(d), what, err)
		}
	}
}

// program starts a process that is none of Parley's, and ends it with the test.
func program(t *testing.T, p cluster.Program) *cluster.Process {
	t.Helper()
	process, err := p.Process()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience(10*time.Second))
		defer cancel()
		_ = process.Stop(ctx) // its exit code says nothing after a signal
		if t.Failed() {
			t.Logf("end of the log of %s:\n%s", process.Name, process.Tail(3000))
		}
	})
	within(t, 20*time.Second, process.Start)
	return process
}

// contains is an error unless the process has written all of these.
func contains(p *cluster.Process, texts ...string) error {
	log := p.Tail(1 << 20)
	for _, text := range texts {
		if !strings.Contains(log, text) {
			return errors.New("the log of " + p.Name + " lacks " + text + ":\n" + p.Tail(1500))
		}
	}
	return nil
}
