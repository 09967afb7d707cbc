// Package chat is the service that owns the rooms: who may do what, the order of
// a room's entries, which sends are repeats, the durable log and its history. It
// reads commands and says everything it has to say as events; where anybody is
// connected it does not know.
//
//	commands-NN ──▶ partition NN: decide (room) ─▶ append (store) ─▶ publish ─▶ acknowledge ──▶ events-NN
//	                         └──── reads ────▶ page workers ──────────▶ publish ─────────────▶
package chat

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"github.com/parley-chat/parley/services/chat/internal/room"
	"github.com/parley-chat/parley/services/chat/internal/store"
	"github.com/parley-chat/parley/shared/bus"
	"github.com/parley-chat/parley/shared/event"
	"github.com/parley-chat/parley/shared/process"
	"github.com/parley-chat/parley/shared/status"
	"github.com/parley-chat/parley/shared/topic"
	"github.com/parley-chat/parley/shared/tracing"
)

// Config is chat's own part of the settings. A field that is zero has its default.
type Config struct {
	Durability     string        `default:"fast" enum:"fast,replicated,fsync" help:"What an acknowledgement means: fast, the store took it; replicated, one replica of Redis has it as well; fsync, it is on disk."`
	RetentionCount int           `default:"10000" min:"1" max:"10000000" help:"Entries kept of a room."`
	RetentionAge   time.Duration `default:"720h" min:"1m" help:"How long entries are kept. A room's newest entry stays."`
	DedupeEntries  int           `default:"1000" min:"1000" max:"1000000" help:"Newest sends of a room that are recognised when they are repeated, at least."`
	DedupeAge      time.Duration `default:"10m" min:"10m" help:"For how long sends are recognised when they are repeated, at least."`
	RoomsCached    int           `default:"10000" min:"8" help:"Rooms held in memory, the least used first to go."`
	RoomsBytes     int64         `default:"134217728" min:"1048576" help:"Memory for rooms, in bytes; mostly for recognising repeated sends."`
	PageWorkers    int           `default:"2" min:"1" max:"64" help:"How many read pages of history at once, per partition; each takes up to 16."`
	PageQueue      int           `default:"256" min:"1" max:"65536" help:"Requests for pages that may wait, per partition; above it they are refused."`
}

func (c Config) withDefaults() Config {
	standard(&c.RetentionCount, 10_000)
	standard(&c.RetentionAge, 720*time.Hour)
	standard(&c.DedupeEntries, 1000)
	standard(&c.DedupeAge, 10*time.Minute)
	standard(&c.RoomsCached, 10_000)
	standard(&c.RoomsBytes, 128<<20)
	standard(&c.PageWorkers, 2)
	standard(&c.PageQueue, 256)
	return c
}

func standard[N int | int64 | time.Duration](field *N, value N) {
	if *field <= 0 {
		*field = value
	}
}

// Options are what a Service is given besides its settings.
type Options struct {
	Store    string                // URL: memory:// or one of Redis
	Bus      string                // URL of the bus, for telling whether the store fits it
	Prefix   string                // in front of every key in the store; empty: parley
	Logger   *slog.Logger          // nil: nothing is logged
	Registry prometheus.Registerer // nil: no metrics
	Traces   trace.TracerProvider  // nil: no traces
	// SharedBus: somebody else runs the bus, for more services than this one.
	SharedBus bool
	Status    time.Duration // how often its measures are said for status boards; 0: never
}

// Service is chat. Its methods are safe for concurrent use.
type Service struct {
	cfg     Config
	limits  room.Limits
	bus     *bus.Bus
	shared  bool
	status  time.Duration
	store   *store.Store
	log     *slog.Logger
	metrics *metrics
	tracer  *tracing.Tracer
	settled chan struct{} // closed when the store agreed to the number of partitions
	over    chan struct{} // closed when Run ends

	counts counts

	mu      sync.Mutex
	ending  bool
	waiting map[int]struct{} // partitions whose log has failed
	holding sync.WaitGroup   // partitions open; added to under mu while not ending
}

// New registers chat with the bus, whose Run must not have been called. The bus
// stays the caller's to close; Run must be called once.
func New(cfg Config, b *bus.Bus, o Options) (*Service, error) {
	cfg = cfg.withDefaults()
	if o.Prefix == "" {
		o.Prefix = "parley"
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if strings.HasPrefix(o.Store, store.Memory) && !strings.HasPrefix(o.Bus, store.Memory) {
		return nil, fmt.Errorf("PARLEY_STORE is memory:// and PARLEY_BUS is not (%s): after a restart the bus would still hold commands, and clients cursors, of logs that are gone; give PARLEY_STORE the address of a Redis", process.URL(o.Bus))
	}
	logs, err := store.Open(o.Store, o.Prefix, store.Durability(cfg.Durability), o.Registry)
	if errors.Is(err, store.ErrDurability) {
		err = &process.ConfigError{Err: err}
	}
	if err != nil {
		return nil, err
	}
	m, err := newMetrics(o.Registry)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("chat metrics: %w", err), logs.Close())
	}
	s := &Service{
		cfg:    cfg,
		limits: room.Limits{Keep: cfg.RetentionCount, DedupeEntries: cfg.DedupeEntries, DedupeAge: cfg.DedupeAge},
		bus:    b, shared: o.SharedBus, status: o.Status, store: logs, log: o.Logger, metrics: m, tracer: tracing.New(o.Traces, "chat"),
		settled: make(chan struct{}), over: make(chan struct{}), waiting: map[int]struct{}{},
	}
	bus.Own(b, topic.Commands(), topic.Chat, func(ctx context.Context, p bus.Partition) (bus.Consumer[event.Command], error) {
		return s.open(ctx, p)
	})
	return s, nil
}

// Run settles the number of partitions with the store, waiting for it as long as
// that takes, and runs the bus until ctx ends and every partition is given up. It
// ends with an error for what waiting cannot heal: a store made for another
// number. With SharedBus it returns when ctx has ended and whoever runs the bus has
// given the partitions up.
func (s *Service) Run(ctx context.Context) error {
	defer s.end()
	if err := s.settle(ctx); err != nil {
		return err
	}
	var beside sync.WaitGroup
	defer beside.Wait()
	beside.Go(func() {
		status.Run(ctx, status.Config{Bus: s.bus, Service: "chat", Group: topic.Chat, Every: s.status, Fill: s.measure, Logger: s.log})
	})
	if !s.shared {
		return s.bus.Run(ctx)
	}
	<-ctx.Done()
	return nil
}

func (s *Service) settle(ctx context.Context) error {
	wait := time.NewTicker(time.Second)
	defer wait.Stop()
	for {
		err := s.trySettle(ctx)
		switch {
		case err == nil:
			close(s.settled)
			return nil
		case errors.Is(err, store.ErrDurability):
			return &process.ConfigError{Err: err}
		case !errors.Is(err, store.ErrUnavailable):
			return err
		case ctx.Err() != nil:
			return nil
		}
		s.log.Warn("waiting for the store", "err", err)
		select {
		case <-ctx.Done():
			return nil
		case <-wait.C:
		}
	}
}

func (s *Service) trySettle(ctx context.Context) error {
	if err := s.store.Settle(ctx, s.bus.Partitions()); err != nil {
		return err
	}
	concerns, err := s.store.Verify(ctx)
	for _, concern := range concerns {
		s.log.Warn("the store is not set up to keep what is promised", "why", concern)
	}
	return err
}

// Health asks the store for something small; an error says why this chat cannot
// work. It takes a second at most.
func (s *Service) Health() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return s.store.Settle(ctx, s.bus.Partitions())
}

// end waits until no partition is open, and closes the store.
func (s *Service) end() {
	s.mu.Lock()
	s.ending = true
	s.mu.Unlock()
	close(s.over)
	s.holding.Wait()
	if err := s.store.Close(); err != nil {
		s.log.Warn("close the store", "err", err)
	}
	s.metrics.unregister()
}

// hold notes that a partition is being opened; false when the service is ending.
func (s *Service) hold() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ending {
		s.holding.Add(1)
	}
	return !s.ending
}
