// Package notifier is the service that knows who is connected where: it turns
// each event into deliveries for the edges concerned, and keeps presence. It
// owns no log and waits for no edge.
//
//	            events-NN                          deliveries-<node>
//	chat ──────────────────▶ partition (handlers.go) ───────────────▶ ingress
//	                          │ presence: rows, what to tell
//	     looks at the nodes ──┤ (watch.go)
//	     ticks ───────────────┤
//	                          └──▶ registry (project.go)
package notifier

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"github.com/parley-chat/parley/shared/beat"
	"github.com/parley-chat/parley/shared/bus"
	"github.com/parley-chat/parley/shared/event"
	"github.com/parley-chat/parley/shared/status"
	"github.com/parley-chat/parley/shared/topic"
	"github.com/parley-chat/parley/shared/tracing"

	"github.com/parley-chat/parley/services/notifier/internal/presence"
	"github.com/parley-chat/parley/services/notifier/internal/registry"
)

// Config is the notifier's settings. Zero values mean the defaults.
type Config struct {
	UserSessions  int           `default:"20" min:"1" max:"10000" help:"Sessions a user may have at a time; the one that is too many is closed."`
	PresenceLarge int           `default:"200" min:"1" max:"10000" help:"Rooms with more members than this are told how many there are, not who came and went."`
	PresenceHold  time.Duration `default:"10s" min:"1s" max:"60s" help:"How long a session whose connection broke stays present, so that it can resume."`
}

// Options is what a notifier is given besides its settings.
type Options struct {
	Store    string                // URL of the registry's store: memory:// or one of Redis
	Prefix   string                // in front of every key in the store; empty: parley
	Logger   *slog.Logger          // nil: nothing is logged
	Registry prometheus.Registerer // nil: no metrics
	Traces   trace.TracerProvider  // nil: no traces
	// SharedBus: somebody else runs the bus, for more services than this one.
	SharedBus bool
	Status    time.Duration // how often its measures are said for status boards; 0: never
}

// projection is what the notifier needs of the registry.
type projection interface {
	Replace(ctx context.Context, o registry.Owner, users []presence.User) error
	Count(ctx context.Context, o registry.Owner, sessions map[event.NodeID]int) error
	Find(ctx context.Context, partition int, users []event.UserID) ([][]presence.Session, error)
	Close() error
}

// tickEvery is how often what is due by time is done: presence waits so long on
// top of its second.
const tickEvery = 250 * time.Millisecond

// closeTimeout is how long Run waits at its end for the bus to close the
// partitions.
const closeTimeout = 15 * time.Second

// Service is a notifier: its share of the partitions of the events topic.
type Service struct {
	cfg      Config
	bus      *bus.Bus
	shared   bool
	status   time.Duration
	log      *slog.Logger
	registry projection
	metrics  *metrics
	tracer   *tracing.Tracer
	began    time.Time
	opened   chan struct{} // a partition waits for its first look

	mu         sync.Mutex
	partitions map[int]*partition
}

// New registers the notifier with the bus, whose Run must not have been called. The
// bus stays the caller's to close; Run must be called once. An error names the
// setting that is wrong.
func New(cfg Config, b *bus.Bus, o Options) (*Service, error) {
	s := &Service{
		cfg:        cfg.withDefaults(),
		bus:        b,
		shared:     o.SharedBus,
		status:     o.Status,
		log:        o.Logger,
		tracer:     tracing.New(o.Traces, "notifier"),
		began:      time.Now(),
		opened:     make(chan struct{}, 1),
		partitions: map[int]*partition{},
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	var err error
	if s.registry, err = openRegistry(o); err != nil {
		return nil, err
	}
	s.metrics = newMetrics(o.Registry, s.stats)
	bus.Own(b, topic.Events(), topic.Notifier, s.open)
	return s, nil
}

// Run serves until ctx ends and every partition is given up. Its error is the
// bus's, unless that is shared.
func (s *Service) Run(ctx context.Context) error {
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	wg.Go(func() { s.watch(work) })
	wg.Go(func() { s.tick(work) })
	wg.Go(func() {
		status.Run(ctx, status.Config{Bus: s.bus, Service: "notifier", Group: topic.Notifier, Every: s.status, Fill: s.measure, Logger: s.log})
	})
	var err error
	if s.shared {
		<-ctx.Done()
	} else {
		err = s.bus.Run(ctx)
	}
	s.awaitClosed()
	stop()
	wg.Wait()
	if bad := s.registry.Close(); bad != nil {
		s.log.Warn("closing the registry", "err", bad)
	}
	return err
}

// tick does what is due by time in every partition.
func (s *Service) tick(ctx context.Context) {
	ticker := beat.NewTicker(tickEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			for _, p := range s.owned() {
				p.tick()
			}
			ticker.Again()
		}
	}
}

// owned lists the partitions that are owned now.
func (s *Service) owned() []*partition {
	s.mu.Lock()
	defer s.mu.Unlock()
	owned := make([]*partition, 0, len(s.partitions))
	for _, p := range s.partitions {
		owned = append(owned, p)
	}
	return owned
}

func (s *Service) awaitClosed() {
	timeout := time.NewTimer(closeTimeout)
	defer timeout.Stop()
	for _, p := range s.owned() {
		select {
		case <-p.closed:
		case <-timeout.C:
			s.log.Warn("partitions are still open at the end", "partition", p.owner.Partition)
			return
		}
	}
}

// now is Unix milliseconds that do not go back.
func (s *Service) now() int64 {
	return s.began.UnixMilli() + time.Since(s.began).Milliseconds()
}

func (s *Service) stats() (total presence.Stats) {
	for _, p := range s.owned() {
		one := p.stats()
		total.Nodes = max(total.Nodes, one.Nodes) // each partition knows all nodes
		total.Rooms += one.Rooms
		total.Rows += one.Rows
		total.Sessions += one.Sessions
	}
	return total
}

func (c Config) withDefaults() Config {
	if c.UserSessions == 0 {
		c.UserSessions = 20
	}
	if c.PresenceLarge == 0 {
		c.PresenceLarge = 200
	}
	if c.PresenceHold == 0 {
		c.PresenceHold = 10 * time.Second
	}
	return c
}

func openRegistry(o Options) (projection, error) {
	if strings.HasPrefix(o.Store, "memory://") {
		return registry.NewMemory(time.Now), nil
	}
	if o.Prefix == "" {
		o.Prefix = "parley"
	}
	r, err := registry.NewRedis(o.Store, o.Prefix, o.Registry)
	if err != nil {
		return nil, fmt.Errorf("PARLEY_STORE: %w", err)
	}
	return r, nil
}
