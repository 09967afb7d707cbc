package socket

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/gorilla/websocket"
	"github.com/parley-chat/parley/services/ingress/protocol"
)

// violation is input that ends the connection with a code.
type violation struct {
	code   protocol.CloseCode
	reason string
}

func (v *violation) Error() string { return v.reason }

// buffers holds what messages are read into, so that an idle connection has none.
var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 2048); return &b }}

// run reads until the connection ends, and then sees it off. It is the one place
// that closes the network connection for good.
func (c *Conn) run() {
	err := c.read()
	end := c.ending(err)
	c.handler.Ended(end)
	c.Close(end.Code, "") // answers the peer's goodbye; without effect where we were first
	var said *websocket.CloseError
	c.seeOff(errors.As(err, &said))
	c.hangUp()
	c.release()
}

// read passes messages to the handler until the connection or the input ends.
func (c *Conn) read() error {
	c.ws.SetReadLimit(int64(c.server.cfg.HelloBytes))
	c.ws.SetPingHandler(c.onPing)
	c.ws.SetPongHandler(func(string) error { return c.onControl() })
	c.ws.SetCloseHandler(func(int, string) error { return nil })
	for {
		c.deadline(c.hello)
		kind, r, err := c.ws.NextReader()
		if err != nil {
			return err
		}
		c.alive()
		if kind != websocket.TextMessage {
			return &violation{protocol.CloseBinary, "only text messages are understood"}
		}
		if err := c.message(r); err != nil {
			return err
		}
	}
}

// message reads one message whole and hands it on.
func (c *Conn) message(r io.Reader) error {
	by := time.Now().Add(c.server.cfg.MessageTimeout)
	if !c.hello.IsZero() && c.hello.Before(by) {
		by = c.hello
	}
	c.deadline(by)
	buf := buffers.Get().(*[]byte)
	defer func() {
		if cap(*buf) <= 16<<10 { // the odd large one is not worth keeping
			buffers.Put(buf)
		}
	}()
	data, err := readInto((*buf)[:0], r)
	*buf = data
	switch {
	case timedOut(err) && c.hello.IsZero() && !c.isClosing():
		return &violation{protocol.ClosePolicy, "a message must be complete within " + c.server.cfg.MessageTimeout.String()}
	case err != nil:
		return err
	case !utf8.Valid(data):
		return &violation{protocol.CloseNotUTF8, "not UTF-8"}
	}
	c.alive()
	if !c.isClosing() {
		c.receive(data)
	}
	return nil
}

// receive calls the handler, not on the reader's stack, and waits for it.
func (c *Conn) receive(data []byte) {
	done := make(chan struct{})
	c.server.crew.Go(func() {
		defer close(done)
		c.handler.Receive(data)
	})
	<-done
}

func readInto(buf []byte, r io.Reader) ([]byte, error) {
	for {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if err == io.EOF {
			return buf, nil
		}
		if err != nil {
			return buf, err
		}
	}
}

// deadline sets the read deadline (zero: none), unless Close has set the last one.
func (c *Conn) deadline(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing == 0 {
		_ = c.net.SetReadDeadline(t)
	}
}

func (c *Conn) onPing(payload string) error {
	if err := c.onControl(); err != nil {
		return err
	}
	c.mu.Lock()
	c.pong, c.hasPong = append(c.pong[:0], payload...), true
	c.mu.Unlock()
	c.Wake()
	return nil
}

// onControl counts control frames, which cost the peer nothing.
func (c *Conn) onControl() error {
	c.alive()
	if !c.control.Take(c.server.clock(), c.server.cfg.ControlRate, c.server.cfg.ControlBurst) {
		return &violation{protocol.ClosePolicy, "too many pings and pongs"}
	}
	return nil
}

// ending turns what ended the reading into a code, closing with it where the
// peer is to be told.
func (c *Conn) ending(err error) Ending {
	var bad *violation
	var said *websocket.CloseError
	c.mu.Lock()
	ours := c.closing
	c.mu.Unlock()
	switch {
	case ours != 0:
		return Ending{Code: ours}
	case errors.As(err, &bad):
		c.Close(bad.code, bad.reason)
		return Ending{Code: bad.code}
	case errors.Is(err, websocket.ErrReadLimit):
		c.Close(protocol.CloseTooLarge, "message too large")
		return Ending{Code: protocol.CloseTooLarge}
	case errors.As(err, &said) && said.Code != int(protocol.CloseAbnormal):
		code := protocol.CloseCode(said.Code)
		return Ending{Code: code, Clean: code == protocol.CloseNormal || code == protocol.CloseGoingAway}
	case timedOut(err):
		c.Close(protocol.CloseNoHello, "no hello in time")
		return Ending{Code: protocol.CloseNoHello}
	case isNetError(err):
		return Ending{Code: protocol.CloseAbnormal}
	default: // gorilla's words for a broken frame
		c.Close(closeProtocolError, "broken frame")
		return Ending{Code: closeProtocolError}
	}
}

// closeProtocolError is RFC 6455's 1002, for broken framing.
const closeProtocolError protocol.CloseCode = 1002

// timedOut tells a read deadline; the library wraps it beyond os.ErrDeadlineExceeded.
func timedOut(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

func isNetError(err error) bool {
	var op *net.OpError
	var said *websocket.CloseError
	return errors.As(err, &op) || errors.As(err, &said) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed)
}

// seeOff waits until the close frame is out. Unless the peer has said goodbye it
// then waits for it to hang up, so that our frame is read and not overtaken by a
// reset.
func (c *Conn) seeOff(said bool) {
	grace := c.server.cfg.CloseGrace
	c.mu.Lock()
	switch c.closing {
	case protocol.CloseAbnormal:
		c.mu.Unlock()
		return
	case protocol.CloseSlow:
		grace = c.server.cfg.SlowGrace
	}
	if c.goodbye == nil {
		c.goodbye = make(chan struct{})
		if c.parted {
			close(c.goodbye)
		}
	}
	out := c.goodbye
	c.mu.Unlock()
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-out:
	case <-timer.C:
		return
	}
	if said {
		return
	}
	if half, ok := c.net.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	_ = c.net.SetReadDeadline(time.Now().Add(grace))
	_, _ = io.CopyN(io.Discard, c.net, 1<<20)
}
