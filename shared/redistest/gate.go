package redistest

import (
	"net"
	"sync"
)

// Gate stands before a server, counts what is asked of it, and cuts the asker off
// at a chosen request: as if the asker had died at this point. Safe for concurrent use.
type Gate struct {
	URL string // redis://127.0.0.1:port/0

	server   string
	listener net.Listener
	work     sync.WaitGroup
	died     chan struct{}

	mu    sync.Mutex
	asked int
	at    int // the request that is the last one; 0: none
	after bool
	conns map[net.Conn]struct{}
	dead  bool
}

// Gate opens a gate before the server, closed with the test. At the at-th request (a
// pipeline is one) nothing passes any more: the request itself only with after, and
// then its answer does not.
func (s *Server) Gate(at int, after bool) *Gate {
	s.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	g := &Gate{URL: "redis://" + l.Addr().String() + "/0", server: s.Addr, listener: l, at: at, after: after,
		died: make(chan struct{}), conns: map[net.Conn]struct{}{}}
	g.work.Go(g.accept)
	s.t.Cleanup(func() {
		g.Cut()
		g.work.Wait()
	})
	return g
}

// Died is closed when nothing passes any more.
func (g *Gate) Died() <-chan struct{} { return g.died }

// Step counts something else that the asker does; false: it has died before it, and
// may not do it. With after it still does the one at which it dies.
func (g *Gate) Step() bool {
	pass, last := g.step()
	if last {
		g.Cut()
	}
	return pass
}

// step counts a request: whether it passes, and whether it is the last one.
func (g *Gate) step() (pass, last bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.dead {
		return false, false
	}
	g.asked++
	last = g.asked == g.at
	return !last || g.after, last
}

// Cut has the asker die now.
func (g *Gate) Cut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.dead {
		return
	}
	g.dead = true
	close(g.died)
	_ = g.listener.Close()
	for c := range g.conns {
		_ = c.Close()
	}
}

func (g *Gate) accept() {
	for {
		client, err := g.listener.Accept()
		if err != nil {
			return
		}
		g.work.Go(func() { g.pass(client) })
	}
}

// keep notes an open connection; false: it is too late.
func (g *Gate) keep(c net.Conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.dead {
		_ = c.Close()
		return false
	}
	g.conns[c] = struct{}{}
	return true
}

func (g *Gate) pass(client net.Conn) {
	defer func() { _ = client.Close() }()
	server, err := net.Dial("tcp", g.server)
	if err != nil {
		return
	}
	defer func() { _ = server.Close() }()
	if !g.keep(client) || !g.keep(server) {
		return
	}
	var both sync.WaitGroup
	both.Go(func() { g.requests(server, client) })
	both.Go(func() { copyAll(client, server) })
	both.Wait()
}

func (g *Gate) requests(server, client net.Conn) {
	defer func() { _ = server.Close() }()
	buffer := make([]byte, 256<<10)
	for {
		n, err := client.Read(buffer)
		if n > 0 {
			pass, last := g.step()
			if last { // before the answer can pass
				_ = client.Close()
			}
			if pass {
				_, _ = server.Write(buffer[:n])
			}
			if last {
				// A server that reads the end of the line at once still executes what came before.
				if tcp, ok := server.(*net.TCPConn); ok && pass {
					_ = tcp.CloseWrite()
					copyAll(nil, server)
				}
				g.Cut()
			}
		}
		if err != nil {
			return
		}
	}
}

// copyAll copies until either side ends; to nobody it only reads.
func copyAll(to, from net.Conn) {
	if to != nil {
		defer func() { _ = to.Close() }()
	}
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 && to != nil {
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
