// Package ingress is the edge: every socket of Parley ends in one. It turns
// clients' frames into commands for chat and the notifier's deliveries into
// frames, and keeps for each room with subscribers here a ring of its newest
// entries, into which subscriptions are cursors. It decides nothing about a room
// and talks to no other edge.
//
//	client ──frame──▶ session ──command──▶ commands-NN            (commands.go)
//	deliveries-<node> ──delivery──▶ room, session ──frame──▶ client (deliveries.go)
package ingress

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/parley-chat/parley/services/ingress/internal/identity"
	"github.com/parley-chat/parley/services/ingress/internal/pages"
	"github.com/parley-chat/parley/services/ingress/internal/ring"
	"github.com/parley-chat/parley/services/ingress/internal/socket"
	"github.com/parley-chat/parley/services/ingress/protocol"
	"github.com/parley-chat/parley/services/ingress/web"
	"github.com/parley-chat/parley/shared/bus"
	"github.com/parley-chat/parley/shared/event"
	"github.com/parley-chat/parley/shared/process"
	"github.com/parley-chat/parley/shared/status"
	"github.com/parley-chat/parley/shared/topic"
	"github.com/parley-chat/parley/shared/tracing"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
)

// Options is what a Service needs besides its settings.
type Options struct {
	Node     string                // PARLEY_NODE; each life of the edge adds a tag of its own
	Listener net.Listener          // nil: Run listens on Config.Listen
	Logger   *slog.Logger          // nil: nothing is logged
	Registry prometheus.Registerer // nil: no metrics
	Traces   trace.TracerProvider  // nil: no traces
	// AdminToken opens operators' sessions, which watch the status board; empty: in dev auth
	// anybody may, else nobody.
	AdminToken process.Secret
	Status     time.Duration   // how often its measures are said for status boards; 0: never
	Health     *process.Health // shown at the public /readyz, and given the edge's checks; nil: a new one
	// SharedBus: somebody else runs the bus, for more services than this one, and
	// goes on until this one's Run has returned.
	SharedBus bool
}

// Service is one edge. Make it with New, run it once.
type Service struct {
	cfg        Config
	bus        *bus.Bus
	shared     bool
	name       string
	adminToken process.Secret
	status     time.Duration
	log        *slog.Logger
	health     *process.Health
	listener   net.Listener
	began      time.Time

	verifier identity.Verifier
	limits   protocol.Limits
	bounds   ring.Bounds
	commands bus.Topic[event.Command]
	metrics  *metrics
	tracer   *tracing.Tracer
	counts   counts
	settle   time.Duration // how long deliveries wait at most for those before to be written

	server     *socket.Server
	wheel      *socket.Wheel
	hub        *hub
	pages      *pages.Cache
	partitions []*partition
	node       atomic.Pointer[node]
	syncID     atomic.Uint64
	syncs      chan struct{} // something is due for a sync
	shrinks    chan struct{} // rings are over their bound
	present    atomic.Bool   // the node's topic is made and announced
	draining   atomic.Bool
	oddity     atomic.Int64 // when an unknown kind was logged last, Unix s
}

// New returns an edge on the bus, listening already where Options has no
// listener, or what is wrong with the settings. The bus, whose Run must not have been
// called, stays the caller's to close.
func New(cfg Config, b *bus.Bus, o Options) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	s := &Service{
		cfg: cfg, bus: b, shared: o.SharedBus, name: o.Node, adminToken: o.AdminToken, status: o.Status, log: o.Logger, health: o.Health, listener: o.Listener,
		tracer: tracing.New(o.Traces, "ingress"),
		began:  time.Now(), limits: cfg.limits(), bounds: cfg.bounds(), commands: topic.Commands(), settle: settleTime,
		wheel: socket.NewWheel(wheelTick, wheelTurn), pages: pages.New(cfg.PagesBytes),
		syncs: make(chan struct{}, 1), shrinks: make(chan struct{}, 1),
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.health == nil {
		s.health = &process.Health{}
	}
	var err error
	if s.verifier, err = s.newVerifier(); err != nil {
		return nil, &process.ConfigError{Err: err}
	}
	s.metrics = newMetrics(s)
	sockets, err := cfg.socket()
	if err != nil {
		return nil, process.BadSetting("PARLEY_TRUSTED_PROXIES", "%v", err)
	}
	s.hub = newHub(s)
	for i := range b.Partitions() {
		s.partitions = append(s.partitions, newPartition(s, i))
	}
	if s.listener == nil {
		if s.listener, err = process.Listen("PARLEY_LISTEN", cfg.Listen); err != nil {
			return nil, err
		}
	}
	if cfg.Auth == "dev" && !cfg.DevAnywhere && !loopback(s.listener.Addr().String()) {
		return nil, process.BadSetting("PARLEY_AUTH", "dev believes everybody, so it listens on loopback only, not on %s; or set PARLEY_DEV_ANYWHERE=true", s.listener.Addr())
	}
	observe := socket.Observer{
		Handshake: func(result string) { s.metrics.handshakes.WithLabelValues(result).Inc() },
		Closed:    s.metrics.closed,
	}
	s.server = socket.NewServer(sockets, s.wheel, s.log, observe, s.accept)
	s.node.Store(s.newNode())
	s.health.Add("edge", s.ready)
	if err := s.metrics.register(o.Registry); err != nil {
		return nil, err
	}
	return s, nil
}

// The wheel's resolution, and the delay from which on it turns more than once.
const (
	wheelTick = 250 * time.Millisecond
	wheelTurn = 30 * time.Second
)

// headTimeout is what a client has to send a request's head.
const headTimeout = 5 * time.Second

// Addr is where the public listener listens.
func (s *Service) Addr() net.Addr { return s.listener.Addr() }

// routes is all that the public listener answers.
func (s *Service) routes() http.Handler {
	r := chi.NewRouter()
	r.Method(http.MethodGet, protocol.Path, s.server)
	r.Method(http.MethodGet, "/readyz", s.health.Handler())
	r.Handle("/*", web.Handler(web.Auth(s.cfg.Auth)))
	return r
}

// Run serves until ctx ends and then drains: not ready at once, no new connections
// after DrainDelay, then the clients are asked to move within Drain (0: closed with
// 1012), and at last the node takes its name back; the bus goes on until then. It
// returns an error when the listener or the bus fails.
func (s *Service) Run(ctx context.Context) error {
	inner, stop := context.WithCancel(context.WithoutCancel(ctx))
	failed := make(chan error, 2)
	var life, named sync.WaitGroup
	if !s.shared {
		life.Go(func() { fail(failed, s.bus.Run(inner)) })
	}
	life.Go(func() { s.wheel.Run(inner) })
	life.Go(func() { s.runSyncs(inner) })
	life.Go(func() { s.runShrinks(inner) })
	life.Go(func() { s.warnDev(inner) })
	life.Go(func() {
		status.Run(inner, status.Config{Bus: s.bus, Service: "ingress", Group: topic.Edge, Every: s.status, Fill: s.measure, Logger: s.log})
	})
	nodeCtx, stopNode := context.WithCancel(inner)
	named.Go(func() { s.runNode(nodeCtx) })

	err := s.serve(ctx, failed)
	stopNode()
	named.Wait()
	stop()
	life.Wait()
	return err
}

// serve accepts connections until ctx ends or something failed, and sees them off.
func (s *Service) serve(ctx context.Context, failed chan error) error {
	front := s.server.Front(s.listener, protocol.Path, headTimeout, s.cfg.Unadmitted)
	public := &http.Server{
		Handler:           s.routes(),
		ReadHeaderTimeout: headTimeout,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		ConnState:         front.State,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	var accepting sync.WaitGroup
	accepting.Go(front.Run)
	accepting.Go(func() {
		if err := public.Serve(front); !errors.Is(err, http.ErrServerClosed) {
			fail(failed, fmt.Errorf("serve PARLEY_LISTEN: %w", err))
		}
	})
	s.log.Info("listening", "address", s.listener.Addr().String(), "auth", s.cfg.Auth)
	var failure error
	window := s.cfg.Drain
	select {
	case failure = <-failed:
		s.draining.Store(true)
		window = 0
	case <-ctx.Done():
		s.draining.Store(true)
		pause(context.WithoutCancel(ctx), s.cfg.DrainDelay)
	}
	s.server.Drain()
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if public.Shutdown(closing) != nil {
		_ = public.Close()
	}
	accepting.Wait()
	s.drain(window)
	return failure
}

// fail notes an error, if there is one and nobody failed before.
func fail(failed chan error, err error) {
	if err == nil {
		return
	}
	select {
	case failed <- err:
	default:
	}
}

// ready is the edge's check for /readyz.
func (s *Service) ready() error {
	switch {
	case s.draining.Load():
		return errors.New("the edge is draining")
	case !s.present.Load():
		return errors.New("the node's topic is not made yet")
	}
	return nil
}

// accept serves a new connection.
func (s *Service) accept(c *socket.Conn, r *http.Request) socket.Handler {
	bearer, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	return s.newSession(c, bearer)
}

// runShrinks takes memory from idle rooms whenever rings are over their bound.
func (s *Service) runShrinks(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.shrinks:
			s.hub.shrink()
		}
	}
}

func (s *Service) shrinkSoon() { kick(s.shrinks) }

// warnDev says every minute that anybody can be anybody, where others can connect.
func (s *Service) warnDev(ctx context.Context) {
	if s.cfg.Auth != "dev" || loopback(s.listener.Addr().String()) {
		return
	}
	for ctx.Err() == nil {
		s.log.Warn("dev auth on a public address: everybody can be anybody", "address", s.listener.Addr().String())
		pause(ctx, time.Minute)
	}
}

// clock is the time since the start in ns, never 0.
func (s *Service) clock() int64 { return int64(time.Since(s.began)) + 1 }

// spread is d less up to a fifth, so that what began together does not stay so.
func (s *Service) spread(d time.Duration) time.Duration { return d - rand.N(d/5+1) }
