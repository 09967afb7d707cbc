// Package presence knows who is where in one partition: which node has members
// of a room (the routing table), who has come and gone since the room was last
// told, and which sessions a user has. It is a pure state machine: time is passed
// in, what is to be sent comes out, and nothing here waits or fails. The edges
// are the truth about who is connected; this is a copy, kept by events in the
// order of the stream and set right by syncs.
package presence

import (
	"time"

	"github.com/parley-chat/parley/shared/event"
)

const (
	// tellEvery is how often one room is told its changes, at most.
	tellEvery = 1000
	// offAfter is how many successful looks in a row must miss a node.
	offAfter = 3
	// moveGrace is how long the rows of a node that is off wait for the same
	// sessions to show up on another. It serves edges whose lease lapsed in an
	// outage; with the lease and the looks it stays within 15 s of a crash.
	moveGrace = 3000
	// goneFor is how long events of a node that is off are ignored: what was
	// under way when it died must not bring it back.
	goneFor = 10 * 60 * 1000
	// askEvery is the time between two requests for a sync that stays away; it
	// doubles up to askMax, because the answer may stand in a backlog.
	askEvery, askMax = 2000, 8000
	// rebuildMax ends the wait for nodes that are alive and do not answer.
	rebuildMax = 30_000
	// jumpBudget is how many rows' worth of rooms is told per tick after a
	// takeover; all their members ask at once.
	jumpBudget = 500
	// refreshEvery is how often all users are written to the registry again.
	refreshEvery = 4 * 60 * 1000
	// listed is how many users a list of members has, at most.
	listed = 200
)

// Config of a Partition.
type Config struct {
	Partition    int
	Generation   uint64        // of this ownership; syncs are asked for under it
	Hold         time.Duration // how long an unclean end is kept before it is told
	Large        int           // rooms with more members are told counts only
	UserSessions int           // sessions a user may have
}

// Send is a delivery and the node it is for.
type Send struct {
	Node     event.NodeID
	Delivery event.Delivery
}

// Partition is the state of one partition while it is owned. All times are
// milliseconds of one clock that does not go back. What is to be sent gathers
// until Take. Not safe for concurrent use.
type Partition struct {
	cfg   Config
	start int64 // of the rebuild under way, or of the last one
	taken int64 // when the partition was taken

	nodes    map[event.NodeID]*node
	gone     map[event.NodeID]int64 // nodes that went off, until when they are ignored
	unsynced int                    // nodes that get every event, because their rows are not known
	looked   bool                   // there was a successful look
	rebuilt  bool                   // all live nodes have answered: the rows are the truth
	told     bool                   // rooms are told changes, not yet before the first rebuild

	rooms   map[event.RoomID]*room
	changed map[*room]struct{} // rooms with something to tell
	jump    []event.RoomID     // rooms still to be told after the takeover
	floor   uint64             // no new room begins to count at or below it

	users     map[event.UserID]*user
	dirty     map[event.UserID]struct{}
	refreshed int64

	holds queue
	sends []Send
	offs  []event.NodeID
}

// New is a partition just taken over: it knows nothing, and tells nothing before
// the live nodes have answered.
func New(cfg Config, now int64) *Partition {
	return &Partition{
		cfg:       cfg,
		start:     now,
		taken:     now,
		refreshed: now,
		nodes:     map[event.NodeID]*node{},
		gone:      map[event.NodeID]int64{},
		rooms:     map[event.RoomID]*room{},
		changed:   map[*room]struct{}{},
		users:     map[event.UserID]*user{},
		dirty:     map[event.UserID]struct{}{},
	}
}

// Take returns what is to be sent, in order, and forgets it. The slice is valid
// until the next call of any method.
func (p *Partition) Take() []Send {
	sends := p.sends
	p.sends = p.sends[:0]
	return sends
}

// TakeOff returns the nodes that went off since the last call.
func (p *Partition) TakeOff() []event.NodeID {
	offs := p.offs
	p.offs = nil
	return offs
}

// Tick does what is due by time. Call it a few times a second.
func (p *Partition) Tick(now int64) {
	p.ask(now)
	p.tryRebuilt(now)
	if !p.rebuilt {
		return // nobody is said to be gone while some have not answered
	}
	p.expire(now)
	p.forget(now)
	p.tellJumps(now)
	for r := range p.changed {
		p.tell(now, r)
	}
	if now-p.refreshed >= refreshEvery {
		p.refreshed = now
		for id := range p.users {
			p.dirty[id] = struct{}{}
		}
	}
}

// Rebuilding tells whether nodes are still to say what they have, and since when.
func (p *Partition) Rebuilding() (since int64, yes bool) { return p.start, !p.rebuilt }

// Stats are the sizes of a partition.
type Stats struct {
	Nodes, Rooms, Rows, Sessions int
}

// Stats counts what is held.
func (p *Partition) Stats() Stats {
	s := Stats{Rooms: len(p.rooms)}
	for _, n := range p.nodes {
		if n.off == 0 {
			s.Nodes++
		}
	}
	for id, r := range p.rooms {
		if id == event.StatusRoom { // boards watch, and are not watched
			s.Rooms--
			continue
		}
		s.Rows += len(r.rows)
	}
	for _, u := range p.users {
		s.Sessions += len(u.sessions)
	}
	return s
}

func (p *Partition) send(now int64, n *node, d event.Delivery) {
	if n.off == 0 {
		d.At = now
		p.sends = append(p.sends, Send{n.id, d})
	}
}

// tryRebuilt ends the rebuild when every node that is not off has answered, or
// after rebuildMax.
func (p *Partition) tryRebuilt(now int64) {
	if p.rebuilt || !p.looked || p.unsynced > 0 && now-p.start < rebuildMax {
		return
	}
	p.rebuilt = true
	if p.told {
		return
	}
	// What the owner before knew and did not tell, nobody knows. Each room is
	// given a number that has jumped, so that clients ask: also those who were given
	// a list while it was not complete.
	p.told = true
	clear(p.changed)
	for id, r := range p.rooms {
		r.was, r.large = nil, len(r.members) > p.cfg.Large
		r.n++
		p.jump = append(p.jump, id)
	}
}

// replaced tells a session's older life that a newer one took over.
func (p *Partition) replaced(now int64, n *node, s event.SessionID, life event.Life) {
	p.send(now, n, event.Delivery{Session: s, Life: life, Replaced: &event.SessionReplaced{}})
}
