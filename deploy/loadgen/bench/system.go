// Package bench measures Parley whole: it starts clusters and the hand-written
// baseline on this machine, each fresh for each measurement, puts them under the
// load of package loadgen in turn, and writes docs/performance.md from what it
// finds.
package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/parley-chat/parley/deploy/cluster"
	"github.com/parley-chat/parley/deploy/loadgen"
)

// unlimited are the only settings that differ from the shipped defaults: limits of
// rates and handshakes, which all virtual users share one address for. An edge that
// ends does not wait for its users.
var unlimited = []string{
	"PARLEY_RATE=0", "PARLEY_ADDRESS_RATE=0", "PARLEY_ADDRESS_OPEN=0", "PARLEY_USER_SESSIONS=1000",
	"PARLEY_HANDSHAKES=0", "PARLEY_UNADMITTED=0", "PARLEY_DRAIN=0s",
}

// System is one way to run a server.
type System struct {
	Name    string
	dialect string
	config  cluster.Config
}

// Parley is the three services, two of each, on a Redis that answers when it is on
// disk; edges: how many.
func Parley(edges int) System {
	return System{Name: "parley", config: cluster.Config{Ingress: edges, Chat: 2, Notifiers: 2, Env: unlimited}}
}

// Stock is Parley with Watermill's own Redis subscriber.
func Stock() System {
	s := Parley(2)
	s.Name, s.config.BusQuery = "parley, stock driver", "driver=stock"
	return s
}

// Standalone is the one program without a Redis.
func Standalone() System {
	return System{Name: "standalone", config: cluster.Config{Standalone: true, Env: unlimited}}
}

// Baseline is the hand-written server, two processes on a Redis as above.
func Baseline(durable bool) System {
	s := System{Name: "baseline", dialect: "baseline", config: cluster.Config{Baselines: 2, Durable: durable}}
	if durable {
		s.Name = "baseline, durable"
	}
	return s
}

// With is the system with further settings, NAME=value.
func (s System) With(env ...string) System {
	s.config.Env = append(append([]string(nil), s.config.Env...), env...)
	return s
}

// Programs is where the binaries are and what runs them.
type Programs struct {
	Bin      string // folder with ingress, chat, notifier, standalone, baseline
	Worker   []string
	Progress *os.File // nil: none
}

// run starts the system, has fn use it, and ends it.
func (p Programs) run(ctx context.Context, s System, fn func(loadgen.Target) error) (err error) {
	dir, err := os.MkdirTemp("", "parley-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	cfg := s.config
	cfg.Bin, cfg.Dir = p.Bin, dir
	c, err := cluster.New(cfg)
	if err != nil {
		return err
	}
	defer func() {
		stopping, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if stopErr := c.Stop(stopping); err == nil && stopErr != nil {
			err = fmt.Errorf("stop %s: %w", s.Name, stopErr)
		}
	}()
	if err := start(ctx, c.Start); err != nil {
		return fmt.Errorf("start %s: %w", s.Name, err)
	}
	return fn(target(s, c))
}

func start(ctx context.Context, fn func(context.Context) error) error {
	starting, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return fn(starting)
}

func target(s System, c *cluster.Cluster) loadgen.Target {
	t := loadgen.Target{
		Name: s.Name, Dialect: s.dialect,
		Processes: func() map[string]int {
			pids := map[string]int{}
			for _, p := range c.All() {
				pids[p.Name] = p.PID()
			}
			return pids
		},
	}
	for _, p := range c.Edges {
		t.URLs = append(t.URLs, p.URL)
	}
	if c.Redis != nil { // what is stored outlives the services
		t.Restart = func(ctx context.Context) error { return restart(ctx, c) }
	}
	return t
}

// restart ends all services and starts them again.
func restart(ctx context.Context, c *cluster.Cluster) error {
	return start(ctx, func(ctx context.Context) error {
		for _, p := range c.Services() {
			if err := p.Stop(ctx); err != nil {
				return err
			}
		}
		errs := make(chan error)
		for _, p := range c.Services() {
			go func() { errs <- p.Start(ctx) }()
		}
		var err error
		for range c.Services() {
			err = errors.Join(err, <-errs)
		}
		return err
	})
}

// Measure runs one scenario against a fresh system.
func (p Programs) Measure(ctx context.Context, s System, scenario loadgen.Scenario) (r loadgen.Report, err error) {
	err = p.run(ctx, s, func(t loadgen.Target) error {
		var err error
		r, err = loadgen.Run(ctx, p.options(t, scenario))
		return err
	})
	if err != nil {
		return r, fmt.Errorf("%s, scenario %s: %w", s.Name, scenario.Name, err)
	}
	return r, nil
}

func (p Programs) options(t loadgen.Target, s loadgen.Scenario) loadgen.Options {
	o := loadgen.Options{Target: t, Scenario: s, Worker: p.Worker}
	if p.Progress != nil { // a nil *os.File in an interface is not nil
		o.Progress = p.Progress
	}
	return o
}
