package client

import (
	"slices"

	"github.com/parley-chat/parley/services/ingress/protocol"
)

// roomState is one room the user wants to be in.
type roomState struct {
	cursor *protocol.Cursor // nil until the first joined
	target uint64           // head at the last joined: caught up when the cursor is there
	on     int              // the link of the last joined; entries count from there only
	n      uint64           // of the last presence event or reply; 0: none seen

	stale bool // entries were passed over since the user was slow: wait for a rejoin
	full  bool // the user is slow
	holed bool // entries were missing, and the room was joined again for them

	lookup  bool   // tried sends must be looked for in history before they are sent again
	looking uint64 // id of the history request that does so
	hidden  uint64 // the floor that search met, where entries below it were wanted
	held    bool   // within flush: an earlier send must go first
	flying  int    // within flush: sends on the wire
}

func (rs *roomState) caughtUp() bool { return rs.cursor != nil && rs.cursor.Seq >= rs.target }

// live reports whether the room is joined on the connection in use.
func (m *machine) live(room string) bool {
	rs := m.rooms[room]
	return rs != nil && m.cur != nil && rs.on == m.cur.n
}

// join enters a room, or enters it anew elsewhere in its log.
func (m *machine) join(now int64, ref int, room string, since *protocol.Cursor, last int) {
	m.now = now
	if m.refuseStopped(ref) {
		return
	}
	r := m.add(ref, protocol.Request{Type: protocol.TypeJoin, Room: room, Since: since, Last: last})
	if r == nil {
		return
	}
	if m.rooms[room] == nil {
		m.rooms[room] = &roomState{}
		m.order = append(m.order, room)
	}
	m.flush()
}

// leave gives a room up; what waits to be sent there fails.
func (m *machine) leave(now int64, ref int, room string) {
	m.now = now
	if m.refuseStopped(ref) || m.refuseNotJoined(ref, room) {
		return
	}
	known := m.live(room) || slices.ContainsFunc(m.reqs, func(r *request) bool {
		return r.Type == protocol.TypeJoin && r.Room == room && m.cur != nil && r.link == m.cur.n
	})
	m.forget(room, ErrLeft)
	if !known {
		m.do(effect{kind: doReply, ref: ref})
		return
	}
	m.add(ref, protocol.Request{Type: protocol.TypeLeave, Room: room})
	m.flush()
}

// forget ends a room on this side.
func (m *machine) forget(room string, err error) {
	if m.rooms[room] == nil {
		return
	}
	for _, r := range slices.Clone(m.reqs) {
		if r.Room != room || r.Type == protocol.TypeLeave {
			continue
		}
		if r.Type == protocol.TypeHistory && r.ref != 0 || r.Type == protocol.TypePresence && r.ref != 0 {
			continue // these need no membership
		}
		m.settle(r, effect{err: err})
	}
	delete(m.rooms, room)
	m.order = slices.DeleteFunc(m.order, func(name string) bool { return name == room })
	for _, l := range []*link{m.cur, m.next} {
		if l != nil {
			delete(l.waiting, room)
		}
	}
	m.do(effect{kind: doEnd, room: room, err: err})
}

// rejoin asks for a room again from its cursor on.
func (m *machine) rejoin(room string, rs *roomState, wait int64) {
	since := *rs.cursor
	r := m.add(0, protocol.Request{Type: protocol.TypeJoin, Room: room, Since: &since})
	if wait > 0 {
		r.at = m.now + wait
	}
}

func (m *machine) onRoomError(l *link, room string, err *protocol.Error) {
	rs := m.rooms[room]
	if err.Code.Temporary() && rs.cursor != nil {
		m.rejoin(room, rs, m.retryIn(err))
		return
	}
	m.forget(room, err)
}

func (m *machine) onJoined(l *link, f protocol.Frame) {
	if l != m.cur { // what a replaced connection joined late is joined anew on this one
		return
	}
	r := m.byID(f.ID)
	if r != nil && r.Type != protocol.TypeJoin {
		r = nil
	}
	delete(l.waiting, f.Room)
	rs := m.rooms[f.Room]
	if rs == nil {
		m.undoJoin(f.Room)
		return
	}
	rs.on, rs.target = l.n, f.Seq
	rs.stale = rs.full
	first := rs.cursor == nil || r != nil && r.ref != 0
	f.Reset = f.Reset || !first && rs.cursor.Epoch != f.Epoch
	moved := first || f.Reset || rs.cursor.Seq < f.After
	if f.Gap != nil && !first && !f.Reset { // the old connection may have gone on since hello
		f.Gap = &protocol.Range{From: max(f.Gap.From, rs.cursor.Seq+1), To: f.Gap.To}
	}
	if moved {
		rs.cursor = &protocol.Cursor{Epoch: f.Epoch, Seq: f.After}
	}
	if r != nil {
		m.settle(r, effect{frame: f})
	}
	if moved {
		m.tellBreaks(rs, f)
	}
}

// tellBreaks shows the user what joined says of the stream before its cursor.
func (m *machine) tellBreaks(rs *roomState, f protocol.Frame) {
	if f.Reset {
		m.lost(f.Room, rs, f.After)
		m.deliver(f.Room, protocol.Frame{Type: protocol.TypeReset, Room: f.Room, Epoch: f.Epoch, Seq: f.After})
	}
	if f.Gap != nil {
		m.lost(f.Room, rs, f.Gap.From-1)
		m.deliver(f.Room, gapFrame(f.Room, f.Gap))
	}
}

func gapFrame(room string, gap *protocol.Range) protocol.Frame {
	return protocol.Frame{Type: protocol.TypeGap, Room: room, Gap: gap}
}

// undoJoin leaves a room that was joined after the user had lost interest.
func (m *machine) undoJoin(room string) {
	leaving := slices.ContainsFunc(m.reqs, func(r *request) bool {
		return r.Type == protocol.TypeLeave && r.Room == room
	})
	if !leaving {
		m.add(0, protocol.Request{Type: protocol.TypeLeave, Room: room})
	}
}

// onRoomFrame takes what belongs to a room: entries of known and unknown
// types, gap, reset and the volatile ones.
func (m *machine) onRoomFrame(l *link, f protocol.Frame) {
	rs := m.rooms[f.Room]
	if rs == nil || rs.on != l.n {
		return
	}
	if f.Type == protocol.TypeMessage && f.From == m.user {
		m.ownEntry(f)
	}
	if rs.stale {
		return
	}
	switch {
	case f.Type == protocol.TypeReset:
		rs.cursor = &protocol.Cursor{Epoch: f.Epoch, Seq: f.Seq}
		rs.target = f.Seq
		m.lost(f.Room, rs, f.Seq)
	case f.Type == protocol.TypeGap:
		if f.Gap.To <= rs.cursor.Seq {
			return
		}
		if f.Gap.From <= rs.cursor.Seq {
			f = gapFrame(f.Room, &protocol.Range{From: rs.cursor.Seq + 1, To: f.Gap.To})
		}
		rs.cursor.Seq = f.Gap.To
		m.lost(f.Room, rs, f.Gap.From-1)
	case f.Entry():
		if f.Seq <= rs.cursor.Seq || !m.fillHole(f, rs) {
			return
		}
		rs.cursor.Seq, rs.holed = f.Seq, false
	}
	m.deliver(f.Room, f)
}

// fillHole looks at an entry beyond the cursor. Where the server left some out
// without a word, the room is joined again, once; then the hole is told as a gap.
func (m *machine) fillHole(f protocol.Frame, rs *roomState) (goOn bool) {
	missing := protocol.Range{From: rs.cursor.Seq + 1, To: f.Seq - 1}
	switch {
	case missing.From > missing.To:
		return true
	case !rs.holed:
		rs.holed, rs.stale = true, true
		m.rejoin(f.Room, rs, 0)
		return false
	}
	rs.cursor.Seq = missing.To
	m.lost(f.Room, rs, missing.From-1)
	m.deliver(f.Room, gapFrame(f.Room, &missing))
	return true
}

func (m *machine) deliver(room string, f protocol.Frame) {
	m.do(effect{kind: doDeliver, room: room, frame: f})
}

// onPresence delivers a presence event and asks for the whole when some were
// missed.
func (m *machine) onPresence(l *link, f protocol.Frame) {
	rs := m.rooms[f.Room]
	if rs == nil || rs.on != l.n || rs.stale {
		return
	}
	missed := rs.n != 0 && f.N != rs.n+1 // also when they were missed between two connections
	rs.n = f.N
	m.deliver(f.Room, f)
	if missed {
		m.add(0, protocol.Request{Type: protocol.TypePresence, Room: f.Room})
	}
}

// pause says that the user does not keep up with a room: its entries are
// passed over, the cursor stays. unpause fetches them from there.
func (m *machine) pause(room string) {
	if rs := m.rooms[room]; rs != nil {
		rs.full, rs.stale = true, true
	}
}

func (m *machine) unpause(now int64, room string) {
	m.now = now
	rs := m.rooms[room]
	if rs == nil || !rs.full {
		return
	}
	rs.full = false
	if m.live(room) { // else the next hello asks from the cursor on
		m.rejoin(room, rs, 0)
		m.flush()
	}
}
