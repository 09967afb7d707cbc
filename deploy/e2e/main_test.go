// Package e2e has scripted users speak the protocol with real processes: two of
// each service on a redis-server of their own, and the standalone program. What
// depends on the broker runs on a Redis, on NATS and on a Redis Cluster of six; with
// BROKER set to one of redis, nats and redis-cluster, everything runs on that one.
// The binaries are built with the race detector, and what it reports in their logs
// fails the run.
package e2e

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/parley-chat/parley/deploy/cluster"
	"github.com/parley-chat/parley/deploy/parley"
)

var binaries string

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == parley.Worker { // started by a test of parley bench
		os.Exit(parley.Run(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if chosen := os.Getenv("BROKER"); chosen != "" && !slices.Contains(brokers, chosen) {
		fmt.Fprintf(os.Stderr, "BROKER is %q: want one of %s\n", chosen, strings.Join(brokers, ", "))
		return 1
	}
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
	"PARLEY_RATE=0", "PARLEY_ADDRESS_RATE=0", "PARLEY_ADDRESS_OPEN=0", "PARLEY_USER_SESSIONS=1000", "PARLEY_DRAIN=0s", "PARLEY_SEND_WAIT=0s",
}

// brokers are what the services can stand on.
var brokers = []string{"redis", "nats", "redis-cluster"}

// onEachBroker runs the test on each broker, or on the one that BROKER names, beside
// other tests.
func onEachBroker(t *testing.T, test func(t *testing.T, on cluster.Config)) {
	t.Parallel()
	chosen := os.Getenv("BROKER")
	for _, broker := range brokers {
		if chosen == "" || chosen == broker {
			t.Run(broker, func(t *testing.T) {
				t.Parallel()
				test(t, on(broker))
			})
		}
	}
}

// on is a cluster on the broker.
func on(broker string) cluster.Config {
	return cluster.Config{NATS: broker == "nats", RedisCluster: broker == "redis-cluster"}
}

// start runs a cluster for the test, and looks into its logs at the end. Unless cfg
// says what it stands on, that is the broker that BROKER names, else a Redis.
func start(t *testing.T, cfg cluster.Config) *cluster.Cluster {
	t.Helper()
	if !cfg.Standalone && !cfg.NATS && !cfg.RedisCluster {
		chosen := on(os.Getenv("BROKER"))
		cfg.NATS, cfg.RedisCluster = chosen.NATS, chosen.RedisCluster
	}
	cfg.Data = inMemory(t)
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

// inMemory is a folder of the test's own in memory where the system has that and it is
// large, for brokers that would else wait for one disk most of the time: they sync every
// write. Killed processes leave their files there as on a disk.
func inMemory(t *testing.T) string {
	const memory, enough = "/dev/shm", 2 << 30
	var space unix.Statfs_t
	if err := unix.Statfs(memory, &space); err != nil || space.Bavail*uint64(space.Bsize) < enough {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp(memory, "parley-e2e-")
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
