package presence

import "github.com/parley-chat/parley/shared/event"

// node is one life of an edge.
type node struct {
	id      event.NodeID
	live    bool  // in the last successful look
	missing int   // successful looks in a row without it
	off     int64 // not 0: off, and its rows end then
	synced  bool  // its rows are known
	askAt   int64
	wait    int64 // between requests
	sync    *whole
}

// Look says which nodes are live, as a successful look found. A node that is
// missing in three looks running is off: nothing more is sent to it.
func (p *Partition) Look(now int64, live []event.NodeID) {
	p.looked = true
	for _, n := range p.nodes {
		n.live = false
	}
	for _, id := range live {
		delete(p.gone, id)
		n := p.node(id)
		if n == nil {
			continue
		}
		n.live, n.missing = true, 0
		if n.off != 0 { // back, with rows that nobody kept up to date
			n.off = 0
			p.unsync(n)
		}
	}
	for _, n := range p.nodes {
		if n.live || n.off != 0 {
			continue
		}
		if n.missing++; n.missing >= offAfter {
			n.off, n.sync = now+moveGrace, nil
			p.offs = append(p.offs, n.id)
		}
	}
	p.count()
}

// LookFailed says that nobody knows which nodes are live: the count of missing
// looks begins anew.
func (p *Partition) LookFailed() {
	for _, n := range p.nodes {
		n.missing = 0
	}
}

// Live tells whether the node may be sent to. Before the first look every node
// may.
func (p *Partition) Live(id event.NodeID) bool {
	n := p.nodes[id]
	if n == nil {
		return !p.looked && id != ""
	}
	return n.off == 0
}

// Reply tells whether an answer may be sent to the node: any that is not off,
// also one that no look has shown yet.
func (p *Partition) Reply(id event.NodeID) bool {
	n := p.node(id)
	return n != nil && n.off == 0
}

// Each calls fn for every node that is not off.
func (p *Partition) Each(fn func(event.NodeID)) {
	for id, n := range p.nodes {
		if n.off == 0 {
			fn(id)
		}
	}
}

// Missed says that events are gone for good: until the nodes have said anew what
// they have, each gets every event and nobody is said to be gone.
func (p *Partition) Missed(now int64) {
	p.start, p.rebuilt = now, false
	for _, n := range p.nodes {
		p.unsync(n)
	}
	p.count()
}

// node finds or makes a node; nil: it is gone, or has no name.
func (p *Partition) node(id event.NodeID) *node {
	n := p.nodes[id]
	if n != nil || id == "" {
		return n
	}
	if _, gone := p.gone[id]; gone {
		return nil
	}
	n = &node{id: id}
	p.nodes[id] = n
	p.count()
	return n
}

func (p *Partition) unsync(n *node) {
	n.synced, n.sync, n.askAt, n.wait = false, nil, 0, 0
}

// count keeps unsynced.
func (p *Partition) count() {
	p.unsynced = 0
	for _, n := range p.nodes {
		if !n.synced && n.off == 0 {
			p.unsynced++
		}
	}
}

// ask asks the nodes whose rows are not known, and again while they do not
// answer.
func (p *Partition) ask(now int64) {
	if p.unsynced == 0 {
		return
	}
	for _, n := range p.nodes {
		if n.synced || !n.live || now < n.askAt {
			continue
		}
		n.wait = min(max(2*n.wait, askEvery), askMax)
		n.askAt = now + n.wait
		p.sendAsk(now, n, nil)
	}
}

func (p *Partition) sendAsk(now int64, n *node, rooms []event.RoomID) {
	p.send(now, n, event.Delivery{SyncAsk: &event.SyncAsked{
		Partition: p.cfg.Partition, Asked: p.cfg.Generation, Rooms: rooms,
	}})
}

// forget ends the rows of nodes that are off and whose grace is over.
func (p *Partition) forget(now int64) {
	for id, until := range p.gone {
		if now >= until {
			delete(p.gone, id)
		}
	}
	for id, n := range p.nodes {
		if n.off == 0 || now < n.off {
			continue
		}
		for _, r := range p.rooms {
			if r.share(n) >= 0 {
				for s, row := range r.rows {
					if row.node == n && row.until == 0 {
						p.drop(r, s, row)
					}
				}
			}
		}
		for _, u := range p.users {
			for i := len(u.sessions) - 1; i >= 0; i-- {
				if u.sessions[i].node == n && u.sessions[i].until == 0 {
					p.dropSession(u, i)
				}
			}
		}
		delete(p.nodes, id)
		p.gone[id] = now + goneFor
	}
}
