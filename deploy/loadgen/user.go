package loadgen

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
)

// user is one virtual user: one socket, one room, one goroutine that reads. It
// knows just enough of the protocol to count and to time.
type user struct {
	name, room string
	conn       *websocket.Conn
	out        sync.Mutex // gorilla allows one writer at a time
	ids        atomic.Uint64
	ready      chan error // gets nil when the room is joined
	meter      *meter
	answered   atomic.Pointer[func(ok bool)] // called for each answer to a send
}

// dial connects, says hello and joins, and returns when all that is done.
func dial(ctx context.Context, url, name, room string, m *meter) (*user, error) {
	d := websocket.Dialer{
		ReadBufferSize: 4096, WriteBufferSize: 512, HandshakeTimeout: 30 * time.Second,
		NetDialContext: (&net.Dialer{LocalAddr: source(name)}).DialContext,
	}
	conn, res, err := d.DialContext(ctx, "ws"+url[len("http"):]+"/ws", http.Header{})
	if err != nil {
		if res != nil {
			return nil, fmt.Errorf("connect %s to %s: %s", name, url, res.Status)
		}
		return nil, fmt.Errorf("connect %s to %s: %w", name, url, err)
	}
	u := &user{name: name, room: room, conn: conn, ready: make(chan error, 1), meter: m}
	hello := fmt.Sprintf(`{"type":"hello","id":1,"user":%q}`, name)
	if room != "" {
		hello += fmt.Sprintf("\n"+`{"type":"join","id":2,"room":%q}`, room)
	}
	u.ids.Store(2)
	if err := u.write([]byte(hello)); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return u, nil
}

// source spreads the users over loopback addresses: one address has only so many
// local ports.
func source(name string) net.Addr {
	var sum byte
	for _, c := range []byte(name) {
		sum = sum*31 + c
	}
	return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1+sum%8)}
}

func (u *user) write(frame []byte) error {
	u.out.Lock()
	defer u.out.Unlock()
	return u.conn.WriteMessage(websocket.TextMessage, frame)
}

// send publishes one message that carries the time at which it was due.
func (u *user) send(due time.Time, body int) error {
	id := u.ids.Add(1)
	var b bytes.Buffer
	fmt.Fprintf(&b, `{"type":"send","id":%d,"room":%q,"cid":"%s-%d","body":{"t":%d,"p":"`, id, u.room, u.name, id, due.UnixNano())
	for range max(0, body-40) {
		b.WriteByte('x')
	}
	b.WriteString(`"}}`)
	u.meter.due.Store(key{u, id}, due)
	return u.write(b.Bytes())
}

// read counts what comes until the connection ends.
func (u *user) read() {
	for {
		_, frame, err := u.conn.ReadMessage()
		if err != nil {
			u.meter.closed(err)
			select {
			case u.ready <- err:
			default:
			}
			return
		}
		now := time.Now()
		for line := range bytes.SplitSeq(frame, []byte("\n")) {
			u.line(line, now)
		}
	}
}

func (u *user) line(line []byte, now time.Time) {
	switch kind(line) {
	case "message":
		u.meter.delivered(now, number(line, `"t":`))
	case "ok":
		u.meter.acked(now, key{u, uint64(number(line, `"id":`))})
		u.answer(true)
	case "error":
		u.meter.refused(key{u, uint64(number(line, `"id":`))})
		select {
		case u.ready <- fmt.Errorf("%s", line):
		default:
		}
		u.answer(false)
	case "welcome":
		if u.room == "" {
			u.ready <- nil
		}
	case "joined":
		u.ready <- nil
	case "ping":
		_ = u.write([]byte(`{"type":"pong"}`))
	}
}

// onAnswer has fn called for each answer to a send from now on.
func (u *user) onAnswer(fn func(ok bool)) { u.answered.Store(&fn) }

func (u *user) answer(ok bool) {
	if fn := u.answered.Load(); fn != nil {
		(*fn)(ok)
	}
}

func (u *user) close() {
	_ = u.conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""), time.Now().Add(time.Second))
	_ = u.conn.Close()
}

// kind is the value of a frame's first "type", read without decoding it: servers
// put it first.
func kind(line []byte) string {
	const mark = `"type":"`
	i := bytes.Index(line, []byte(mark))
	if i < 0 {
		return ""
	}
	rest := line[i+len(mark):]
	if j := bytes.IndexByte(rest, '"'); j >= 0 {
		return string(rest[:j])
	}
	return ""
}

// number is the number behind the mark; 0 if there is none.
func number(line []byte, mark string) int64 {
	i := bytes.Index(line, []byte(mark))
	if i < 0 {
		return 0
	}
	rest := line[i+len(mark):]
	j := 0
	for j < len(rest) && rest[j] >= '0' && rest[j] <= '9' {
		j++
	}
	n, _ := strconv.ParseInt(string(rest[:j]), 10, 64)
	return n
}
