package bus

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/parley-chat/parley/shared/beat"
)

// Bus joins a backend to the writers and readers of one process. It is safe for
// concurrent use.
type Bus struct {
	backend Backend
	cfg     Config
	log     *slog.Logger
	metrics *metrics
	started time.Time // the zero of clock
	depths  *depths
	probe   *probe
	alarm   *alarm
	ensured sync.Map // names of topics that this process has made

	stop context.CancelFunc // ends the goroutines that New started
	done sync.WaitGroup

	mu            sync.Mutex
	registrations []registration
	misuse        error // of Own or Handle, told by Run
	running       bool
	writers       map[*Writer]struct{}
	held          map[Held]struct{}
}

// New makes a bus on the backend, which stays the caller's: it is closed after
// the bus. Close must be called.
func New(backend Backend, cfg Config) (*Bus, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	b := &Bus{
		backend: backend, cfg: cfg, log: cfg.Logger,
		started: time.Now(),
		depths:  newDepths(),
		probe:   &probe{},
		alarm:   newAlarm(),
		writers: map[*Writer]struct{}{},
		held:    map[Held]struct{}{},
	}
	if b.metrics, err = newMetrics(cfg.Registry); err != nil {
		return nil, fmt.Errorf("bus metrics: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	b.stop = cancel
	b.done.Go(func() { b.every(ctx, min(time.Second, cfg.Repeat/3), b.repeatAll) })
	b.done.Go(func() { b.every(ctx, time.Second, func() { b.sampleDepths(ctx) }) })
	return b, nil
}

// Partitions is P.
func (b *Bus) Partitions() int { return b.cfg.Partitions }

// Run runs everything that Own and Handle registered, and the readiness probe.
// First it settles P, waiting for the broker as long as that takes. When ctx ends
// it finishes the batches in hand, closes the subscriptions' clients, releases the
// leases, and returns nil. It ends with an error only for what waiting cannot
// heal: a broker that was set up with another P, or a wrong registration.
func (b *Bus) Run(ctx context.Context) error {
	b.mu.Lock()
	registrations, misuse := b.registrations, b.misuse
	b.running = true
	b.mu.Unlock()
	if misuse != nil {
		return misuse
	}
	if err := b.settleFirst(ctx); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, r := range registrations {
		group.Go(func() error { return newOwner(b, r).run(ctx) })
	}
	group.Go(func() error { return b.runProbe(ctx) })
	return group.Wait()
}

// Close waits until what the writers hold is published or has failed (at most
// PublishTimeout), and ends them. Run must have returned.
func (b *Bus) Close() error {
	b.mu.Lock()
	writers := make([]*Writer, 0, len(b.writers))
	for w := range b.writers {
		writers = append(writers, w)
	}
	b.mu.Unlock()
	var closing sync.WaitGroup
	for _, w := range writers {
		closing.Go(w.Close)
	}
	closing.Wait()
	b.stop()
	b.done.Wait()
	return nil
}

// settleFirst writes P down at the first start, or checks it.
func (b *Bus) settleFirst(ctx context.Context) error {
	wait := newBackoff(100*time.Millisecond, 2*time.Second)
	for ctx.Err() == nil {
		differs, err := b.settle(ctx)
		if err == nil || differs {
			return err
		}
		if ctx.Err() == nil {
			b.log.Warn("waiting for the broker", "err", err)
		}
		wait.sleep(ctx)
	}
	return nil
}

// settle checks P; differs tells that another one is in force.
func (b *Bus) settle(ctx context.Context) (differs bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	want := strconv.Itoa(b.cfg.Partitions)
	have, err := b.backend.Settle(ctx, "partitions", want)
	if err != nil {
		return false, fmt.Errorf("settle the number of partitions: %w", err)
	}
	if have != want {
		return true, fmt.Errorf("PARLEY_PARTITIONS is %s here, but %s was settled at the first start of this installation: "+
			"use %s (changing it needs an offline copy)", want, have, have)
	}
	return false, nil
}

// callTimeout bounds one call of the broker that is not a publish.
const callTimeout = 2 * time.Second

// clock is the time since the bus was made, by the monotonic clock, which goes on
// while the process is stopped.
func (b *Bus) clock() time.Duration { return time.Since(b.started) }

// every calls do with each beat of d until ctx ends.
func (b *Bus) every(ctx context.Context, d time.Duration, do func()) {
	tick := beat.NewTicker(d)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			do()
			tick.Again()
		}
	}
}
