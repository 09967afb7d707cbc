package presence

import (
	"slices"

	"github.com/parley-chat/parley/shared/event"
)

// room is who is in one room. It exists while it has rows.
type room struct {
	id      event.RoomID
	rows    map[event.SessionID]row
	members map[event.UserID]*member
	shares  []share
	n       uint64               // number of the last change told
	told    int64                // when that was; 0: not yet
	was     map[event.UserID]was // of those who came or went since the room was told
	large   bool                 // as last told
	list    list
}

// was is what others believe of a user: on as last told, or the contrary if a list
// has shown it since.
type was struct{ on, shown bool }

// row is one session in a room.
type row struct {
	node   *node
	member *member
	life   event.Life
	until  int64 // not 0: held until then, and not routed to
}

// member is a user with at least one row.
type member struct {
	user     event.UserID
	sessions int
	since    int64
}

// share is how many of a room's rows are routed to a node.
type share struct {
	node *node
	rows int
}

// Joined subscribes a session: routed from here on. A newer life takes the row
// of an older one over; an older life than the known one is told so.
func (p *Partition) Joined(now int64, id event.RoomID, who event.Who) {
	n := p.node(who.Node)
	if n == nil {
		return
	}
	if n.sync != nil {
		delete(n.sync.rooms, id)
	}
	p.claim(now, id, n, who)
}

// Left ends a session's row, unless it is of another life. An unclean end is
// held: the session may resume.
func (p *Partition) Left(now int64, id event.RoomID, who event.Who, clean bool) {
	r := p.rooms[id]
	if r == nil {
		return
	}
	row, ok := r.rows[who.Session]
	switch {
	case !ok || row.life != who.Life:
	case clean:
		p.drop(r, who.Session, row)
	case row.until == 0:
		p.hold(now, r, who.Session, row)
	}
}

// Nodes appends to buf the nodes that get the room's events: those with
// members, and those whose rows are not known yet.
func (p *Partition) Nodes(buf []event.NodeID, id event.RoomID) []event.NodeID {
	r := p.rooms[id]
	if r != nil {
		for _, s := range r.shares {
			if s.node.off == 0 {
				buf = append(buf, s.node.id)
			}
		}
	}
	if p.unsynced == 0 {
		return buf
	}
	for _, n := range p.nodes {
		if !n.synced && n.off == 0 && (r == nil || r.share(n) < 0) {
			buf = append(buf, n.id)
		}
	}
	return buf
}

// room finds or makes a room.
func (p *Partition) room(now int64, id event.RoomID) *room {
	r := p.rooms[id]
	if r == nil {
		r = &room{id: id, n: max(p.firstN(now), p.floor+1), rows: map[event.SessionID]row{}, members: map[event.UserID]*member{}}
		p.rooms[id] = r
	}
	return r
}

// firstN is where a new room's count begins. Generations are milliseconds of the
// taking, and no room has more than a few numbers a second: so the count goes on
// above that of the owner before and, also by floor, of the room's earlier lives.
func (p *Partition) firstN(now int64) uint64 {
	return p.cfg.Generation + uint64(now-p.taken)/2
}

// claim gives the session's row to who, unless a newer life has it.
func (p *Partition) claim(now int64, id event.RoomID, n *node, who event.Who) {
	if id == "" || who.Session == "" {
		return
	}
	r := p.room(now, id)
	old, known := r.rows[who.Session]
	if known && old.life > who.Life {
		p.replaced(now, n, who.Session, who.Life)
		return
	}
	if known && old.life < who.Life && old.until == 0 {
		p.replaced(now, old.node, who.Session, old.life)
	}
	m := r.members[who.User]
	if m == nil {
		m = &member{user: who.User, since: now}
		r.members[who.User] = m
		p.change(r, who.User, false)
	}
	m.sessions++
	r.list.stale = true
	r.route(n, 1)
	if known { // after the new one is in, so that nobody goes off in between
		p.release(r, old)
	}
	r.rows[who.Session] = row{node: n, member: m, life: who.Life}
}

// drop removes a row, and the room with its last one.
func (p *Partition) drop(r *room, s event.SessionID, row row) {
	delete(r.rows, s)
	p.release(r, row)
	if len(r.rows) == 0 {
		p.floor = max(p.floor, r.n)
		delete(p.changed, r)
		delete(p.rooms, r.id)
	}
}

// hold keeps a row for a while, without routing to it.
func (p *Partition) hold(now int64, r *room, s event.SessionID, row row) {
	r.route(row.node, -1)
	row.until = p.holdEnd(now)
	r.rows[s] = row
	p.holds.push(held{until: row.until, room: r.id, session: s})
}

// release undoes what a row counts for.
func (p *Partition) release(r *room, row row) {
	if row.until == 0 {
		r.route(row.node, -1)
	}
	r.list.stale = true
	if row.member.sessions--; row.member.sessions == 0 {
		delete(r.members, row.member.user)
		p.change(r, row.member.user, true)
	}
}

// change notes that the user came or went; on is the state before.
func (p *Partition) change(r *room, user event.UserID, on bool) {
	if r.was == nil {
		r.was = map[event.UserID]was{}
		p.changed[r] = struct{}{}
	}
	if _, noted := r.was[user]; !noted {
		r.was[user] = was{on: on}
	}
}

// route counts the rows of a node.
func (r *room) route(n *node, delta int) {
	i := r.share(n)
	if i < 0 {
		r.shares = append(r.shares, share{node: n})
		i = len(r.shares) - 1
	}
	if r.shares[i].rows += delta; r.shares[i].rows == 0 {
		r.shares = slices.Delete(r.shares, i, i+1)
	}
}

// share is the index of the node's share, or -1.
func (r *room) share(n *node) int {
	return slices.IndexFunc(r.shares, func(s share) bool { return s.node == n })
}
