package chaos

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"

	"github.com/parley-chat/parley/services/ingress/protocol"
)

const (
	outQueue   = 256
	writeTime  = 15 * time.Second
	retryAfter = 300 * time.Millisecond // where the server does not say
)

// link is one connection of a user. All but what is said to be otherwise is under
// the user's mutex.
type link struct {
	user   *user
	edge   string
	number int
	old    *link // closed when this one is in place; may be nil
	ws     *websocket.Conn
	out    chan []byte
	over   chan struct{} // closed when the line has ended
	moving chan struct{} // closed when the server asked to move
	work   sync.WaitGroup

	opened  time.Time
	lastAsk time.Time
	nextID  uint64
	asks    map[uint64]protocol.Request // unanswered
	asked   map[string]*Since           // what a join that is under way asked for
	joined  map[string]bool
	epochs  map[string]string
	again   map[string]time.Time // joins that were refused for now
	moved   bool
	ended   bool
	gate    chan struct{} // closed or nil: read
	mute    atomic.Bool   // answer no pings
	forsake bool          // nothing more is written down of it
}

func newLink(u *user, edge string, number int, old *link) *link {
	return &link{user: u, edge: edge, number: number, old: old, out: make(chan []byte, outQueue),
		over: make(chan struct{}), moving: make(chan struct{}), opened: time.Now(), nextID: 1,
		asks: map[uint64]protocol.Request{}, asked: map[string]*Since{}, joined: map[string]bool{},
		epochs: map[string]string{}, again: map[string]time.Time{}}
}

// open connects, says hello and waits for the welcome.
func (l *link) open(ctx context.Context, hello protocol.Request) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	d := websocket.Dialer{ReadBufferSize: 4096, WriteBufferSize: 1024}
	ws, res, err := d.DialContext(ctx, "ws"+strings.TrimPrefix(l.edge, "http")+protocol.Path, nil)
	if err != nil {
		if res != nil {
			return fmt.Errorf("%w: %s", err, res.Status)
		}
		return err
	}
	l.ws = ws
	raw, err := protocol.AppendRequest(nil, &hello)
	if err == nil {
		_ = ws.SetWriteDeadline(time.Now().Add(writeTime))
		err = ws.WriteMessage(websocket.TextMessage, raw)
	}
	if err != nil {
		_ = ws.Close()
		return err
	}
	_ = ws.SetReadDeadline(time.Now().Add(10 * time.Second))
	_, message, err := ws.ReadMessage()
	if err != nil {
		_ = ws.Close()
		return err
	}
	_ = ws.SetReadDeadline(time.Time{})
	if f, err := protocol.ParseFrame(bytes.SplitN(message, []byte("\n"), 2)[0]); err != nil || f.Type != protocol.TypeWelcome {
		_ = ws.Close()
		return fmt.Errorf("instead of welcome: %.200s", message)
	}
	answer := ws.PingHandler()
	ws.SetPingHandler(func(data string) error {
		if l.mute.Load() {
			return nil
		}
		return answer(data)
	})
	l.user.record(l, Line{Kind: Opened, Text: l.edge})
	l.take(message)
	l.work.Go(l.write)
	l.user.load.work.Go(l.read)
	return nil
}

func (l *link) write() {
	for {
		select {
		case raw := <-l.out:
			_ = l.ws.SetWriteDeadline(time.Now().Add(writeTime))
			if l.ws.WriteMessage(websocket.TextMessage, raw) != nil {
				_ = l.ws.Close()
				return
			}
		case <-l.over:
			return
		}
	}
}

func (l *link) read() {
	var err error
	for err == nil {
		var message []byte
		if _, message, err = l.ws.ReadMessage(); err == nil {
			l.wait()
			l.take(message)
		}
	}
	u := l.user
	u.mu.Lock()
	l.end(err)
	u.mu.Unlock()
	_ = l.ws.Close()
	l.work.Wait()
}

// end is the end of the line as the user sees it; called with the mutex.
func (l *link) end(err error) {
	if l.ended {
		return
	}
	l.ended = true
	code := "broken"
	if ce := (*websocket.CloseError)(nil); errors.As(err, &ce) {
		code = strconv.Itoa(ce.Code)
	}
	l.user.record(l, Line{Kind: Closed, Code: code})
	l.forsake = true
	if l.user.link == l {
		l.user.link = nil
	}
	close(l.over)
}

// take goes through one message's frames.
func (l *link) take(message []byte) {
	u := l.user
	u.mu.Lock()
	defer u.mu.Unlock()
	for f, err := range protocol.ParseFrames(message) {
		if l.forsake {
			return
		}
		if err != nil {
			u.load.cfg.Recorder.Write(Line{Kind: Looked, Code: "I2", Text: fmt.Sprintf("%s was sent a frame that cannot be read: %v", u.client, err)})
			return
		}
		l.frame(f)
	}
}

func (l *link) frame(f protocol.Frame) {
	u := l.user
	asked := l.asks[f.ID]
	delete(l.asks, f.ID)
	switch {
	case f.Entry():
		l.entry(f)
	case f.Type == protocol.TypeWelcome:
		u.resume, u.link = f.Resume, l
	case f.Type == protocol.TypeJoined:
		l.enter(f)
	case f.Type == protocol.TypeReset:
		u.record(l, Line{Kind: Reset, Room: f.Room, Epoch: f.Epoch, Seq: f.Seq})
		l.epochs[f.Room] = f.Epoch
		u.at[f.Room] = protocol.Cursor{Epoch: f.Epoch, Seq: f.Seq}
	case f.Type == protocol.TypeGap:
		u.record(l, Line{Kind: Gap, Room: f.Room, From: f.Gap.From, To: f.Gap.To})
		l.advance(f.Room, f.Gap.To)
	case f.Type == protocol.TypePing:
		l.push([]byte(`{"type":"pong"}`))
	case f.Type == protocol.TypeMigrate && !l.moved:
		l.moved = true
		close(l.moving)
	case f.Type == protocol.TypeError:
		l.refused(f, asked)
	case f.Type == protocol.TypeOK && asked.Type == protocol.TypeSend:
		u.record(l, Line{Kind: Acked, Room: asked.Room, CID: asked.CID, Seq: f.Seq, Epoch: l.epochs[asked.Room]})
		if u.answered(asked.CID) != nil {
			u.load.acked.Add(1)
		}
	case f.Type == protocol.TypeOK && asked.Type == protocol.TypeLeave:
		u.record(l, Line{Kind: Left, Room: asked.Room})
		delete(l.joined, asked.Room)
	}
}

func (l *link) entry(f protocol.Frame) {
	u := l.user
	u.record(l, Line{Kind: Delivered, Room: f.Room, Seq: f.Seq, MID: f.MID, User: f.From, CID: f.CID, Hash: bodyHash(f.Body)})
	l.advance(f.Room, f.Seq)
	if f.From != u.name {
		u.load.beat(f.Room, sentAt(f.Body))
	}
}

// sentAt reads {"t":123…
func sentAt(body []byte) int64 {
	rest, ok := bytes.CutPrefix(body, []byte(`{"t":`))
	if !ok {
		return -1
	}
	digits, _, _ := bytes.Cut(rest, []byte(","))
	n, err := strconv.ParseInt(string(digits), 10, 64)
	if err != nil {
		return -1
	}
	return n
}

// advance moves the user's cursor, which is one over old and new connection.
func (l *link) advance(room string, seq uint64) {
	if c, ok := l.user.at[room]; ok && c.Epoch == l.epochs[room] && seq > c.Seq {
		c.Seq = seq
		l.user.at[room] = c
	}
}

func (l *link) enter(f protocol.Frame) {
	u := l.user
	line := Line{Kind: Joined, Room: f.Room, Epoch: f.Epoch, Seq: f.Seq, After: f.After, Reset: f.Reset, Since: l.asked[f.Room]}
	if f.Gap != nil {
		line.From, line.To = f.Gap.From, f.Gap.To
	}
	u.record(l, line)
	delete(l.asked, f.Room)
	delete(l.again, f.Room)
	l.joined[f.Room], l.epochs[f.Room] = true, f.Epoch
	if c := u.at[f.Room]; c.Epoch != f.Epoch || line.Since == nil {
		u.at[f.Room] = protocol.Cursor{Epoch: f.Epoch, Seq: f.After}
	}
	if u.link != l {
		return
	}
	for _, p := range u.pending {
		if p.room == f.Room {
			u.post(l, p)
		}
	}
	if l.old != nil && l.whole() {
		old := l.old
		l.old = nil
		u.load.work.Go(old.goodbye)
	}
}

// whole tells whether the connection is in all of the user's rooms.
func (l *link) whole() bool {
	for room := range l.user.at {
		if !l.joined[room] && l.user.away[room].IsZero() {
			return false
		}
	}
	return true
}

func (l *link) refused(f protocol.Frame, asked protocol.Request) {
	u := l.user
	wait := max(time.Duration(f.RetryAfterMS)*time.Millisecond, retryAfter)
	switch {
	case asked.Type == protocol.TypeSend:
		u.record(l, Line{Kind: Refused, Room: asked.Room, CID: asked.CID, Code: string(f.Code)})
		for _, p := range u.pending {
			if p.cid == asked.CID && f.Code.Temporary() {
				p.due = time.Now().Add(wait * time.Duration(min(p.tries, 10)))
			}
		}
		if !f.Code.Temporary() {
			u.answered(asked.CID)
		}
	case asked.Type == protocol.TypeJoin:
		l.again[asked.Room] = time.Now().Add(wait)
	case asked.Type == protocol.TypeLeave: // the outcome is unknown: a new connection knows
		l.cut()
	case f.ID == 0 && f.Room != "": // one of hello's rooms
		l.again[f.Room] = time.Now().Add(wait)
	}
}

// rejoin tries refused joins again.
func (l *link) rejoin(now time.Time) {
	for room, when := range l.again {
		if now.After(when) && l.user.away[room].IsZero() {
			delete(l.again, room)
			var since *Since
			if c := l.user.at[room]; c.Epoch != "" {
				since = &Since{c.Epoch, c.Seq}
			}
			l.join(room, since)
		}
	}
}

func (l *link) join(room string, since *Since) {
	q := protocol.Request{Type: protocol.TypeJoin, Room: room}
	if since != nil {
		q.Since = &protocol.Cursor{Epoch: since.Epoch, Seq: since.Seq}
		l.asked[room] = since
	} else {
		delete(l.asked, room)
	}
	l.ask(q)
}

func (l *link) leave(room string) { l.ask(protocol.Request{Type: protocol.TypeLeave, Room: room}) }

func (l *link) ask(q protocol.Request) {
	l.nextID++
	q.ID = l.nextID
	raw, err := protocol.AppendRequest(nil, &q)
	if err != nil { // nothing that we send cannot be encoded
		panic(err)
	}
	l.asks[q.ID], l.lastAsk = q, time.Now()
	l.push(raw)
}

// push queues a frame; a line that takes none any more is cut.
func (l *link) push(raw []byte) {
	select {
	case l.out <- raw:
	default:
		l.cut()
	}
}

// cut breaks the line without a word.
func (l *link) cut() { abort(l.ws.NetConn()) }

// hangUp begins a clean end.
func (l *link) hangUp() {
	_ = l.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""), time.Now().Add(time.Second))
}

// goodbye ends it cleanly and waits.
func (l *link) goodbye() {
	l.hangUp()
	select {
	case <-l.over:
	case <-time.After(2 * time.Second):
		l.cut()
	}
}

// stall stops reading.
func (l *link) stall() func() {
	gate := make(chan struct{})
	l.gate = gate
	return sync.OnceFunc(func() { close(gate) })
}

func (l *link) wait() {
	l.user.mu.Lock()
	gate, forsake := l.gate, l.forsake
	l.user.mu.Unlock()
	switch {
	case gate == nil:
	case forsake:
		<-gate
	default:
		select {
		case <-gate:
		case <-l.over:
		}
	}
}

// abandon ends the line for the user, and leaves the socket open and unread.
func (l *link) abandon() func() {
	gate := make(chan struct{})
	l.gate = gate
	l.mute.Store(true)
	l.end(nil)
	return sync.OnceFunc(func() {
		close(gate)
		l.cut()
	})
}
