package client

import (
	"errors"
	"slices"
	"strings"

	"github.com/parley-chat/parley/services/ingress/protocol"
)

// machine is everything a client decides, and nothing it does: inputs (a frame
// came, the line broke, the user wants to send, time passed) go in by method,
// effects come out of take. No clock, no socket, no goroutine; not safe for
// concurrent use. protocol/testdata describes its behaviour for every language.
//
//	        start, tick            opened              welcome
//	(none) ───────────▶ next: dialing ─────▶ next: hello ─────▶ cur ──▶ old
//	                        ▲ closed: backoff        migrate: a new next │
//	                        └────────────────────────────────────────────┘
//
// At most three links exist: cur is in use, next is on its way to replace it,
// old has been replaced and still serves the rooms that cur has not joined yet.
type machine struct {
	cfg machineConfig
	now int64 // milliseconds, as the last input said
	out []effect

	cur, next, old *link
	links          int // numbers given to links so far
	urls           []string
	urlAt          int
	moveTo         string // the address migrate named, for one attempt
	attempt        int    // since a connection last held
	expired        int    // connections in a row that ended over an expired token
	dialAt         int64  // 0: nothing planned
	renewAt        int64  // 0: nothing planned
	stopped        bool

	ids    uint64
	reqs   []*request // without a reply, in the order they were made
	rooms  map[string]*roomState
	order  []string // of rooms, as first joined: hello and effects are deterministic
	user   string
	resume string
}

type machineConfig struct {
	urls    []string
	user    string // dev auth
	agent   string
	renew   bool           // fresh tokens can be had
	rand    func() float64 // [0, 1)
	baseMS  int64
	capMS   int64
	pending int // most requests without a reply
	window  int // most sends of a room on the wire at once; 0: no bound
}

func newMachine(cfg machineConfig) *machine {
	return &machine{cfg: cfg, urls: cfg.urls, rooms: make(map[string]*roomState)}
}

func (m *machine) do(e effect) { m.out = append(m.out, e) }

// take returns the effects since the last take, to be carried out in order.
func (m *machine) take() []effect {
	out := m.out
	m.out = nil
	return out
}

// start begins to connect.
func (m *machine) start(now int64) {
	m.now = now
	m.do(effect{kind: doStatus, status: Status{State: Connecting}})
	m.dial()
}

func (m *machine) dial() {
	m.dialAt = 0
	url := m.moveTo
	if m.moveTo = ""; url == "" {
		url = m.urls[m.urlAt%len(m.urls)]
		m.urlAt++
	}
	m.links++
	m.next = &link{n: m.links, url: url, dialing: true}
	m.do(effect{kind: doDial, link: m.links, url: url})
}

// opened says that the WebSocket of link n stands; token is a fresh one, or
// empty in dev auth.
func (m *machine) opened(now int64, n int, token string) {
	m.now = now
	l := m.next
	if l == nil || l.n != n || !l.dialing {
		return
	}
	l.dialing, l.since, l.heard = false, now, now
	hello := protocol.Request{
		Type: protocol.TypeHello, ID: m.newID(), Token: token, User: m.cfg.user,
		Resume: m.resume, Agent: m.cfg.agent,
	}
	l.helloID, l.hello, l.waiting = hello.ID, make(map[string]bool), make(map[string]bool)
	bytes := 0
	for _, name := range m.order {
		rs := m.rooms[name]
		if rs.cursor == nil {
			continue
		}
		if bytes += len(name) + cursorBytes; bytes > helloBytes {
			break // the others are joined after welcome
		}
		if hello.Rooms == nil {
			hello.Rooms = make(map[string]protocol.Cursor)
		}
		hello.Rooms[name] = *rs.cursor
		l.hello[name], l.waiting[name] = true, true
	}
	m.do(effect{kind: doSend, link: n, req: hello})
}

// frame takes one object that came over link n.
func (m *machine) frame(now int64, n int, f protocol.Frame) {
	m.now = now
	l := m.find(n)
	if l == nil {
		return
	}
	l.heard = now
	switch f.Type {
	case protocol.TypePing:
		m.do(effect{kind: doSend, link: n, req: protocol.Request{Type: protocol.TypePong}})
	case protocol.TypeWelcome:
		m.onWelcome(l, f)
	case protocol.TypeMigrate:
		m.onMigrate(l, f)
	case protocol.TypeJoined:
		m.onJoined(l, f)
	case protocol.TypeError:
		m.onError(l, f)
	case protocol.TypeOK, protocol.TypePage:
		m.onReply(f)
	case protocol.TypePresence:
		if f.ID != 0 {
			m.onReply(f)
		} else {
			m.onPresence(l, f)
		}
	default:
		m.onRoomFrame(l, f)
	}
	m.finishMove()
	m.flush()
}

func (m *machine) find(n int) *link {
	for _, l := range []*link{m.cur, m.next, m.old} {
		if l != nil && l.n == n {
			return l
		}
	}
	return nil
}

func (m *machine) onWelcome(l *link, f protocol.Frame) {
	if l != m.next {
		return
	}
	state := Open
	if m.cur != nil {
		state, m.old = Moved, m.cur
	}
	m.cur, m.next, m.expired = l, nil, 0
	l.welcomed, l.since, l.pingMS = true, m.now, f.PingMS
	m.user, m.resume = f.User, f.Resume
	m.learn(l, f.URLs)
	m.renew(f.ExpiresMS)
	m.do(effect{kind: doStatus, status: Status{State: state, Session: f.Session, User: f.User, Node: f.Node, URL: l.url, Limits: f.Limits}})
	m.carryOver(l)
}

func (m *machine) renew(expiresMS int64) {
	m.renewAt = 0
	if m.cfg.renew && expiresMS > 0 {
		m.renewAt = m.now + expiresMS*4/5
	}
}

// learn puts the addresses a server named before the configured ones, which
// stay as a way back. An encrypted connection never leads to a bare one.
func (m *machine) learn(l *link, urls []string) {
	var all []string
	for i, u := range slices.Concat(urls, m.cfg.urls) {
		learned := i < len(urls)
		if !slices.Contains(all, u) && (!learned || m.acceptable(l, u)) {
			all = append(all, u)
		}
	}
	m.urls = all
	m.urlAt = slices.Index(all, l.url) + 1 // another one next time
}

func (m *machine) acceptable(l *link, url string) bool {
	switch scheme, _, _ := strings.Cut(url, "://"); scheme {
	case "wss", "https":
		return true
	case "ws", "http":
		return strings.HasPrefix(l.url, "ws:") || strings.HasPrefix(l.url, "http:")
	}
	return false
}

func (m *machine) onMigrate(l *link, f protocol.Frame) {
	if l != m.cur || m.next != nil {
		return
	}
	if f.URL != "" && m.acceptable(l, f.URL) {
		m.moveTo = f.URL
	}
	m.dial()
}

// finishMove lets the replaced connection go once nothing depends on it.
func (m *machine) finishMove() {
	if m.old != nil && m.cur != nil && len(m.cur.waiting) == 0 {
		m.do(effect{kind: doClose, link: m.old.n, code: protocol.CloseNormal})
		m.old = nil
	}
}

// closed says that link n ended or could not be made (code 0). retryMS is what
// an HTTP Retry-After asked for. fatal: the server will not have us (HTTP 401, 403).
func (m *machine) closed(now int64, n int, code protocol.CloseCode, retryMS int64, fatal bool, err error) {
	m.now = now
	l := m.find(n)
	if l == nil {
		return
	}
	if l.err != nil {
		err = l.err // what the server said before is more telling
	}
	action := protocol.CloseAction(code)
	if code == protocol.CloseExpired && m.cfg.renew && m.expired == 0 {
		action, m.expired = protocol.Retry, 1 // a fresh token goes along; once
	}
	switch l {
	case m.old:
		m.old = nil
		return
	case m.next:
		m.next = nil
		// Before welcome the hello is the thing not to be repeated.
		if action != protocol.Retry || fatal {
			m.stop(code, err)
			return
		}
	case m.cur:
		m.cur, m.renewAt = nil, 0 // the next hello has a fresh token
		if m.old != nil {
			m.do(effect{kind: doClose, link: m.old.n, code: protocol.CloseNormal})
			m.old = nil
		}
		moving := code == protocol.CloseSuperseded && m.next != nil // by our own next
		if action == protocol.Stop && !moving {
			m.stop(code, err)
			return
		}
		if action == protocol.NoRetrySame {
			m.failInFlight(l, code)
		}
		if now-l.since >= stableAfter {
			m.attempt = 0
		}
	}
	m.reconnect(code, max(retryMS, l.retryMS), err)
}

// reconnect plans the next attempt with full jitter, unless one is under way.
func (m *machine) reconnect(code protocol.CloseCode, retryMS int64, err error) {
	var wait int64
	if m.next == nil {
		wait = m.cfg.baseMS << min(m.attempt, 20)
		if wait > m.cfg.capMS || wait <= 0 {
			wait = m.cfg.capMS
		}
		wait = retryMS + int64(m.cfg.rand()*float64(wait))
		m.attempt++
		m.dialAt = m.now + wait
	}
	if m.cur == nil {
		m.do(effect{kind: doStatus, status: Status{State: Reconnecting, RetryMS: wait, Code: code, Err: err}})
	}
}

// tick says that time passed; deadline tells when it is due.
func (m *machine) tick(now int64) {
	m.now = now
	if m.stopped {
		return
	}
	if m.dialAt != 0 && now >= m.dialAt {
		m.dial()
	}
	if m.renewAt != 0 && now >= m.renewAt {
		m.renewAt = 0
		m.do(effect{kind: doToken})
	}
	for _, l := range []*link{m.cur, m.next} {
		if l == nil || now < l.dead() {
			continue
		}
		err := errors.New("no sign of life from the server")
		m.do(effect{kind: doClose, link: l.n, code: protocol.CloseNoLife})
		m.closed(now, l.n, protocol.CloseNoLife, 0, false, err)
	}
	m.flush()
}

// deadline is the time of the next tick that would do something; 0: none.
func (m *machine) deadline() int64 {
	at := int64(1 << 62)
	for _, t := range []int64{m.dialAt, m.renewAt} {
		if t != 0 {
			at = min(at, t)
		}
	}
	for _, l := range []*link{m.cur, m.next} {
		if l != nil {
			at = min(at, l.dead())
		}
	}
	for _, r := range m.reqs {
		if m.cur != nil && r.link == 0 && r.at > m.now {
			at = min(at, r.at)
		}
	}
	if at == 1<<62 || m.stopped {
		return 0
	}
	return at
}

// close is the user's goodbye.
func (m *machine) close(now int64) {
	m.now = now
	if !m.stopped {
		m.stop(protocol.CloseNormal, nil)
	}
}

// stop ends everything for good.
func (m *machine) stop(code protocol.CloseCode, err error) {
	m.stopped, m.dialAt, m.renewAt = true, 0, 0
	for _, l := range []*link{m.cur, m.next, m.old} {
		if l != nil {
			m.do(effect{kind: doClose, link: l.n, code: protocol.CloseNormal})
		}
	}
	m.cur, m.next, m.old = nil, nil, nil
	failure := &ClosedError{Code: code, Err: err}
	for _, r := range m.reqs {
		m.reply(r, effect{err: failure})
	}
	m.reqs = nil
	for _, name := range m.order {
		m.do(effect{kind: doEnd, room: name, err: failure})
	}
	m.rooms, m.order = make(map[string]*roomState), nil
	m.do(effect{kind: doStatus, status: Status{State: Closed, Code: code, Err: err}})
}
