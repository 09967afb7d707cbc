// Package client is the Go client of Parley. A Client keeps one connection to
// some edge and hides what happens to it: it reconnects with jitter, resumes
// every room at its cursor in one hello, sends again what has no reply (a
// message under the same cid, after it has looked whether the first try went
// through), follows migrate by connecting to the new edge first, and drops what
// it has seen. What it cannot hide it tells: gap and reset as events of a room,
// the rest as Status. Conn, below it, is one bare WebSocket for tests and tools.
package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	"github.com/parley-chat/parley/services/ingress/protocol"
)

// Config says where to connect and as whom. URLs, and Token or User, are
// required; the zero value of the rest will do.
type Config struct {
	URLs  []string                                  // ws, wss, http or https; without a path /ws; any edge or a balancer
	Token func(ctx context.Context) (string, error) // a fresh JWT; asked before each connect and before the old one expires
	User  string                                    // instead of Token where the edge runs dev auth

	Agent  string      // what the user sees of this session in his list; at most 256 characters
	Header http.Header // of the upgrade request
	// Dialer replaces the whole way to the server: net dial function, TLS,
	// proxy, timeout. Nil: one with a handshake timeout of 10 s.
	Dialer *websocket.Dialer

	Backoff Backoff
	Pending int // most requests without a reply; 0 means 1024; one more fails with code limit
	Window  int // most sends of a room on the wire at once; 0: no bound; 1: none ever overtakes one that was refused for now
	Events  int // events kept for a room that nobody reads; 0 means 256; see Room.Next

	Logger   *slog.Logger // nil: silent
	OnStatus func(Status) // called in order from one goroutine; a client that is 64 behind skips the oldest
}

// Backoff is exponential with full jitter: the wait before attempt n is random
// between 0 and Base·2ⁿ, at most Max.
type Backoff struct {
	Base time.Duration // 0 means 500 ms
	Max  time.Duration // 0 means 30 s
}

// Client is a session with the service. All methods are safe for concurrent
// use.
type Client struct {
	cfg    Config
	inputs chan func(m *machine, now int64)
	ended  chan struct{} // closed when the loop is over
	opened chan struct{} // closed at the first welcome
	status *statusFeed
	work   sync.WaitGroup // lines and handlers
	loop   sync.WaitGroup
	began  time.Time

	// The loop's own.
	machine *machine
	lines   map[int]*line
	waiters map[int]chan<- effect
	refs    int

	mu    sync.Mutex
	rooms map[string]*Room
	last  error // of the last failed attempt
}

// Dial connects and waits for the welcome. While the servers cannot be reached
// it tries again until ctx is over, and then says what the last attempt met;
// when a server refuses (bad token, foreign Origin) it returns a *ClosedError
// at once. ctx does not bound the client's life: Close ends it.
func Dial(ctx context.Context, cfg Config) (*Client, error) {
	if len(cfg.URLs) == 0 {
		return nil, errors.New("client: Config.URLs is empty")
	}
	for _, u := range cfg.URLs {
		if _, err := normalize(u); err != nil {
			return nil, fmt.Errorf("client: %w", err)
		}
	}
	if (cfg.Token == nil) == (cfg.User == "") {
		return nil, errors.New("client: give either Config.Token or Config.User")
	}
	c := newClient(cfg)
	c.loop.Go(c.run)
	select {
	case <-c.opened:
		return c, nil
	case <-c.ended:
		return nil, fmt.Errorf("client: %w", c.closedError())
	case <-ctx.Done():
		c.Close()
		err := ctx.Err()
		if last := c.lastError(); last != nil {
			err = fmt.Errorf("%w; the last attempt: %w", err, last)
		}
		return nil, fmt.Errorf("client: not connected: %w", err)
	}
}

func newClient(cfg Config) *Client {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	or(&cfg.Backoff.Base, 500*time.Millisecond)
	or(&cfg.Backoff.Max, 30*time.Second)
	or(&cfg.Pending, 1024)
	or(&cfg.Events, 256)
	return &Client{
		cfg:    cfg,
		inputs: make(chan func(*machine, int64), 64),
		ended:  make(chan struct{}), opened: make(chan struct{}),
		status: newStatusFeed(cfg.OnStatus),
		began:  time.Now(),
		machine: newMachine(machineConfig{
			urls: cfg.URLs, user: cfg.User, agent: cfg.Agent, renew: cfg.Token != nil,
			rand: rand.Float64, pending: cfg.Pending, window: cfg.Window,
			baseMS: cfg.Backoff.Base.Milliseconds(), capMS: cfg.Backoff.Max.Milliseconds(),
		}),
		lines: make(map[int]*line), waiters: make(map[int]chan<- effect), rooms: make(map[string]*Room),
	}
}

func or[T comparable](v *T, standard T) {
	var zero T
	if *v == zero {
		*v = standard
	}
}

// Status returns the latest status.
func (c *Client) Status() Status { return c.status.latest() }

// Close says goodbye, fails what still waits with ErrClosed, ends all rooms and
// returns when every goroutine of the client has ended; so it must not be
// called from OnStatus or OnEvent. Sessions that close are told as gone at once.
func (c *Client) Close() error {
	c.post((*machine).closeInput)
	c.loop.Wait()
	return nil
}

func (m *machine) closeInput(now int64) { m.close(now) }

// post hands an input to the loop. It waits while the loop is busy, which is
// what slows a reader down; after the end it does nothing.
func (c *Client) post(input func(m *machine, now int64)) {
	select {
	case c.inputs <- input:
	case <-c.ended:
	}
}

// run owns the machine: inputs in, effects out.
func (c *Client) run() {
	ctx, cancel := context.WithCancel(context.Background())
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	c.machine.start(c.now())
	for c.perform(ctx); !c.machine.stopped; c.perform(ctx) {
		at := c.machine.deadline()
		wait := time.Hour
		if at != 0 {
			wait = time.Duration(max(at-c.now(), 0)) * time.Millisecond
		}
		timer.Reset(wait)
		select {
		case input := <-c.inputs:
			input(c.machine, c.now())
		case <-timer.C:
			c.machine.tick(c.now())
		}
	}
	close(c.ended) // before the lines are waited for: they may be about to post
	c.work.Wait()
	cancel()
	c.status.close()
}

// now is monotonic, in milliseconds, and never 0.
func (c *Client) now() int64 { return 1 + time.Since(c.began).Milliseconds() }

func (c *Client) perform(ctx context.Context) {
	for effects := c.machine.take(); len(effects) > 0; effects = c.machine.take() {
		for _, e := range effects {
			c.performOne(ctx, e)
		}
	}
}

func (c *Client) performOne(ctx context.Context, e effect) {
	switch e.kind {
	case doDial:
		c.startLine(ctx, e.link, e.url)
	case doSend:
		c.sendFrame(e.link, &e.req)
	case doClose:
		if l := c.lines[e.link]; l != nil {
			c.work.Go(func() { l.close(e.code) })
		}
	case doToken:
		c.work.Go(func() { c.freshToken(ctx) })
	case doDeliver:
		c.deliver(e.room, e.frame)
	case doEnd:
		c.endRoom(e.room, e.err)
	case doReply:
		if e.frame.Type == protocol.TypeJoined {
			c.enterRoom(e.frame)
		}
		if w := c.waiters[e.ref]; w != nil {
			delete(c.waiters, e.ref)
			w <- e // has room for one
		}
	case doStatus:
		c.tell(e.status)
	case doNotice:
		c.cfg.Logger.Warn("error from the server", "error", e.err)
	}
}

func (c *Client) startLine(ctx context.Context, n int, url string) {
	ctx, cancel := context.WithCancel(ctx)
	l := &line{client: c, n: n, url: url, cancel: cancel, wake: make(chan struct{}, 1)}
	c.lines[n] = l
	c.work.Go(func() {
		l.run(ctx)
		c.post(func(*machine, int64) { delete(c.lines, n) })
	})
}

func (c *Client) sendFrame(n int, r *protocol.Request) {
	l := c.lines[n]
	if l == nil {
		return // it has just ended; closed is on its way to the machine
	}
	frame, err := protocol.AppendRequest(nil, r)
	if err != nil { // bodies are checked where they come in
		c.cfg.Logger.Error("request cannot be encoded", "error", err)
		return
	}
	l.send(frame)
}

// freshToken renews the authorization before it expires. Failing that, the
// server closes with 4501 in the end.
func (c *Client) freshToken(ctx context.Context) {
	token, err := c.cfg.Token(ctx)
	if err != nil {
		c.cfg.Logger.Warn("no fresh token", "error", err)
		return
	}
	c.post(func(m *machine, now int64) {
		m.request(now, 0, protocol.Request{Type: protocol.TypeAuth, Token: token})
	})
}

func (c *Client) tell(s Status) {
	c.status.put(s) // first: who waits for opened may ask for it
	switch s.State {
	case Open:
		select {
		case <-c.opened:
		default:
			close(c.opened)
		}
	case Reconnecting:
		c.mu.Lock()
		c.last = s.Err
		c.mu.Unlock()
	}
	attrs := []any{"state", string(s.State)}
	if s.Err != nil {
		attrs = append(attrs, "error", s.Err)
	}
	c.cfg.Logger.Info("connection", attrs...)
}

func (c *Client) lastError() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last
}

func (c *Client) closedError() error {
	s := c.Status()
	return &ClosedError{Code: s.Code, Err: s.Err}
}

// ask runs one request of the user's through the machine and waits for its
// reply. When ctx is over first, the request is withdrawn; if it was under way
// it may still happen.
func (c *Client) ask(ctx context.Context, start func(m *machine, now int64, ref int)) (effect, error) {
	done := make(chan effect, 1)
	ref := make(chan int, 1)
	c.post(func(m *machine, now int64) {
		c.refs++
		ref <- c.refs
		c.waiters[c.refs] = done
		start(m, now, c.refs)
	})
	select {
	case e := <-done:
		return e, e.err
	case <-ctx.Done():
		c.post(func(m *machine, now int64) {
			n := <-ref
			delete(c.waiters, n)
			m.cancel(now, n)
		})
		return effect{}, fmt.Errorf("no reply: %w", ctx.Err())
	case <-c.ended:
		select { // the reply may have come with the end
		case e := <-done:
			return e, e.err
		default:
			return effect{}, c.closedError()
		}
	}
}
