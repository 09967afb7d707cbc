package socket

import (
	"io"
	"slices"
	"sync"
	"unicode/utf8"

	"github.com/parley-chat/parley/services/ingress/protocol"
)

// inputBytes is how much a connection reads at once, if no longer frame is on its way.
const inputBytes = 2 << 10

// input is what a connection has read and not handed on. An idle connection has none.
type input struct {
	buf   []byte // from the first byte of a frame on
	parts []byte // what a message in fragments has so far
	open  bool   // there is such a message
	since int64  // when its first byte, or that of what is in buf, was read; 0: there is neither
}

var inputs = sync.Pool{New: func() any { return &input{buf: make([]byte, 0, inputBytes)} }}

// release gives the memory back. The odd large buffer is not worth keeping.
func (in *input) release() {
	if cap(in.buf) > 8*inputBytes || cap(in.parts) > 8*inputBytes {
		return
	}
	in.buf, in.parts, in.open, in.since = in.buf[:0], in.parts[:0], false, 0
	inputs.Put(in)
}

func (in *input) pending() bool { return in.open || len(in.buf) > 0 }

// fill reads once, with twice the room where a frame did not fit.
func (in *input) fill(r io.Reader) error {
	if len(in.buf) == cap(in.buf) {
		in.buf = slices.Grow(in.buf, len(in.buf))
	}
	n, err := r.Read(in.buf[len(in.buf):cap(in.buf)])
	in.buf = in.buf[:len(in.buf)+n]
	if n > 0 {
		return nil // an error comes again
	}
	return err
}

// digest handles the frames that are all there, and keeps what is left.
func (c *Conn) digest(in *input) error {
	rest := in.buf
	for {
		n, err := c.frame(in, rest)
		if err != nil {
			return err
		}
		if n == 0 {
			break
		}
		rest = rest[n:]
		if !in.open {
			in.since = 0
		}
	}
	in.buf = in.buf[:copy(in.buf, rest)]
	return nil
}

// frame handles the first frame of what was read, and returns its length; 0: it is not all there.
func (c *Conn) frame(in *input, read []byte) (int, error) {
	h, ok, err := parseHeader(read)
	if !ok || err != nil {
		return 0, err
	}
	if err := c.allowed(in, &h); err != nil {
		return 0, err
	}
	if uint64(len(read)-h.size) < h.length {
		return 0, nil
	}
	n := h.size + int(h.length)
	payload := read[h.size:n]
	unmask(payload, h.mask)
	c.alive()
	if h.control() {
		return n, c.controlFrame(h.op, payload)
	}
	if in.open || !h.fin {
		in.parts, in.open = append(in.parts, payload...), true
		payload = in.parts
	}
	if h.fin {
		err = c.message(payload)
		in.parts, in.open = in.parts[:0], false
	}
	return n, err
}

// allowed tells what is wrong with a frame by its header.
func (c *Conn) allowed(in *input, h *header) error {
	switch {
	case h.control():
	case in.open != (h.op == opMore):
		return errBroken
	case h.op == opBinary:
		return &violation{protocol.CloseBinary, "only text messages are understood"}
	case h.length > uint64(max(c.limit-len(in.parts), 0)):
		return errTooLarge
	}
	return nil
}

func (c *Conn) message(data []byte) error {
	if !utf8.Valid(data) {
		return &violation{protocol.CloseNotUTF8, "not UTF-8"}
	}
	if !c.isClosing() {
		c.handler.Receive(data)
	}
	return nil
}

// controlFrame counts control frames, which cost the peer nothing.
func (c *Conn) controlFrame(op byte, payload []byte) error {
	if op == opClose&opMask {
		return parseFarewell(payload)
	}
	if !c.control.Take(c.server.clock(), c.server.cfg.ControlRate, c.server.cfg.ControlBurst) {
		return &violation{protocol.ClosePolicy, "too many pings and pongs"}
	}
	if op == opPing&opMask {
		c.mu.Lock()
		c.pong, c.hasPong = append(c.pong[:0], payload...), true
		c.mu.Unlock()
		c.Wake()
	}
	return nil
}
