package ingress

import (
	"context"
	"time"

	"github.com/parley-chat/parley/shared/beat"
	"github.com/parley-chat/parley/shared/event"
)

const (
	hashEvery     = time.Minute      // each room's list is compared so often
	syncParts     = 200              // rooms and sessions in one part of a sync
	syncPatience  = 10 * time.Second // a whole sync without answer for so long is sent again
	syncRetry     = time.Second      // when the bus did not take it
	syncGathering = 20 * time.Millisecond
)

// syncNow has the syncer look.
func (s *Service) syncNow() { kick(s.syncs) }

// runSyncs sends what partitions have due, until ctx ends.
func (s *Service) runSyncs(ctx context.Context) {
	ticker := beat.NewTicker(syncRetry)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			ticker.Again()
		case <-s.syncs:
			pause(ctx, syncGathering) // several reasons often come at once
		}
		for _, p := range s.partitions {
			p.sync()
		}
	}
}

// sync sends what is due. What the bus does not take stays due.
func (p *partition) sync() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.whole.left > 0 && time.Now().After(p.whole.by) {
		p.whole.left, p.due.whole = 0, true
	}
	var parts []event.SyncNode
	switch {
	case p.due.whole:
		parts = p.snapshot()
	case len(p.due.rooms) > 0:
		parts = p.some()
	default:
		return
	}
	for _, part := range parts {
		c := event.Command{At: time.Now().UnixMilli(), Sync: &part}
		done := func(err error) {
			if err != nil {
				p.resync(part)
			}
		}
		if err := p.svc.enqueue(c, done); err != nil {
			p.svc.log.Warn("sync", "partition", p.number, "err", err)
			return
		}
		p.svc.metrics.syncs.Inc()
	}
	if p.due.whole {
		p.whole = wholeSync{id: parts[0].ID, left: len(parts), by: time.Now().Add(syncPatience)}
	}
	p.due = due{}
}

// resync makes due again what a part said that did not get through.
func (p *partition) resync(part event.SyncNode) {
	if part.Whole {
		p.wantAll(part.Asked)
		return
	}
	for _, r := range part.Rooms {
		p.want(r.Room, false)
	}
}

// snapshot is all that the edge has of the partition, in parts.
func (p *partition) snapshot() []event.SyncNode {
	node := p.svc.nodeID()
	id := p.svc.syncID.Add(1)
	var parts []event.SyncNode
	part := func() *event.SyncNode {
		if n := len(parts); n > 0 && len(parts[n-1].Rooms)+len(parts[n-1].Sessions) < syncParts {
			return &parts[n-1]
		}
		parts = append(parts, event.SyncNode{Partition: p.number, Whole: true, ID: id, Part: len(parts) + 1, Asked: p.due.asked})
		return &parts[len(parts)-1]
	}
	for room := range p.rooms {
		at := part()
		at.Rooms = append(at.Rooms, p.room(room, false))
	}
	for s := range p.users {
		at := part()
		at.Sessions = append(at.Sessions, s.row(node))
	}
	part() // an empty partition is said, too
	for i := range parts {
		parts[i].Parts = len(parts)
	}
	return parts
}

// some is the rooms that are due.
func (p *partition) some() []event.SyncNode {
	var parts []event.SyncNode
	for room, hash := range p.due.rooms {
		n := len(parts)
		if n == 0 || len(parts[n-1].Rooms) >= syncParts {
			parts = append(parts, event.SyncNode{Partition: p.number, Asked: p.due.asked})
			n++
		}
		parts[n-1].Rooms = append(parts[n-1].Rooms, p.room(room, hash))
	}
	return parts
}

// room is what the edge has of one room. Of two lives of a session the later one
// counts.
func (p *partition) room(id event.RoomID, hash bool) event.RoomSync {
	r := event.RoomSync{Room: id}
	if room := p.svc.hub.room(id); room != nil {
		r.Cursor = room.place()
	}
	newest := make(map[event.SessionID]event.Who, len(p.rooms[id]))
	for s := range p.rooms[id] {
		if who := newest[s.who.Session]; who.Life < s.who.Life {
			newest[s.who.Session] = event.Who{Session: s.who.Session, Life: s.who.Life, User: s.who.User}
		}
	}
	sessions := make([]event.Who, 0, len(newest))
	for _, who := range newest {
		sessions = append(sessions, who)
	}
	if len(sessions) > 0 {
		r.Hash = event.RoomHash(sessions)
	}
	if !hash {
		r.Sessions = sessions
	}
	return r
}

// onSynced compares chat's heads with ours.
func (s *Service) onSynced(d *event.RoomsSynced, w *wakes) {
	if d.Partition < 0 || d.Partition >= len(s.partitions) {
		return
	}
	p := s.partitions[d.Partition]
	p.mu.Lock()
	if d.ID != 0 && d.ID == p.whole.id && p.whole.left > 0 {
		p.whole.left--
	}
	p.mu.Unlock()
	for _, h := range d.Heads {
		if r := s.hub.room(h.Room); r != nil && r.synced(h, w) {
			p.want(h.Room, false)
		}
	}
}

// onSyncAsked: a notifier wants to know what we have.
func (s *Service) onSyncAsked(d *event.SyncAsked) {
	if d.Partition < 0 || d.Partition >= len(s.partitions) {
		return
	}
	p := s.partitions[d.Partition]
	if len(d.Rooms) == 0 {
		p.wantAll(d.Asked)
		return
	}
	for _, room := range d.Rooms {
		p.want(room, false)
	}
}
