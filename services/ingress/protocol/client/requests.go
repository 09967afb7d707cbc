package client

import (
	"slices"

	"github.com/parley-chat/parley/services/ingress/protocol"
)

// request is one request without a reply. It is sent again on every new
// connection until it has one, with the same id and, for a send, the same cid.
type request struct {
	protocol.Request
	ref  int   // the user's; 0: the machine's own
	link int   // where it is in flight; 0: waiting to be sent
	at   int64 // not before

	// Of sends only.
	tried   bool            // was on the wire once
	since   protocol.Cursor // of the room at the first try
	asked   bool            // the last try carried since
	missing bool            // history was searched for it on this connection, and has it not
	renew   bool            // conflict: a new cid, unless history has the old one
	round   int             // of new cids
}

func (m *machine) newID() uint64 {
	m.ids++
	return m.ids
}

// add queues a request; a user's beyond the bound is refused at once.
func (m *machine) add(ref int, r protocol.Request) *request {
	if ref != 0 && len(m.reqs) >= m.cfg.pending {
		m.do(effect{kind: doReply, ref: ref, err: protocol.Errorf(protocol.Limit,
			"%d requests wait for a reply already", len(m.reqs))})
		return nil
	}
	r.ID = m.newID()
	req := &request{Request: r, ref: ref}
	m.reqs = append(m.reqs, req)
	return req
}

// request queues a request that is about nothing the machine keeps: history,
// presence, auth.
func (m *machine) request(now int64, ref int, r protocol.Request) {
	m.now = now
	if m.refuseStopped(ref) {
		return
	}
	m.add(ref, r)
	m.flush()
}

// volatile is for typing and signal, which want the room joined. A signal
// waits for that; typing is worth nothing later.
func (m *machine) volatile(now int64, ref int, r protocol.Request) {
	m.now = now
	if m.refuseStopped(ref) || m.refuseNotJoined(ref, r.Room) {
		return
	}
	if r.Type == protocol.TypeTyping && !m.live(r.Room) {
		m.do(effect{kind: doReply, ref: ref, err: errLost})
		return
	}
	m.add(ref, r)
	m.flush()
}

var errLost = protocol.Errorf(protocol.Unavailable, "not connected, and typing is not repeated")

func (m *machine) refuseStopped(ref int) bool {
	if m.stopped {
		m.do(effect{kind: doReply, ref: ref, err: ErrClosed})
	}
	return m.stopped
}

func (m *machine) refuseNotJoined(ref int, room string) bool {
	if m.rooms[room] != nil {
		return false
	}
	m.do(effect{kind: doReply, ref: ref, err: protocol.Errorf(protocol.Forbidden, "room %s is not joined", room)})
	return true
}

// cancel drops a user's request that he no longer waits for. What is on the
// wire already may still happen.
func (m *machine) cancel(now int64, ref int) {
	m.now = now
	i := slices.IndexFunc(m.reqs, func(r *request) bool { return r.ref == ref })
	if i < 0 {
		return
	}
	r := m.reqs[i]
	m.remove(r)
	if rs := m.rooms[r.Room]; r.Type == protocol.TypeJoin && rs != nil && rs.cursor == nil {
		m.forget(r.Room, ErrLeft)
		if m.cur != nil && r.link == m.cur.n {
			m.add(0, protocol.Request{Type: protocol.TypeLeave, Room: r.Room})
		}
	}
	m.flush()
}

func (m *machine) remove(r *request) {
	m.reqs = slices.DeleteFunc(m.reqs, func(o *request) bool { return o == r })
}

func (m *machine) byID(id uint64) *request {
	if id == 0 {
		return nil
	}
	for _, r := range m.reqs {
		if r.ID == id {
			return r
		}
	}
	return nil
}

// reply tells the user that r is through; the machine's own requests have no
// user.
func (m *machine) reply(r *request, e effect) {
	if r.ref != 0 {
		e.kind, e.ref = doReply, r.ref
		m.do(e)
	}
}

// settle removes r and replies.
func (m *machine) settle(r *request, e effect) {
	m.remove(r)
	m.reply(r, e)
}

// carryOver brings the requests over to a connection that was just welcomed.
func (m *machine) carryOver(l *link) {
	for _, r := range slices.Clone(m.reqs) {
		switch {
		case r.Type == protocol.TypeLeave: // its hello did not name the room
			m.settle(r, effect{})
		case r.ref == 0: // of the machine's own, the rest below is made anew
			m.remove(r)
		case r.Type == protocol.TypeTyping:
			m.settle(r, effect{err: errLost})
		default:
			r.link, r.missing = 0, false
		}
	}
	for _, name := range m.order {
		rs := m.rooms[name]
		rs.looking = 0
		if rs.cursor != nil && !l.hello[name] { // joined while hello was on its way
			l.waiting[name] = true
			m.rejoin(name, rs, 0)
		}
	}
}

// failInFlight gives up what a connection ended over: any of it may have been
// the cause.
func (m *machine) failInFlight(l *link, code protocol.CloseCode) {
	err := &NotRetriedError{Code: code}
	for _, r := range slices.Clone(m.reqs) {
		if r.link != l.n {
			continue
		}
		m.settle(r, effect{err: err})
		if rs := m.rooms[r.Room]; r.Type == protocol.TypeJoin && rs != nil && rs.cursor == nil {
			m.forget(r.Room, err)
		}
	}
}

// flush sends whatever may be sent now, in order.
func (m *machine) flush() {
	for made := m.ids + 1; m.cur != nil && made != m.ids; {
		made = m.ids
		m.flushOnce() // which may add lookups
	}
}

func (m *machine) flushOnce() {
	for _, rs := range m.rooms {
		rs.held, rs.flying = false, 0
	}
	for _, r := range m.reqs {
		if rs := m.rooms[r.Room]; r.Type == protocol.TypeSend && r.link != 0 && rs != nil {
			rs.flying++
		}
	}
	for _, r := range slices.Clone(m.reqs) {
		if r.link != 0 {
			continue
		}
		switch r.Type {
		case protocol.TypeSend:
			rs := m.rooms[r.Room]
			full := m.cfg.window > 0 && rs.flying >= m.cfg.window
			if rs.held || full || r.at > m.now || !m.mayResend(rs, r) {
				rs.held = true // the room's later sends keep their place behind
				continue
			}
			rs.flying++
			m.prepareSend(rs, r)
		case protocol.TypeSignal:
			if !m.live(r.Room) {
				continue
			}
		}
		if r.at <= m.now {
			r.link = m.cur.n
			m.do(effect{kind: doSend, link: r.link, req: r.Request})
		}
	}
}

// onReply takes ok, page and presence replies.
func (m *machine) onReply(f protocol.Frame) {
	r := m.byID(f.ID)
	if r == nil {
		return
	}
	rs := m.rooms[r.Room]
	switch {
	case r.Type == protocol.TypeSend:
		m.acked(r, f.Seq, f.TS, f.Dup)
		return
	case r.ref == 0 && rs != nil && rs.looking == r.ID:
		m.onLookup(rs, r, f)
		return
	case r.Type == protocol.TypeHistory:
		m.ownEntries(r.Room, f.Entries)
	case r.Type == protocol.TypePresence && rs != nil:
		rs.n = f.N
		if r.ref == 0 {
			m.deliver(r.Room, f)
		}
	case r.Type == protocol.TypeAuth:
		m.renew(f.ExpiresMS)
	}
	m.settle(r, effect{frame: f})
}

func (m *machine) onError(l *link, f protocol.Frame) {
	err := f.Err()
	r := m.byID(f.ID)
	switch {
	case r != nil && r.link != l.n: // sent again elsewhere already
	case r != nil:
		m.onRefused(r, err)
	case f.ID != 0 && f.ID == l.helloID:
		l.err, l.retryMS = err, err.RetryAfterMS // the close that follows says what to do
		if err.Code == protocol.Limit && l.retryMS == 0 {
			l.retryMS = sessionHeld
		}
	case f.ID == 0 && f.CID == "" && m.rooms[f.Room] != nil:
		m.onRoomError(l, f.Room, err)
	case f.ID == 0:
		m.do(effect{kind: doNotice, err: err})
	}
}

func (m *machine) onRefused(r *request, err *protocol.Error) {
	rs := m.rooms[r.Room]
	switch {
	case err.Code.Temporary() && r.Type != protocol.TypeTyping:
		r.link, r.at = 0, m.now+m.retryIn(err)
	case r.Type == protocol.TypeSend && err.Code == protocol.Conflict && r.asked:
		r.link, r.renew, rs.lookup = 0, true, true
	case r.Type == protocol.TypeJoin && rs != nil && (r.ref == 0 || rs.cursor == nil):
		m.settle(r, effect{err: err})
		m.forget(r.Room, err)
	case rs != nil && rs.looking == r.ID:
		m.settle(r, effect{})
		m.failLookup(r.Room, rs, err)
	default:
		m.settle(r, effect{err: err})
		if r.ref == 0 {
			m.do(effect{kind: doNotice, err: err})
		}
	}
}

// retryIn is what the server asked for and up to half as much again, so that
// those it refused together do not come back together.
func (m *machine) retryIn(err *protocol.Error) int64 {
	wait := err.RetryAfterMS
	if wait <= 0 {
		wait = retryDefault
	}
	return wait + int64(m.cfg.rand()*float64(wait)/2)
}

// lookupPage asks for entries of a room after seq, for the machine itself.
func (m *machine) lookupPage(room string, rs *roomState, after uint64) {
	r := m.add(0, protocol.Request{Type: protocol.TypeHistory, Room: room, After: &after, Limit: lookupLimit})
	rs.looking = r.ID
}

const lookupLimit = 200
