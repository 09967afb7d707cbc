package chaos

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// Proxy passes TCP connections on to a target and can spoil them. Its methods are
// safe for concurrent use; what Set says holds for connections that are open and
// for those to come.
type Proxy struct {
	listener net.Listener
	opened   func(address string)
	work     sync.WaitGroup

	mu      sync.Mutex
	target  string
	faults  Faults
	changed chan struct{} // closed and renewed by Set
	pairs   map[*pair]struct{}
	closed  bool
}

// Faults are what a Proxy does to bytes. The zero value passes everything on.
type Faults struct {
	Latency time.Duration // before each piece, either way
	Rate    int           // bytes a second and direction; 0: no limit
	// HoldUp and HoldDown keep what is sent to the target, or what it answers,
	// until they are taken back, as a network does that loses packets: TCP sends
	// them again. Both together are a black hole; new connections open into it.
	HoldUp, HoldDown bool
	Refuse           bool  // new connections are reset at once
	CutAfter         int64 // a connection is reset after so many bytes of answers; 0: never
	// DropReply is the share of requests (pieces sent to the target) that are
	// passed on and whose answer is swallowed; the connection is then reset, so
	// that nobody can know whether the request was carried out.
	DropReply float64
}

// Listen opens a proxy on a free port of 127.0.0.1. opened (may be nil) is told of each
// connection, before anything is sent on it, by the address that the target sees as its client's.
func Listen(target string, opened func(address string)) (*Proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("proxy to %s: %w", target, err)
	}
	p := &Proxy{listener: l, opened: opened, target: target, changed: make(chan struct{}), pairs: map[*pair]struct{}{}}
	p.work.Go(p.accept)
	return p, nil
}

// Addr is host:port to connect to.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Set replaces the faults.
func (p *Proxy) Set(f Faults) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults = f
	close(p.changed)
	p.changed = make(chan struct{})
}

// Retarget has new connections go to another target.
func (p *Proxy) Retarget(target string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = target
}

// Reset ends every open connection with RST on both sides and returns how many.
func (p *Proxy) Reset() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for c := range p.pairs {
		if c.reset() {
			n++
		}
	}
	return n
}

// Close ends the proxy and its connections, and waits for both.
func (p *Proxy) Close() error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	err := p.listener.Close()
	p.Reset()
	p.work.Wait()
	return err
}

func (p *Proxy) now() (Faults, string, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.faults, p.target, p.changed
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // too many open files: later ones may do
			time.Sleep(10 * time.Millisecond)
			continue
		}
		p.work.Go(func() { p.serve(client) })
	}
}

func (p *Proxy) serve(client net.Conn) {
	f, target, _ := p.now()
	if f.Refuse {
		abort(client)
		return
	}
	server, err := net.DialTimeout("tcp", target, 5*time.Second)
	if err != nil {
		abort(client)
		return
	}
	c := &pair{proxy: p, client: client, server: server, over: make(chan struct{})}
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		c.reset()
		return
	}
	p.pairs[c] = struct{}{}
	p.mu.Unlock()
	if p.opened != nil {
		p.opened(server.LocalAddr().String())
	}
	var both sync.WaitGroup
	both.Go(func() { c.pump(server, client, true) })
	both.Go(func() { c.pump(client, server, false) })
	both.Wait()
	p.mu.Lock()
	delete(p.pairs, c)
	p.mu.Unlock()
	c.end(func(conn net.Conn) { _ = conn.Close() })
}

// pair is one connection through the proxy.
type pair struct {
	proxy          *Proxy
	client, server net.Conn
	once           sync.Once
	over           chan struct{}

	mu      sync.Mutex
	swallow bool // the next answer is not passed on
}

// end ends both sides; false: they had ended before.
func (c *pair) end(how func(net.Conn)) (first bool) {
	c.once.Do(func() {
		first = true
		close(c.over)
		how(c.client)
		how(c.server)
	})
	return first
}

func (c *pair) reset() bool { return c.end(abort) }

// abort closes with RST instead of FIN.
func abort(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

// pump copies one direction until it ends. The end of one direction is passed on
// as such; an error ends both.
func (c *pair) pump(to, from net.Conn, up bool) {
	buffer := make([]byte, 32<<10)
	var passed int64
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			f, ok := c.hold(up, n)
			if !ok {
				return
			}
			piece := buffer[:n]
			if !up && f.CutAfter > 0 && passed+int64(n) > f.CutAfter {
				_, _ = to.Write(piece[:max(f.CutAfter-passed, 0)])
				c.reset()
				return
			}
			if c.swallows(f, up) {
				c.reset()
				return
			}
			if _, err := to.Write(piece); err != nil {
				c.reset()
				return
			}
			passed += int64(n)
		}
		if errors.Is(err, io.EOF) {
			if tcp, ok := to.(*net.TCPConn); ok {
				_ = tcp.CloseWrite()
			}
			return
		}
		if err != nil {
			c.reset()
			return
		}
	}
}

// swallows decides about a request that its answer is to be lost, and tells about
// an answer whether it is the one.
func (c *pair) swallows(f Faults, up bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if up {
		c.swallow = c.swallow || f.DropReply > 0 && rand.Float64() < f.DropReply
		return false
	}
	return c.swallow
}

// hold waits as the faults want, also when they change meanwhile, and returns those
// that hold then; false: the connection is over.
func (c *pair) hold(up bool, n int) (Faults, bool) {
	for waited := false; ; {
		f, _, changed := c.proxy.now()
		if up && f.HoldUp || !up && f.HoldDown {
			select {
			case <-changed:
			case <-c.over:
				return f, false
			}
			continue
		}
		wait := f.Latency
		if f.Rate > 0 {
			wait += time.Duration(n) * time.Second / time.Duration(f.Rate)
		}
		if waited || wait == 0 {
			return f, true
		}
		waited = true
		select {
		case <-time.After(wait):
		case <-c.over:
			return f, false
		}
	}
}
