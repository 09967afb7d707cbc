package presence

import (
	"math"

	"github.com/parley-chat/parley/shared/event"
)

// whole is a whole sync whose parts are coming in.
type whole struct {
	id       uint64
	parts    int
	seen     map[int]struct{}
	named    map[event.RoomID]struct{}
	rooms    map[event.RoomID]struct{}     // had rows of the node when it began, not named yet
	sessions map[event.SessionID]sessionAt // likewise
}

type sessionAt struct {
	user event.UserID
	life event.Life
}

// Synced takes over what a node says it has: of the rooms named or, once all
// parts of a whole sync are there, of the partition. Rows that it leaves out are
// held, for how they ended is not known.
func (p *Partition) Synced(now int64, id event.NodeID, s event.SyncNode) {
	n := p.node(id)
	if n == nil {
		return
	}
	if s.Whole {
		p.begin(now, n, s)
	}
	var differ []event.RoomID
	for _, rs := range s.Rooms {
		switch {
		case n.named(s, rs.Room): // a big room goes on in this part
			p.claimAll(now, n, rs)
		case rs.Sessions != nil || rs.Hash == 0:
			p.syncRoom(now, n, rs)
		case p.hash(n, rs.Room) != rs.Hash:
			differ = append(differ, rs.Room)
		}
	}
	for _, row := range s.Sessions {
		row.Node = id
		p.opened(now, row, math.MaxInt) // it was let in when it came
	}
	if len(differ) > 0 {
		p.sendAsk(now, n, differ)
	}
	if n.sync != nil && len(n.sync.seen) == n.sync.parts {
		p.complete(now, n)
	}
}

// begin notes a part of a whole sync, the first of an ID being its begin.
func (p *Partition) begin(now int64, n *node, s event.SyncNode) {
	parts := max(s.Parts, 1)
	if n.sync == nil || n.sync.id != s.ID || n.sync.parts != parts {
		w := &whole{
			id: s.ID, parts: parts, seen: map[int]struct{}{}, named: map[event.RoomID]struct{}{},
			rooms: map[event.RoomID]struct{}{}, sessions: map[event.SessionID]sessionAt{},
		}
		for id, r := range p.rooms {
			if r.share(n) >= 0 {
				w.rooms[id] = struct{}{}
			}
		}
		for id, u := range p.users {
			for _, s := range u.sessions {
				if s.node == n && s.until == 0 {
					w.sessions[s.row.Session] = sessionAt{id, s.row.Life}
				}
			}
		}
		n.sync = w
	}
	n.sync.seen[s.Part] = struct{}{}
	n.askAt = now + n.wait // it is coming: no need to ask again yet
}

// complete ends a whole sync: what no part named is gone.
func (p *Partition) complete(now int64, n *node) {
	w := n.sync
	n.sync, n.synced, n.wait = nil, true, 0
	for id := range w.rooms {
		p.syncRoom(now, n, event.RoomSync{Room: id})
	}
	for s, at := range w.sessions {
		p.Closed(now, event.Who{Node: n.id, Session: s, Life: at.life, User: at.user}, false)
	}
	p.count()
	if p.told {
		p.remind(now, n)
	}
	p.tryRebuilt(now)
}

// syncRoom replaces the node's rows of a room.
func (p *Partition) syncRoom(now int64, n *node, rs event.RoomSync) {
	r := p.rooms[rs.Room]
	if r != nil && r.share(n) >= 0 {
		has := make(map[event.SessionID]struct{}, len(rs.Sessions))
		for _, who := range rs.Sessions {
			has[who.Session] = struct{}{}
		}
		for s, row := range r.rows {
			if _, ok := has[s]; !ok && row.node == n && row.until == 0 {
				p.hold(now, r, s, row)
			}
		}
	}
	p.claimAll(now, n, rs)
}

func (p *Partition) claimAll(now int64, n *node, rs event.RoomSync) {
	for _, who := range rs.Sessions {
		p.claim(now, rs.Room, n, who)
	}
}

// named notes that a part names the room, and tells whether a part of the same
// whole sync did before.
func (n *node) named(s event.SyncNode, id event.RoomID) bool {
	if n.sync == nil {
		return false
	}
	delete(n.sync.rooms, id)
	if !s.Whole {
		return false
	}
	_, before := n.sync.named[id]
	n.sync.named[id] = struct{}{}
	return before
}

// hash is RoomHash of what is known of the node in the room.
func (p *Partition) hash(n *node, id event.RoomID) uint64 {
	r := p.rooms[id]
	if r == nil {
		return event.RoomHash(nil)
	}
	var has []event.Who
	for s, row := range r.rows {
		if row.node == n && row.until == 0 {
			has = append(has, event.Who{Session: s, Life: row.life})
		}
	}
	return event.RoomHash(has)
}
