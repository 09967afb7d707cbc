package socket

import (
	"encoding/binary"
	"errors"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/parley-chat/parley/services/ingress/protocol"
)

// rounds is how often a worker looks for more before others get their turn.
const rounds = 4

// maxBuffer is the largest write buffer that is kept for the next batch.
const maxBuffer = 256 << 10

var writeBuffers = sync.Pool{New: func() any { b := make([]byte, 0, 4<<10); return &b }}

// gather makes the frames to be written next: pong and ping, then one message
// with what the handler has, or the close frame when it has nothing more. more is
// false when that was all there was; who adds something later wakes the connection.
func (c *Conn) gather(buf []byte) (_ []byte, more bool) {
	before := len(buf)
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return buf, false
	}
	more = c.closing != 0
	if c.hasPong {
		buf = appendFrame(buf, opPong, c.pong)
		c.pong, c.hasPong = nil, false
	}
	ping := c.ping
	c.ping = false
	c.mu.Unlock()

	if ping {
		buf = appendFrame(buf, opPing, nil)
	}
	start := len(buf)
	buf = append(buf, make([]byte, headRoom)...)
	if ping {
		buf = append(protocol.AppendPing(buf), '\n')
	}
	limit := start + c.server.cfg.WriteBytes
	buf = c.handler.Fill(buf, limit)
	more = more || len(buf) >= limit
	buf = closeFrameAt(buf, start)
	if len(buf) > before {
		return buf, more
	}

	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing != 0 && !c.closed {
		buf, more = c.goodbyeFrame(buf), true
	}
	return buf, more
}

// goodbyeFrame appends the close frame; c.mu is held. Codes that exist only for
// their holder (1005, 1006) are answered without one.
func (c *Conn) goodbyeFrame(buf []byte) []byte {
	if c.closing == protocol.CloseAbnormal {
		c.markClosed()
		return buf
	}
	var payload []byte
	if c.closing != protocol.CloseNoStatus {
		payload = binary.BigEndian.AppendUint16(nil, uint16(c.closing))
		payload = append(payload, c.reason[:min(len(c.reason), 100)]...)
	}
	c.closed = true
	return appendFrame(buf, opClose, payload)
}

// written tells whoever waits for the goodbye that it is out.
func (c *Conn) written() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		c.markClosed()
	}
}

func (c *Conn) markClosed() {
	c.closed, c.parted = true, true
	if c.goodbye == nil {
		c.goodbye = make(chan struct{})
	}
	select {
	case <-c.goodbye:
	default:
		close(c.goodbye)
	}
}

// tryWrite writes without waiting and returns how much the socket took.
func (c *Conn) tryWrite(out []byte) (n int, err error) {
	if c.raw == nil {
		return 0, nil
	}
	werr := c.raw.Write(func(fd uintptr) bool {
		for n < len(out) {
			var k int
			if k, err = writeNow(fd, out[n:]); k == 0 {
				break
			}
			n += k
		}
		return true
	})
	return n, errors.Join(err, werr)
}

// writeSlowly waits for a slow reader, as long as it reads at all, and then has
// the workers go on.
func (c *Conn) writeSlowly(rest []byte) {
	c.server.stalled.Add(1)
	c.slow.Store(true)
	defer func() {
		c.slow.Store(false)
		c.server.stalled.Add(-1)
	}()
	rest, err := c.drip(rest, c.server.cfg.WriteStall)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = c.dismiss(rest)
	}
	if err != nil {
		c.broken()
		return
	}
	_ = c.net.SetWriteDeadline(time.Time{})
	c.written()
	c.server.pool.push(c)
}

// drip writes as fast as the peer reads; the error is a deadline's when it has made no
// progress for as long as patience. Progress is also what the peer's host acknowledges:
// the system has a socket written to again only when a third of what it holds is gone.
func (c *Conn) drip(rest []byte, patience time.Duration) ([]byte, error) {
	look := patience // how often to look for progress
	if c.raw != nil {
		look /= 4
	}
	progress := time.Now()
	for len(rest) > 0 {
		before := c.unacknowledged()
		_ = c.net.SetWriteDeadline(time.Now().Add(look))
		n, err := c.writeSome(rest)
		rest = rest[n:]
		switch {
		case err != nil && !errors.Is(err, os.ErrDeadlineExceeded):
			return rest, err
		case n > 0 || c.unacknowledged() < before:
			progress = time.Now()
		case time.Since(progress) >= patience:
			return rest, err
		}
	}
	return nil, nil
}

// writeSome waits until the socket takes something, at most until the write deadline,
// and returns how much it took.
func (c *Conn) writeSome(out []byte) (n int, err error) {
	if c.raw == nil {
		return c.net.Write(out[:min(len(out), 1<<10)])
	}
	werr := c.raw.Write(func(fd uintptr) bool {
		n, err = writeNow(fd, out)
		return n > 0 || err != nil
	})
	return n, errors.Join(err, werr)
}

// writeNow is one write to a socket that does not block: 0 when it takes nothing now.
func writeNow(fd uintptr, out []byte) (n int, err error) {
	for {
		n, err = syscall.Write(int(fd), out)
		switch err {
		case nil:
			return n, nil
		case syscall.EINTR:
		case syscall.EAGAIN:
			return 0, nil
		default:
			return 0, err
		}
	}
}

// dismiss ends the connection of a peer that reads nothing. Its session ends at
// once; what is half written and the close frame wait for a while longer, so that a
// peer that wakes up is told why. Nothing else is written.
func (c *Conn) dismiss(rest []byte) error {
	c.Close(protocol.CloseSlow, "no progress for "+c.server.cfg.WriteStall.String())
	c.mu.Lock()
	if !c.closed {
		rest = c.goodbyeFrame(rest)
	}
	patience := c.server.cfg.SlowGrace
	if c.closing != protocol.CloseSlow { // it was being closed already
		patience = c.server.cfg.CloseGrace
	}
	c.mu.Unlock()
	_, err := c.drip(rest, patience)
	return err
}

// broken ends a connection that cannot be written to any more; the reader sees it.
func (c *Conn) broken() {
	c.mu.Lock()
	c.markClosed()
	c.mu.Unlock()
	c.hangUp()
}

// hangUp closes the network connection, at no time when it is written to through its descriptor.
func (c *Conn) hangUp() {
	c.fdMu.Lock()
	c.hungUp = true
	_ = c.net.Close()
	c.fdMu.Unlock()
}

// holdFD keeps the descriptor open until fdMu is unlocked; false: there is none, or not any more.
func (c *Conn) holdFD() bool {
	c.fdMu.Lock()
	if c.hungUp || c.fd < 0 {
		c.fdMu.Unlock()
		return false
	}
	return true
}
