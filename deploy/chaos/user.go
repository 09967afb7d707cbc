package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/parley-chat/parley/services/ingress/protocol"
)

// user is one session of a virtual user, over all its connections.
type user struct {
	load   *Load
	name   string
	client string // the session's name in the history
	place  int
	twin   *user // another session of the same user, or nil
	silent atomic.Bool

	mu      sync.Mutex
	link    *link // the present connection; nil: none
	conns   int
	resume  string
	at      map[string]protocol.Cursor
	away    map[string]time.Time // rooms left, and when to come back
	pending []*pending           // in the order of the first sends
	number  int
	edges   int // connections tried so far: which edge is next
}

// pending is a send without an answer.
type pending struct {
	room, cid string
	body      json.RawMessage
	since     protocol.Cursor // at the first try
	tries     int
	due       time.Time // when to send it again; zero: it is on its way
	sent      time.Time
}

func newUser(l *Load, name, client string, rooms []string, place int) *user {
	u := &user{load: l, name: name, client: client, place: place, edges: place,
		at: map[string]protocol.Cursor{}, away: map[string]time.Time{}}
	for _, r := range rooms {
		u.at[r] = protocol.Cursor{}
	}
	return u
}

// run keeps the session connected until ctx ends, then closes it cleanly.
func (u *user) run(ctx context.Context) {
	var wait time.Duration
	var old *link
	for ctx.Err() == nil {
		l, err := u.connect(ctx, old)
		if err != nil {
			wait = min(2*wait+20*time.Millisecond, time.Second)
			select {
			case <-ctx.Done():
			case <-time.After(wait/2 + rand.N(wait)):
			}
			continue
		}
		wait, old = 0, nil
		select {
		case <-ctx.Done():
			l.goodbye()
		case <-l.over:
		case <-l.moving: // the server keeps it until the next one is in place
			old = l
		}
	}
	if old != nil {
		old.goodbye()
	}
	u.mu.Lock()
	l := u.link
	u.mu.Unlock()
	if l != nil {
		l.goodbye()
	}
}

// connect opens a connection on the next edge and resumes there.
func (u *user) connect(ctx context.Context, old *link) (*link, error) {
	u.mu.Lock()
	u.edges++
	u.conns++
	edge := u.load.cfg.Edges[u.edges%len(u.load.cfg.Edges)]
	l := newLink(u, edge, u.conns, old)
	hello := protocol.Request{Type: protocol.TypeHello, ID: 1, User: u.name, Resume: u.resume}
	var fresh []string
	for room, c := range u.at {
		switch {
		case !u.away[room].IsZero():
		case c.Epoch == "":
			fresh = append(fresh, room)
		default:
			if hello.Rooms == nil {
				hello.Rooms = map[string]protocol.Cursor{}
			}
			hello.Rooms[room] = c
			l.asked[room] = &Since{c.Epoch, c.Seq}
		}
	}
	u.mu.Unlock()
	if err := l.open(ctx, hello); err != nil {
		return nil, err
	}
	slices.Sort(fresh)
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, room := range fresh {
		l.join(room, nil)
	}
	return l, nil
}

// talk sends a new message, or not if the user cannot.
func (u *user) talk(three bool) bool {
	if u.silent.Load() || three && u.twin == nil {
		return false
	}
	u.mu.Lock()
	l := u.link
	if l == nil || len(u.pending) >= u.load.cfg.waiting() {
		u.mu.Unlock()
		return false
	}
	room := u.someRoom()
	if room == "" {
		u.mu.Unlock()
		return false
	}
	p := u.compose(l, room)
	if three {
		u.post(l, p)
	}
	u.mu.Unlock()
	if three {
		u.twin.echo(*p)
	}
	return true
}

// compose sends a new message.
func (u *user) compose(l *link, room string) *pending {
	u.number++
	p := &pending{room: room, cid: fmt.Sprintf("%s-%d", u.client, u.number), since: u.at[room],
		body: fmt.Appendf(nil, `{"t":%d,"by":%q,"pad":"%0*d"}`, u.load.now(), u.client, u.number%120, 0)}
	u.pending = append(u.pending, p)
	u.post(l, p)
	return p
}

// say sends something to one room, or not if the user is not there, or has far too
// many sends unanswered.
func (u *user) say(room string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.link == nil || u.silent.Load() || !u.link.joined[room] || !u.away[room].IsZero() || len(u.pending) >= 4*u.load.cfg.waiting() {
		return false
	}
	u.compose(u.link, room)
	return true
}

// echo sends what the other session sends, once, and does not wait for an answer.
func (u *user) echo(p pending) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.link != nil && u.link.joined[p.room] {
		u.post(u.link, &p)
	}
}

func (u *user) someRoom() string {
	var in []string
	for room := range u.at {
		if u.link.joined[room] && u.away[room].IsZero() {
			in = append(in, room)
		}
	}
	if len(in) == 0 {
		return ""
	}
	slices.Sort(in)
	return in[u.number%len(in)]
}

// post writes a send down and hands it to the connection.
func (u *user) post(l *link, p *pending) {
	p.due, p.sent = time.Time{}, time.Now()
	p.tries++
	q := protocol.Request{Type: protocol.TypeSend, Room: p.room, CID: p.cid, Body: p.body}
	if p.tries > 1 {
		q.Since = &p.since
	}
	u.record(l, Line{Kind: Sent, Room: p.room, CID: p.cid, Hash: bodyHash(p.body)})
	l.ask(q)
}

func (u *user) record(l *link, line Line) {
	line.Client, line.Conn = u.client, l.number
	if line.Kind != Delivered {
		line.User = u.name
	}
	u.load.cfg.Recorder.Write(line)
}

// tick repeats what is due, comes back to rooms and gives up a dead line.
func (u *user) tick(now time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	l := u.link
	if l == nil {
		return
	}
	answerTime := u.load.cfg.answerTime()
	for _, p := range u.pending {
		switch {
		case p.due.IsZero() && now.Sub(p.sent) > answerTime && now.Sub(l.opened) > answerTime:
			l.cut()
			return
		case !p.due.IsZero() && now.After(p.due) && l.joined[p.room]:
			u.post(l, p)
		}
	}
	for room, when := range u.away {
		if !when.IsZero() && now.After(when) && !l.joined[room] {
			delete(u.away, room)
			l.join(room, nil)
		}
	}
	l.rejoin(now)
	if len(l.again) == 0 && now.Sub(l.opened) > answerTime && now.Sub(l.lastAsk) > answerTime && !l.whole() {
		l.cut() // a join is not answered
	}
}

// wander leaves a room for a while.
func (u *user) wander() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.link == nil || u.silent.Load() || len(u.pending) > 0 {
		return
	}
	if room := u.someRoom(); room != "" {
		u.away[room] = time.Now().Add(time.Duration(500+rand.IntN(1000)) * time.Millisecond)
		u.link.leave(room)
	}
}

// cut breaks the line.
func (u *user) cut() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.link != nil {
		u.link.cut()
	}
	return u.link != nil
}

// goodbye closes cleanly; run comes back at once.
func (u *user) goodbye() {
	u.mu.Lock()
	l := u.link
	u.mu.Unlock()
	if l != nil {
		l.hangUp()
	}
}

// stall has the user not read until the returned function is called.
func (u *user) stall() func() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.link == nil {
		return func() {}
	}
	return u.link.stall()
}

// vanish leaves the connection open and silent, as a phone does that changed its
// network, and has the user come back on another one. The returned function ends it.
func (u *user) vanish() func() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.link == nil {
		return func() {}
	}
	return u.link.abandon()
}

func (u *user) edge() string {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.link == nil {
		return ""
	}
	return u.link.edge
}

func (u *user) waiting() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.pending)
}

// settled tells whether the user is connected and in all of its rooms.
func (u *user) settled() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.link == nil {
		return false
	}
	for room := range u.at {
		if !u.link.joined[room] || !u.away[room].IsZero() {
			return false
		}
	}
	return true
}

// answered takes the pending send with this cid out, or nil.
func (u *user) answered(cid string) *pending {
	for i, p := range u.pending {
		if p.cid == cid {
			u.pending = slices.Delete(u.pending, i, i+1)
			return p
		}
	}
	return nil
}
