package crowd

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/parley-chat/parley/deploy/loadgen/dialect"
	"github.com/parley-chat/parley/deploy/loadgen/wire"
)

type state uint8

const (
	gone state = iota
	connecting
	shaking // the handshake is sent
	joining
	joined
)

// conn is one virtual user. There are tens of thousands: what is only sometimes
// needed is a pointer or an empty slice.
type conn struct {
	fd     int32
	life   int32 // counts its connections, to tell late events of an earlier one
	number int   // in the whole crowd
	room   int
	state  state
	writer bool
	behind bool // has not yet what it missed
	text   bool // within a text message of several frames
	tries  uint8
	epoch  string
	seq    uint64 // the newest entry it has
	head   uint64 // the newest there was when it joined
	in     []byte // the beginning of a frame
	out    []byte // what the socket did not take yet
	parts  []byte // of a text message of several frames
}

// connect begins a connection.
func (l *loop) connect(i int32) error {
	c := &l.conns[i]
	to := l.servers[c.server(len(l.servers), l.cfg.perRoom())]
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	fail := func(what string, err error) error {
		_ = unix.Close(fd)
		return fmt.Errorf("%s %s: %w", what, to.host, err)
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return fail("set TCP_NODELAY to", err)
	}
	if l.cfg.Sources > 1 && to.loopback {
		// One address has 28,000 local ports; without this option they were taken
		// from all destinations at once.
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
		from := &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, byte(1 + c.number%l.cfg.Sources)}}
		if err := unix.Bind(fd, from); err != nil {
			return fail("bind for", err)
		}
	}
	err = unix.Connect(fd, &unix.SockaddrInet4{Addr: to.address, Port: to.port})
	if err != nil && !errors.Is(err, unix.EINPROGRESS) {
		return fail("connect to", err)
	}
	c.fd, c.life, c.state = int32(fd), c.life+1, connecting
	c.in, c.out, c.parts, c.text = nil, nil, nil, false
	event := unix.EpollEvent{
		Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET, Fd: i, Pad: c.life,
	}
	if err := unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, fd, &event); err != nil {
		c.state = gone
		return fail("watch", err)
	}
	l.counts.Open++
	return nil
}

// server spreads a room's members over all servers, and rooms' first members, too.
func (c *conn) server(n, perRoom int) int { return (c.number/perRoom + c.number%perRoom) % n }

func (c *conn) user(prefix string) string { return prefix + "u" + strconv.Itoa(c.number) }

// ready is called when the socket can be read or written.
func (l *loop) ready(i, life int32, events uint32) {
	c := &l.conns[i]
	if c.state == gone || c.life != life {
		return
	}
	if c.state == connecting {
		if code, err := unix.GetsockoptInt(int(c.fd), unix.SOL_SOCKET, unix.SO_ERROR); err != nil || code != 0 {
			l.lose(i, "connect: "+unix.Errno(code).Error())
			return
		}
		if events&unix.EPOLLOUT == 0 {
			return
		}
		c.state = shaking
		room := l.rooms[c.room]
		l.payload = wire.AppendHandshake(l.payload[:0], l.servers[c.server(len(l.servers), l.cfg.perRoom())].host,
			l.dialect.Path(c.user(l.cfg.Prefix), room))
		l.write(i, l.payload)
	} else if len(c.out) > 0 && events&unix.EPOLLOUT != 0 {
		out := c.out
		c.out = nil
		l.write(i, out)
	}
	if events&(unix.EPOLLIN|unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		l.read(i, life)
	}
}

// read takes what there is. A read that does not fill the buffer has emptied the
// socket; what comes later is a new event (the events are edges).
func (l *loop) read(i, life int32) {
	for {
		c := &l.conns[i]
		if c.state == gone || c.life != life {
			return
		}
		n, err := unix.Read(int(c.fd), l.buf)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			l.lose(i, err.Error())
			return
		case n == 0:
			l.lose(i, "closed without a close frame")
			return
		}
		l.take(i, life, l.buf[:n], time.Now().UnixNano())
		if n < len(l.buf) {
			return
		}
	}
}

// take takes bytes apart; what is not complete waits in the connection.
func (l *loop) take(i, life int32, b []byte, now int64) {
	c := &l.conns[i]
	joint := len(c.in) > 0
	if joint {
		c.in = append(c.in, b...)
		b = c.in
	}
	for len(b) > 0 {
		n, err := l.takeOne(i, b, now)
		if err != nil {
			l.lose(i, err.Error())
		}
		if c.state == gone || c.life != life {
			return
		}
		if n == 0 {
			break
		}
		b = b[n:]
	}
	switch {
	case len(b) == 0:
		c.in = nil
	case joint:
		c.in = c.in[:copy(c.in, b)]
	default:
		c.in = append([]byte(nil), b...)
	}
}

func (l *loop) takeOne(i int32, b []byte, now int64) (int, error) {
	c := &l.conns[i]
	if c.state == shaking {
		n, err := wire.Accepted(b)
		if n > 0 && err == nil {
			l.hello(i)
		}
		return n, err
	}
	f, n, err := wire.Next(b)
	if err != nil || n == 0 {
		return n, err
	}
	switch f.Op {
	case wire.Text, wire.Continuation:
		l.text(i, f, now)
	case wire.Ping:
		l.send(i, wire.Pong, f.Payload)
	case wire.Close:
		l.lose(i, "close "+strconv.Itoa(wire.CloseCode(f.Payload)))
	}
	return n, nil
}

func (l *loop) text(i int32, f wire.Frame, now int64) {
	c := &l.conns[i]
	payload := f.Payload
	if !f.Fin || c.text {
		c.parts = append(c.parts, payload...)
		c.text = !f.Fin
		if c.text {
			return
		}
		payload, c.parts = c.parts, nil
	}
	for len(payload) > 0 {
		line := payload
		if end := bytes.IndexByte(payload, '\n'); end >= 0 {
			line, payload = payload[:end], payload[end+1:]
		} else {
			payload = nil
		}
		l.line(i, l.dialect.Parse(line), now)
	}
}

// hello says who it is, and where it was.
func (l *loop) hello(i int32) {
	c := &l.conns[i]
	c.state = joining
	var at *dialect.Cursor
	if c.epoch != "" {
		at = &dialect.Cursor{Epoch: c.epoch, Seq: c.seq}
	}
	if l.payload = l.dialect.AppendHello(l.payload[:0], c.user(l.cfg.Prefix), l.rooms[c.room], at); len(l.payload) > 0 {
		l.send(i, wire.Text, l.payload)
	}
}

// send sends one frame.
func (l *loop) send(i int32, op byte, payload []byte) {
	l.frame = wire.Append(l.frame[:0], op, payload)
	l.write(i, l.frame)
}

// write writes, and keeps what the socket does not take.
func (l *loop) write(i int32, b []byte) {
	c := &l.conns[i]
	if len(c.out) > 0 {
		c.out = append(c.out, b...)
		return
	}
	for len(b) > 0 {
		n, err := unix.Write(int(c.fd), b)
		switch {
		case errors.Is(err, unix.EAGAIN):
			c.out = append([]byte(nil), b...)
			return
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return // the read that follows says why
		default:
			b = b[n:]
		}
	}
}

// lose takes note of a connection that ended without our doing.
func (l *loop) lose(i int32, why string) {
	c := &l.conns[i]
	if c.state == gone {
		return
	}
	was := c.state
	l.shut(i)
	if was == joined && !c.behind {
		l.counts.Closed++
		l.reasons[why]++
		l.abandon(i, time.Now().UnixNano())
		return
	}
	l.failed(i, why)
}

// shut closes the socket.
func (l *loop) shut(i int32) {
	c := &l.conns[i]
	_ = unix.Close(int(c.fd))
	l.counts.Open--
	if c.state == joined {
		l.counts.Joined--
	}
	c.state, c.in, c.out, c.parts = gone, nil, nil, nil
}
