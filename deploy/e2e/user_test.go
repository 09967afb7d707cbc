package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/parley-chat/parley/services/ingress/protocol"
)

// patience is a deadline that tests wait for: three times as long where the
// machine is shared with others.
func patience(d time.Duration) time.Duration {
	if os.Getenv("CI") != "" {
		return 3 * d
	}
	return d
}

// user is a scripted client. It remembers everything it was sent and checks on the
// way what every client may rely on: entries come in order, each once, without
// holes but for a gap or reset that was shown.
type user struct {
	t    testing.TB
	name string
	conn *websocket.Conn

	out sync.Mutex // of writes

	mu      sync.Mutex
	changed chan struct{} // closed and renewed at every change
	nextID  uint64
	replies map[uint64]protocol.Frame
	leaving map[uint64]string // leave requests by id
	rooms   map[string]*seen
	frames  []protocol.Frame // all but entries and replies
	welcome protocol.Frame
	closed  error
	done    chan struct{}
}

// seen is what a user has of one room.
type seen struct {
	epoch   string
	cursor  uint64
	live    bool // joined
	entries []entry
	resets  int
	gaps    []protocol.Range
	left    bool
}

type entry struct {
	seq      uint64
	mid      string
	from     string
	cid      string
	body     string
	received time.Time
}

type hello struct {
	token, resume, agent string
	rooms                map[string]protocol.Cursor
	dial                 func(ctx context.Context, network, address string) (net.Conn, error)
}

// connect opens a connection, says hello and waits for the welcome.
func connect(t testing.TB, edge, name string, h hello) *user {
	t.Helper()
	u, err := tryConnect(t, edge, name, h)
	if err != nil {
		t.Fatalf("%s connects to %s: %v", name, edge, err)
	}
	return u
}

func tryConnect(t testing.TB, edge, name string, h hello) (*user, error) {
	u := dialRaw(t, edge, h.dial)
	if u.closed != nil {
		return nil, u.closed
	}
	u.name = name
	frame := map[string]any{"type": "hello", "id": 1}
	set := func(k, v string) {
		if v != "" {
			frame[k] = v
		}
	}
	set("token", h.token)
	set("resume", h.resume)
	set("agent", h.agent)
	if h.token == "" {
		frame["user"] = name
	}
	for room, c := range h.rooms {
		u.rooms[room] = &seen{epoch: c.Epoch, cursor: c.Seq}
	}
	if len(h.rooms) > 0 {
		frame["rooms"] = h.rooms
	}
	raw, err := json.Marshal(frame)
	if err != nil {
		return nil, err
	}
	u.nextID = 1
	if err := u.write(string(raw)); err != nil {
		return nil, err
	}
	go u.read()
	r, err := u.reply(1, patience(15*time.Second))
	if err != nil {
		u.drop()
		return nil, err
	}
	if r.Type != protocol.TypeWelcome {
		u.drop()
		return nil, r.Err()
	}
	u.mu.Lock()
	u.welcome = r
	u.mu.Unlock()
	return u, nil
}

// dialRaw opens a connection and says nothing. Its closed is set when that fails.
func dialRaw(t testing.TB, edge string, dial func(context.Context, string, string) (net.Conn, error)) *user {
	u := &user{t: t, changed: make(chan struct{}), done: make(chan struct{}),
		replies: map[uint64]protocol.Frame{}, leaving: map[uint64]string{}, rooms: map[string]*seen{}}
	d := websocket.Dialer{HandshakeTimeout: patience(10 * time.Second), ReadBufferSize: 4096, NetDialContext: dial}
	conn, res, err := d.Dial("ws"+strings.TrimPrefix(edge, "http")+"/ws", nil)
	if err != nil {
		if res != nil {
			err = fmt.Errorf("%w: %s", err, res.Status)
		}
		u.closed = err
		return u
	}
	u.conn = conn
	t.Cleanup(u.drop)
	return u
}

func (u *user) write(frame string) error {
	u.out.Lock()
	defer u.out.Unlock()
	_ = u.conn.SetWriteDeadline(time.Now().Add(patience(15 * time.Second)))
	return u.conn.WriteMessage(websocket.TextMessage, []byte(frame))
}

func (u *user) read() {
	defer close(u.done)
	for {
		_, message, err := u.conn.ReadMessage()
		u.mu.Lock()
		if err != nil {
			u.closed = err
		} else {
			for f, err := range protocol.ParseFrames(message) {
				if err != nil {
					u.t.Errorf("%s was sent %q: %v", u.name, message, err)
					break
				}
				u.take(f)
			}
		}
		close(u.changed)
		u.changed = make(chan struct{})
		u.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// take notes one frame and checks what the protocol promises of it.
func (u *user) take(f protocol.Frame) {
	f.Body = append(json.RawMessage(nil), f.Body...)
	f.Raw = append(json.RawMessage(nil), f.Raw...)
	switch {
	case f.Entry():
		u.takeEntry(f)
		return
	case f.Type == protocol.TypePing:
		go func() { _ = u.write(`{"type":"pong"}`) }()
	case f.Type == protocol.TypeJoined:
		r := u.room(f.Room)
		r.epoch, r.cursor, r.live, r.left = f.Epoch, f.After, true, false
		if f.Reset {
			r.resets++
		}
		if f.Gap != nil {
			r.gaps = append(r.gaps, *f.Gap)
		}
	case f.Type == protocol.TypeReset:
		r := u.room(f.Room)
		r.epoch, r.cursor = f.Epoch, f.Seq
		r.resets++
	case f.Type == protocol.TypeGap:
		r := u.room(f.Room)
		if f.Gap.From != r.cursor+1 {
			u.t.Errorf("%s in %s: gap %+v at cursor %d", u.name, f.Room, *f.Gap, r.cursor)
		}
		r.cursor = f.Gap.To
		r.gaps = append(r.gaps, *f.Gap)
	}
	if f.ID != 0 {
		if _, twice := u.replies[f.ID]; twice {
			u.t.Errorf("%s got a second reply to %d: %s", u.name, f.ID, f.Raw)
		}
		u.replies[f.ID] = f
		if room, ok := u.leaving[f.ID]; ok && f.Type == protocol.TypeOK {
			u.room(room).left = true
		}
		return
	}
	u.frames = append(u.frames, f)
}

func (u *user) takeEntry(f protocol.Frame) {
	r := u.room(f.Room)
	switch {
	case !r.live:
		u.t.Errorf("%s got entry %d of %s before its joined", u.name, f.Seq, f.Room)
	case r.left:
		u.t.Errorf("%s got entry %d of %s after the ok of its leave", u.name, f.Seq, f.Room)
	case f.Seq != r.cursor+1:
		u.t.Errorf("%s in %s: entry %d after %d", u.name, f.Room, f.Seq, r.cursor)
	}
	r.cursor = f.Seq
	r.entries = append(r.entries, entry{f.Seq, f.MID, f.From, f.CID, string(f.Body), time.Now()})
}

func (u *user) room(name string) *seen {
	if u.rooms[name] == nil {
		u.rooms[name] = &seen{}
	}
	return u.rooms[name]
}

// await waits until the condition, called with everything still, holds.
func (u *user) await(what string, within time.Duration, holds func() bool) {
	u.t.Helper()
	if err := u.awaitErr(what, within, holds); err != nil {
		u.t.Fatal(err)
	}
}

func (u *user) awaitErr(what string, within time.Duration, holds func() bool) error {
	timeout := time.NewTimer(within)
	defer timeout.Stop()
	for {
		u.mu.Lock()
		ok, changed, closed := holds(), u.changed, u.closed
		u.mu.Unlock()
		if ok {
			return nil
		}
		if closed != nil {
			return fmt.Errorf("%s waits for %s: the connection ended: %w", u.name, what, closed)
		}
		select {
		case <-changed:
		case <-timeout.C:
			return fmt.Errorf("%s waited %s for %s: %s", u.name, within, what, u.summary())
		}
	}
}

func (u *user) summary() string {
	u.mu.Lock()
	defer u.mu.Unlock()
	var b strings.Builder
	for name, r := range u.rooms {
		fmt.Fprintf(&b, "%s: %d entries, cursor %d, %d resets, gaps %v; ", name, len(r.entries), r.cursor, r.resets, r.gaps)
	}
	for _, f := range u.frames[max(0, len(u.frames)-5):] {
		fmt.Fprintf(&b, "%s ", f.Raw)
	}
	return b.String()
}

// ask sends a request made of the fields and waits for its reply.
func (u *user) ask(fields string) protocol.Frame {
	u.t.Helper()
	f, err := u.reply(u.post(fields), patience(15*time.Second))
	if err != nil {
		u.t.Fatalf("%s asks {%s}: %v", u.name, fields, err)
	}
	return f
}

// post sends a request without waiting and returns its id.
func (u *user) post(fields string) uint64 {
	u.mu.Lock()
	u.nextID++
	id := u.nextID
	u.mu.Unlock()
	_ = u.write(fmt.Sprintf(`{"id":%d,%s}`, id, fields))
	return id
}

func (u *user) reply(id uint64, within time.Duration) (f protocol.Frame, err error) {
	err = u.awaitErr(fmt.Sprintf("the reply to %d", id), within, func() bool {
		var ok bool
		f, ok = u.replies[id]
		return ok
	})
	return f, err
}

// join joins, and tries again as every client does while it is told that this cannot
// be done now.
func (u *user) join(room string) protocol.Frame {
	u.t.Helper()
	for deadline := time.Now().Add(patience(30 * time.Second)); ; {
		f := u.ask(fmt.Sprintf(`"type":"join","room":%q`, room))
		if f.Code != protocol.Unavailable || time.Now().After(deadline) {
			return u.must(f, protocol.TypeJoined)
		}
		<-time.After(time.Duration(f.RetryAfterMS) * time.Millisecond)
	}
}

func (u *user) must(f protocol.Frame, want string) protocol.Frame {
	u.t.Helper()
	if f.Type != want {
		u.t.Fatalf("%s got %s, want %s", u.name, f.Raw, want)
	}
	return f
}

// send sends a text under a cid and returns the reply.
func (u *user) send(room, cid, text string) protocol.Frame {
	u.t.Helper()
	return u.ask(sendFields(room, cid, text))
}

func sendFields(room, cid, text string) string {
	return fmt.Sprintf(`"type":"send","room":%q,"cid":%q,"body":{"text":%q}`, room, cid, text)
}

func (u *user) leave(room string) {
	u.t.Helper()
	u.mu.Lock()
	u.leaving[u.nextID+1] = room
	u.mu.Unlock()
	u.must(u.ask(fmt.Sprintf(`"type":"leave","room":%q`, room)), protocol.TypeOK)
}

// entries are what the user has of the room.
func (u *user) entries(room string) []entry {
	u.mu.Lock()
	defer u.mu.Unlock()
	return append([]entry(nil), u.room(room).entries...)
}

// cursor is where the user is in the room.
func (u *user) cursor(room string) protocol.Cursor {
	u.mu.Lock()
	defer u.mu.Unlock()
	r := u.room(room)
	return protocol.Cursor{Epoch: r.epoch, Seq: r.cursor}
}

// cursors are those of all rooms, for a hello that resumes.
func (u *user) cursors() map[string]protocol.Cursor {
	u.mu.Lock()
	defer u.mu.Unlock()
	out := map[string]protocol.Cursor{}
	for name, r := range u.rooms {
		if r.live && !r.left {
			out[name] = protocol.Cursor{Epoch: r.epoch, Seq: r.cursor}
		}
	}
	return out
}

// awaitSeq waits until the user is at seq in the room.
func (u *user) awaitSeq(room string, seq uint64, within time.Duration) {
	u.t.Helper()
	u.await(fmt.Sprintf("entry %d of %s", seq, room), within, func() bool { return u.room(room).cursor >= seq })
}

// awaitFrame waits for a frame without id that fits.
func (u *user) awaitFrame(what string, within time.Duration, fits func(protocol.Frame) bool) (found protocol.Frame) {
	u.t.Helper()
	u.await(what, within, func() bool {
		for _, f := range u.frames {
			if fits(f) {
				found = f
				return true
			}
		}
		return false
	})
	return found
}

// closeCode waits for the end of the connection and returns its code.
func (u *user) closeCode(within time.Duration) protocol.CloseCode {
	u.t.Helper()
	select {
	case <-u.done:
	case <-time.After(within):
		u.t.Fatalf("%s was not closed within %s: %s", u.name, within, u.summary())
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	var ce *websocket.CloseError
	if errors.As(u.closed, &ce) {
		return protocol.CloseCode(ce.Code)
	}
	u.t.Logf("%s: the connection ended without a close frame: %v", u.name, u.closed)
	return -1
}

// leaveCleanly closes with 1000.
func (u *user) leaveCleanly() {
	u.out.Lock()
	_ = u.conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""), time.Now().Add(time.Second))
	u.out.Unlock()
	select {
	case <-u.done:
	case <-time.After(patience(5 * time.Second)):
	}
	u.drop()
}

// drop breaks the line without a word.
func (u *user) drop() { _ = u.conn.Close() }
