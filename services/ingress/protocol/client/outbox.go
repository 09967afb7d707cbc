package client

import (
	"fmt"
	"slices"

	"github.com/parley-chat/parley/services/ingress/protocol"
)

// send puts a message into the room's outbox: the room's sends without an
// answer, in order.
func (m *machine) send(now int64, ref int, room, cid string, body []byte) {
	m.now = now
	if m.refuseStopped(ref) || m.refuseNotJoined(ref, room) {
		return
	}
	m.add(ref, protocol.Request{Type: protocol.TypeSend, Room: room, CID: cid, Body: body})
	m.flush()
}

// mayResend decides whether r may go now. What was tried before waits until
// the catch-up is through, since its own entry may come by; after a break in
// the stream it is looked for in history first.
func (m *machine) mayResend(rs *roomState, r *request) bool {
	if rs.on != m.cur.n || rs.cursor == nil {
		return false
	}
	if !r.tried {
		return true
	}
	switch {
	case rs.stale: // the catch-up waits for the user, sends need not
		rs.lookup = rs.lookup || !r.missing
	case !rs.caughtUp():
		return false
	}
	if rs.lookup && rs.looking == 0 {
		rs.hidden = 0
		m.lookupPage(r.Room, rs, m.lookFrom(r.Room))
	}
	return !rs.lookup
}

// prepareSend notes the cursor at the first try, and carries it on a resend.
func (m *machine) prepareSend(rs *roomState, r *request) {
	if !r.tried {
		r.tried, r.since = true, *rs.cursor
		return
	}
	since := r.since
	r.Since, r.asked = &since, true
}

// acked settles a send.
func (m *machine) acked(r *request, seq uint64, ts int64, dup bool) {
	m.settle(r, effect{ack: Ack{Seq: seq, TS: ts, Dup: dup, CID: r.CID}})
}

// ownEntry takes an entry of the user's own, seen live, in a catch-up or in
// history: that is as good as its ok.
func (m *machine) ownEntry(f protocol.Frame) {
	if f.CID == "" {
		return
	}
	for _, r := range m.reqs {
		if r.Type == protocol.TypeSend && r.tried && r.Room == f.Room && r.CID == f.CID {
			m.acked(r, f.Seq, f.TS, false)
			return
		}
	}
}

// ownEntries looks for the user's own in a page.
func (m *machine) ownEntries(room string, entries []protocol.Frame) {
	for _, e := range entries {
		if e.Type == protocol.TypeMessage && e.From == m.user {
			e.Room = room
			m.ownEntry(e)
		}
	}
}

// lost says that entries after seq may be void or gone, with them the proof of
// sends that are not in flight on the connection in use.
func (m *machine) lost(room string, rs *roomState, seq uint64) {
	for _, r := range m.reqs {
		if r.Type != protocol.TypeSend || r.Room != room || !r.tried {
			continue
		}
		r.since = protocol.Cursor{Epoch: rs.cursor.Epoch, Seq: min(r.since.Seq, seq)}
		if m.cur == nil || r.link != m.cur.n {
			rs.lookup = true
		}
	}
}

// lookFrom is where the lookup begins: after the earliest first try.
func (m *machine) lookFrom(room string) uint64 {
	from, some := uint64(0), false
	for _, r := range m.reqs {
		if m.sought(r, room) && (!some || r.since.Seq < from) {
			from, some = r.since.Seq, true
		}
	}
	return from
}

func (m *machine) sought(r *request, room string) bool {
	return r.Type == protocol.TypeSend && r.Room == room && r.tried && r.link == 0
}

// onLookup takes a page of the search. At its end, what was not found was not
// written up to the head of then; that is what the next try may claim. But where
// entries after a first try are no longer kept, nobody knows: the user decides.
func (m *machine) onLookup(rs *roomState, page *request, f protocol.Frame) {
	m.remove(page)
	rs.looking = 0
	if f.Floor > *page.After+1 {
		rs.hidden = f.Floor
	}
	m.ownEntries(page.Room, f.Entries)
	if f.More && len(f.Entries) > 0 {
		m.lookupPage(page.Room, rs, f.Entries[len(f.Entries)-1].Seq)
		return
	}
	rs.lookup = false
	for _, r := range slices.Clone(m.reqs) {
		if !m.sought(r, page.Room) {
			continue
		}
		if r.since.Seq+1 < rs.hidden {
			m.settle(r, effect{err: ErrMaybeSent})
			continue
		}
		r.since, r.missing = protocol.Cursor{Epoch: f.Epoch, Seq: f.Head}, true
		if r.renew {
			m.renewCID(r)
		}
	}
}

// renewCID makes a conflicted send a new one, in the old one's place.
func (m *machine) renewCID(r *request) {
	base := r.CID
	if r.round > 0 {
		base = base[:len(base)-len(renewedSuffix(r.round))]
	}
	r.round++
	suffix := renewedSuffix(r.round)
	for len([]rune(base))+len(suffix) > maxCID {
		base = string([]rune(base)[:maxCID-len(suffix)])
	}
	r.CID, r.ID, r.Since = base+suffix, m.newID(), nil
	r.tried, r.asked, r.renew = false, false, false
}

func renewedSuffix(round int) string { return fmt.Sprintf("~%d", round+1) }

const maxCID = 64

// failLookup gives up the sends whose fate cannot be found out.
func (m *machine) failLookup(room string, rs *roomState, err error) {
	rs.lookup, rs.looking = false, 0
	for i := 0; i < len(m.reqs); {
		if r := m.reqs[i]; m.sought(r, room) {
			m.settle(r, effect{err: err})
		} else {
			i++
		}
	}
}
