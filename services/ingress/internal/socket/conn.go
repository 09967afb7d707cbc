package socket

import (
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/parley-chat/parley/services/ingress/protocol"
)

// Handler is what a connection serves.
type Handler interface {
	// Receive is given each text message, valid UTF-8 and within the limit, one at a
	// time. data is reused after the call.
	Receive(data []byte)
	// Fill appends to buf what is to be sent now, frames with line feeds between them,
	// and stops at about limit bytes. A buf of less than limit means that nothing more is
	// pending.
	// One writer calls it at a time; it must not block.
	Fill(buf []byte, limit int) []byte
	// Ended is called once, when no more will be received.
	Ended(Ending)
}

// Ending is how a connection ended.
type Ending struct {
	Code  protocol.CloseCode // the peer's, or ours; CloseAbnormal for a broken line
	Clean bool               // the peer said goodbye with 1000 or 1001
}

// What the writer of a connection is doing.
const (
	idle  = iota
	busy  // queued or writing
	again // busy, and woken since it looked for frames
)

// Conn is one WebSocket connection. It has one goroutine, which waits for input and has the crew
// handle it; while something is pending a worker writes for it, and while nothing is, it has no
// buffer and no timer. Its methods are safe for concurrent use unless they
// say otherwise.
type Conn struct {
	server  *Server
	handler Handler
	net     net.Conn
	raw     syscall.RawConn // nil where the transport is no plain socket
	fd      int             // its descriptor, or -1; to be used while fdMu is held, unless hungUp
	remote  string
	release func() // gives back what the gate counted

	writing atomic.Uint32
	slow    atomic.Bool  // a write waits for the reader
	unread  int          // bytes that the peer had not acknowledged when it was pinged; the wheel's alone
	seen    atomic.Int64 // last sign of life, ns since the server's start
	pinged  int64        // likewise, of the ping that waits for an answer; the wheel's alone

	// What follows is run's and do's, in turn.
	turn    sync.WaitGroup // run waits for do
	end     error          // why it is over; nil: it is not
	in      *input         // nil: nothing is read that is not handled
	limit   int            // bytes of a message
	control Bucket
	hello   int64 // deadline until Admit, of the server's clock; 0: admitted
	by      int64 // the read deadline that is set, likewise; 0: none

	fdMu   sync.Mutex // a worker may hold those of many connections
	hungUp bool

	mu      sync.Mutex
	pong    []byte // payload to be echoed
	hasPong bool
	ping    bool
	closing protocol.CloseCode
	reason  string
	closed  bool          // the close frame is made: nothing comes after it
	parted  bool          // it is out, or cannot be any more
	goodbye chan struct{} // closed with it; made by whoever waits
}

// Remote is the peer's address, or the one that a trusted proxy named.
func (c *Conn) Remote() string { return c.remote }

// Admit says that the hello is through: the frame limit is the full one from now
// on, and pings begin. To be called within Receive.
func (c *Conn) Admit() {
	if c.hello == 0 {
		return
	}
	c.hello, c.limit = 0, c.server.cfg.FrameBytes
	c.server.gate.admitted()
	c.server.wheel.After(c.server.spread(c.server.cfg.Ping), c.tick)
}

// Wake says that Fill has something. It never blocks.
func (c *Conn) Wake() {
	if c.woken() {
		c.server.pool.push(c)
	}
}

// Wake is Conn.Wake for several connections of one server. What is in the slice
// afterwards is undefined.
func Wake(conns []*Conn) {
	idle := conns[:0]
	for _, c := range conns {
		if c.woken() {
			idle = append(idle, c)
		}
	}
	if len(idle) > 0 {
		idle[0].server.pool.push(idle...)
	}
}

// woken notes that there is something to be written. It is true when nobody looks
// after that yet: the connection is to be queued then.
func (c *Conn) woken() bool {
	for {
		switch c.writing.Load() {
		case idle:
			if c.writing.CompareAndSwap(idle, busy) {
				return true
			}
		case busy:
			if c.writing.CompareAndSwap(busy, again) {
				return false
			}
		default:
			return false
		}
	}
}

// Close ends the connection with a code, after what is pending. Only the first
// call counts. It does not wait.
func (c *Conn) Close(code protocol.CloseCode, reason string) {
	c.mu.Lock()
	if c.closing != 0 {
		c.mu.Unlock()
		return
	}
	c.closing, c.reason = code, reason
	_ = c.net.SetReadDeadline(time.Now().Add(c.server.cfg.CloseGrace))
	c.mu.Unlock()
	c.server.closes(code)
	c.Wake()
}

// tick is the connection's turn on the wheel: it pings a quiet client, and ends
// with one that does not answer.
func (c *Conn) tick(time.Time) time.Duration {
	cfg, now := &c.server.cfg, c.server.clock()
	if c.isClosing() {
		return 0
	}
	seen := c.seen.Load()
	if c.pinged > seen {
		waited := time.Duration(now - c.pinged)
		if waited >= cfg.Pong && c.reads() {
			return cfg.Pong
		}
		if waited >= cfg.Pong {
			c.Close(protocol.CloseNoLife, "no sign of life")
			return 0
		}
		return cfg.Pong - waited
	}
	quiet := time.Duration(now - seen)
	if quiet < cfg.Ping-cfg.Ping/5 {
		return c.server.spread(cfg.Ping) - quiet
	}
	c.pinged, c.unread = now, c.unacknowledged()
	c.mu.Lock()
	c.ping = true
	c.mu.Unlock()
	c.Wake()
	return cfg.Pong
}

// reads tells whether a peer that owes us a pong is at least still reading, so that
// the ping may just not have got to it: a write waits for it, which has a limit of
// its own, or it has acknowledged some of what was sent.
func (c *Conn) reads() bool {
	if c.slow.Load() {
		return true
	}
	before := c.unread
	c.unread = c.unacknowledged()
	return c.unread < before
}

func (c *Conn) isClosing() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closing != 0
}

// alive notes a sign of life.
func (c *Conn) alive() { c.seen.Store(c.server.clock()) }

// Bucket is a token bucket, full at first. One goroutine uses it at a time.
type Bucket struct {
	tokens float64
	last   int64 // ns
}

// Take tells whether one more is allowed now (ns of any clock, above 0), at rate a
// second and burst at once.
func (b *Bucket) Take(now int64, rate float64, burst int) bool {
	if b.last == 0 {
		b.tokens = float64(burst)
	} else {
		b.tokens = min(b.tokens+float64(now-b.last)/1e9*rate, float64(burst))
	}
	b.last = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}
