package socket

import (
	"errors"
	"io"
	"net"
	"time"

	"github.com/parley-chat/parley/services/ingress/protocol"
)

// violation is input that ends the connection with a code.
type violation struct {
	code   protocol.CloseCode
	reason string
}

func (v *violation) Error() string { return v.reason }

// run waits for input until the connection has ended. Nothing that goes deep may be called here: the stack must
// stay as small as goroutines begin, 2 KiB, as each idle connection has one. What there is to be done
// is the crew's.
func (c *Conn) run() {
	for c.end == nil {
		c.end = c.wait()
		c.turn.Add(1)
		c.server.crew.Go(c)
		c.turn.Wait()
	}
}

// do reads what there is and handles it, or sees the connection off when it is over. run waits for it.
func (c *Conn) do() {
	defer c.turn.Done()
	if c.end == nil {
		c.end = c.read()
	}
	if c.end != nil {
		c.over()
	}
}

// over sees the connection off. It is the one place that closes the network connection for good.
func (c *Conn) over() {
	end := c.ending(c.end)
	if c.in != nil {
		c.in.release()
		c.in = nil
	}
	c.handler.Ended(end)
	c.Close(end.Code, "") // answers the peer's goodbye; without effect where we were first
	var said *farewell
	c.seeOff(errors.As(c.end, &said))
	c.hangUp()
	c.release()
}

// read reads once, handles what is whole, and sets the deadline for the next time.
func (c *Conn) read() error {
	if c.in == nil {
		c.in = inputs.Get().(*input)
	}
	in, now := c.in, c.server.clock()
	if err := in.fill(c.net); err != nil {
		return err
	}
	if err := c.digest(in); err != nil {
		return err
	}
	by := c.hello
	if in.pending() {
		if in.since == 0 {
			in.since = now
		}
		if limit := in.since + int64(c.server.cfg.MessageTimeout); by == 0 || limit < by {
			by = limit
		}
	} else {
		in.release()
		c.in = nil
	}
	c.deadline(by)
	return nil
}

// wait waits until there is something to read, or the connection ends. Where the transport is no plain socket, reads wait.
func (c *Conn) wait() error {
	if c.raw == nil {
		return nil
	}
	return c.raw.Read(readable)
}

// deadline sets the read deadline (of the server's clock; 0: none), unless Close has set the last one.
func (c *Conn) deadline(by int64) {
	if c.by == by {
		return
	}
	c.by = by
	var t time.Time
	if by != 0 {
		t = c.server.began.Add(time.Duration(by))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing == 0 {
		_ = c.net.SetReadDeadline(t)
	}
}

// ending turns what ended the reading into a code, closing with it where the
// peer is to be told.
func (c *Conn) ending(err error) Ending {
	var bad *violation
	var said *farewell
	c.mu.Lock()
	ours := c.closing
	c.mu.Unlock()
	switch {
	case ours != 0:
		return Ending{Code: ours}
	case errors.As(err, &bad):
		c.Close(bad.code, bad.reason)
		return Ending{Code: bad.code}
	case errors.As(err, &said):
		return Ending{Code: said.code, Clean: said.code == protocol.CloseNormal || said.code == protocol.CloseGoingAway}
	case timedOut(err) && c.hello == 0:
		c.Close(protocol.ClosePolicy, "a message must be complete within "+c.server.cfg.MessageTimeout.String())
		return Ending{Code: protocol.ClosePolicy}
	case timedOut(err):
		c.Close(protocol.CloseNoHello, "no hello in time")
		return Ending{Code: protocol.CloseNoHello}
	default:
		return Ending{Code: protocol.CloseAbnormal}
	}
}

// timedOut tells a read deadline.
func timedOut(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
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
