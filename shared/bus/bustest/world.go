package bustest

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/parley-chat/parley/shared/bus"
)

// partitions is P in the whole suite, since it is settled once per broker.
const partitions = 4

// leaseTTL is short, so that the suite is.
const leaseTTL = 1500 * time.Millisecond

// patience is how long something may take that is to happen soon.
const patience = 20 * time.Second

// said is the event of the tests.
type said struct {
	Key string `json:"key"`
	N   int    `json:"n"`
	Pad []byte `json:"pad,omitempty"`
}

// world is one test's corner of the broker: names that no other test uses.
type world struct {
	t    *testing.T
	h    Harness
	name string
}

func newWorld(t *testing.T, h Harness) *world {
	return &world{t: t, h: h, name: fmt.Sprintf("t%08x", rand.Uint32())}
}

// topic is the test's partitioned topic.
func (w *world) topic(groups ...string) bus.Topic[said] {
	if len(groups) == 0 {
		groups = []string{"readers"}
	}
	return bus.Topic[said]{Name: w.name, Groups: groups, Key: func(e said) string { return e.Key }}
}

// single is the test's unpartitioned topic.
func (w *world) single() bus.Topic[said] {
	return bus.Topic[said]{Name: w.name + ".single", Groups: []string{"readers"}}
}

func (w *world) backend() bus.Backend {
	b := w.h.New(w.t)
	w.t.Cleanup(func() { _ = b.Close() })
	return b
}

// replica is one process.
type replica struct {
	*bus.Bus
	t       *testing.T
	backend bus.Backend
	cancel  context.CancelFunc
	done    chan error
	stopped sync.Once
}

// replica makes a process on a backend of its own; wrap may put something around
// it, and change the configuration.
func (w *world) replica(wrap ...func(*bus.Backend, *bus.Config)) *replica {
	w.t.Helper()
	r := &replica{t: w.t, backend: w.backend()}
	cfg := bus.Config{
		Partitions: partitions, Name: fmt.Sprintf("%s.%08x", w.name, rand.Uint32()),
		LeaseTTL: leaseTTL, RetryLimit: 2, Repeat: 300 * time.Millisecond,
	}
	if os.Getenv("BUSTEST_LOG") != "" {
		cfg.Logger = slog.New(slog.NewTextHandler(os.Stderr, nil)).With("replica", cfg.Name)
	}
	for _, f := range wrap {
		f(&r.backend, &cfg)
	}
	b, err := bus.New(r.backend, cfg)
	if err != nil {
		w.t.Fatalf("bus.New: %v", err)
	}
	r.Bus = b
	w.t.Cleanup(func() {
		r.stop()
		_ = b.Close()
	})
	return r
}

// run starts Run.
func (r *replica) run() *replica {
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel, r.done = cancel, make(chan error, 1)
	go func() { r.done <- r.Run(ctx) }()
	return r
}

// stop ends it gracefully.
func (r *replica) stop() {
	r.stopped.Do(func() {
		if r.cancel == nil {
			return
		}
		r.cancel()
		select {
		case err := <-r.done:
			if err != nil {
				r.t.Errorf("Run: %v", err)
			}
		case <-time.After(patience):
			r.t.Errorf("Run does not end")
		}
	})
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-deadline.C:
			t.Fatalf("%s: not within %s", what, patience)
		case <-tick.C:
		}
	}
}

// never watches that something does not happen for a while.
func never(t *testing.T, d time.Duration, what string, cond func() bool) {
	t.Helper()
	deadline := time.NewTimer(d)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if cond() {
			t.Fatal(what)
		}
		select {
		case <-deadline.C:
			return
		case <-tick.C:
		}
	}
}

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
