// Package socket is the edge's side of WebSocket connections: the gate before
// the upgrade (origins, rates, caps), reading with limits and deadlines, writing
// on demand by a few workers, pings from one timer wheel, and the goodbye. It
// knows frames and bytes, nothing of rooms or the bus; what a connection serves
// is its Handler.
package socket

import (
	"context"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/gorilla/websocket"
	"github.com/parley-chat/parley/services/ingress/protocol"
)

// Config is how sockets are treated. All fields are required, except where 0 is
// given a meaning.
type Config struct {
	HelloBytes     int           // a message before Admit
	FrameBytes     int           // a message after it
	HelloTimeout   time.Duration // from the upgrade to Admit; then 4000
	MessageTimeout time.Duration // from a message's first byte to its last; then 1008
	WriteStall     time.Duration // a write without progress for so long ends with 4001
	Ping           time.Duration // without a sign of life for so long, a ping
	Pong           time.Duration // without an answer to it for so long, 4002
	CloseGrace     time.Duration // for the close frame, and for the peer to hang up
	SlowGrace      time.Duration // the same, after 4001: for the peer to wake up and read why
	SendBuffer     int           // SO_SNDBUF; 0: the system's
	WriteBytes     int           // about the most that one write carries
	Uring          bool          // write to many by one system call, where the kernel can
	ControlRate    float64       // pings and pongs a second from a client; then 1008
	ControlBurst   int

	Gate GateConfig
}

// Observer is told what happens, for metrics. Its functions must be quick.
type Observer struct {
	Handshake func(result string)
	Closed    func(code protocol.CloseCode)
}

// Server accepts WebSocket connections as an http.Handler. Run it, and end it
// with Drain and the end of Run's context. Safe for concurrent use.
type Server struct {
	cfg     Config
	log     *slog.Logger
	observe Observer
	serve   func(*Conn, *http.Request) Handler
	up      websocket.Upgrader
	gate    *gate
	wheel   *Wheel
	pool    *pool
	crew    crew           // receives messages
	wg      sync.WaitGroup // handshakes, readers and slow writers; the first are added by enter
	began   time.Time
	stalled atomic.Int64
	plain   sync.Once // said that there is no io_uring

	mu      sync.Mutex
	conns   map[*Conn]struct{}
	closing protocol.CloseCode // CloseAll's; what comes late is closed, too
	ending  bool               // Wait was called: no handshake begins
}

// NewServer returns a server whose connections are served by what serve returns;
// it is called before the first read. wheel is the one that pings run on.
func NewServer(cfg Config, wheel *Wheel, log *slog.Logger, observe Observer, serve func(*Conn, *http.Request) Handler) *Server {
	s := &Server{
		cfg: cfg, log: log, observe: observe, serve: serve, wheel: wheel,
		gate:  newGate(cfg.Gate),
		began: time.Now(),
		conns: make(map[*Conn]struct{}),
	}
	s.up = websocket.Upgrader{
		HandshakeTimeout: 5 * time.Second,
		Subprotocols:     []string{protocol.Subprotocol},
		CheckOrigin:      func(*http.Request) bool { return true }, // the gate has
	}
	s.pool = newPool(runtime.GOMAXPROCS(0), s.batch)
	return s
}

// batch is a worker's own, for writing.
func (s *Server) batch() *batch {
	if !s.cfg.Uring {
		return &batch{}
	}
	r, err := newUring(batchConns)
	if err != nil {
		s.plain.Do(func() { s.log.Info("each connection is written to by a system call of its own", "why", err) })
		return &batch{}
	}
	return &batch{uring: r}
}

// Drain refuses new connections from now on, with 503.
func (s *Server) Drain() { s.gate.drain() }

// CloseAll closes every connection that there is, and those that are in their
// handshake.
func (s *Server) CloseAll(code protocol.CloseCode, reason string) {
	s.mu.Lock()
	s.closing = code
	s.mu.Unlock()
	for _, c := range s.all() {
		if c.slow.Load() { // it reads nothing now, and nobody waits for it any more
			c.broken()
			continue
		}
		c.Close(code, reason)
	}
}

// Wait returns when all connections have ended and the workers with them; no more are let in. The
// caller has closed the connections; those that are still seen off when ctx ends
// are cut, and ctx's error tells so.
func (s *Server) Wait(ctx context.Context) error {
	s.gate.drain()
	s.mu.Lock()
	s.ending = true
	s.mu.Unlock()
	done := make(chan struct{})
	go func() {
		s.wg.Wait()
		s.pool.close()
		s.crew.close()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		for _, c := range s.all() {
			c.broken()
		}
		<-done
		return ctx.Err()
	}
}

func (s *Server) all() []*Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.conns))
}

// Open is how many connections there are, those before their hello included.
func (s *Server) Open() int { return s.gate.open() }

// Stalled is how many connections have a write that waits for their reader.
func (s *Server) Stalled() int { return int(s.stalled.Load()) }

// Settle waits until what connections were woken for is written, as far as their readers take it;
// for limit at most.
func (s *Server) Settle(limit time.Duration) { s.pool.settle(limit) }

// ServeHTTP upgrades the request, if the gate lets it through. The library shakes hands; the frames
// are the connection's own, which has no buffer while nothing comes, and lives on a goroutine of its own, so
// that the deep stack of the HTTP server goes.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.enter() { // else the gate refuses it
		defer s.wg.Done()
	}
	pass, refusal := s.gate.admit(r)
	if refusal != nil {
		s.handshake(refusal.result)
		refusal.write(w)
		return
	}
	ws, err := s.up.Upgrade(w, r, nil)
	pass.shaken()
	if err != nil {
		pass.release()
		s.handshake("failed")
		s.log.Debug("handshake", "remote", pass.remote, "err", err)
		return
	}
	s.handshake("ok")
	s.start(s.newConn(bare(ws.NetConn()), pass), r)
}

// enter has Wait wait for a handshake, so that the connection that comes of it is seen off, too.
func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ending {
		s.wg.Add(1)
	}
	return !s.ending
}

func (s *Server) newConn(nc net.Conn, pass *pass) *Conn {
	c := &Conn{server: s, fd: -1, net: nc, remote: pass.remote, limit: s.cfg.HelloBytes, hello: s.clock() + int64(s.cfg.HelloTimeout)}
	c.release = func() {
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
		if c.hello == 0 {
			pass.admitted = true
		}
		pass.release()
	}
	if tcp, ok := nc.(*net.TCPConn); ok && s.cfg.SendBuffer > 0 {
		_ = tcp.SetWriteBuffer(s.cfg.SendBuffer)
	}
	if plain, ok := nc.(syscall.Conn); ok {
		c.raw, _ = plain.SyscallConn()
	}
	if c.raw != nil {
		_ = c.raw.Control(func(fd uintptr) { c.fd = int(fd) })
	}
	c.seen.Store(s.clock())
	c.writing.Store(busy) // until start: serve may use the connection already
	return c
}

func (s *Server) start(c *Conn, r *http.Request) {
	c.handler = s.serve(c, r)
	c.deadline(c.hello)
	s.pool.push(c)
	s.mu.Lock()
	s.conns[c] = struct{}{}
	late := s.closing
	s.mu.Unlock()
	if late != 0 {
		c.Close(late, "")
	}
	s.wg.Go(c.run)
}

// clock is the time since the server began, in ns: monotonic, and cheap to keep.
func (s *Server) clock() int64 { return int64(time.Since(s.began)) + 1 }

// spread is d less up to a fifth, so that what began together does not stay together.
func (s *Server) spread(d time.Duration) time.Duration {
	return d - rand.N(d/5+1)
}

func (s *Server) handshake(result string) {
	if s.observe.Handshake != nil {
		s.observe.Handshake(result)
	}
}

func (s *Server) closes(code protocol.CloseCode) {
	if s.observe.Closed != nil {
		s.observe.Closed(code)
	}
}
