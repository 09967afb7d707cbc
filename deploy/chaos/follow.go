package chaos

import (
	"hash/maphash"
	"slices"
)

// seen follows what one connection is shown of a room.
func (c *Checker) seen(on *conn, l Line) {
	r := c.room(l.Room)
	at := on.rooms[l.Room]
	if at == nil && l.Kind != Joined {
		if l.Kind == Delivered || l.Kind == Gap || l.Kind == Reset {
			c.held("I5", false, "%s of %s is shown to a client that is not in the room", l.Kind, l.Room)
		}
		return
	}
	switch l.Kind {
	case Joined:
		c.joined(on, r, l)
	case Left:
		delete(on.rooms, l.Room)
	case Gap:
		c.held("I5", l.From == at.seq+1 && l.To >= l.From, "gap %d–%d at cursor %d", l.From, l.To, at.seq)
		c.lost(r, "", l.From-1, l.To, "a gap was shown")
		at.seq = l.To
	case Reset:
		c.epoch(r, at.epoch, l.Epoch, l.Seq, at.seq)
		*at = position{l.Epoch, l.Seq}
	case Delivered:
		c.delivered(r, at, l)
	}
}

// joined checks that the stream goes on where the client stopped.
func (c *Checker) joined(on *conn, r *room, l Line) {
	on.rooms[l.Room] = &position{l.Epoch, l.After}
	if len(r.epochs) == 0 {
		r.epochs, r.kept = []string{l.Epoch}, []uint64{0}
	}
	s := l.Since
	switch {
	case s == nil:
		if !slices.Contains(r.epochs, l.Epoch) {
			c.held("I8", c.excused, "room %s goes by another epoch and nothing was lost", l.Room)
			c.newEpoch(r, l.Epoch)
		}
	case l.Reset:
		c.epoch(r, s.Epoch, l.Epoch, l.After, s.Seq)
	case l.To != 0:
		c.held("I5", l.From == s.Seq+1 && l.After == l.To, "gap %d–%d after cursor %d, the stream begins after %d", l.From, l.To, s.Seq, l.After)
		c.lost(r, "", s.Seq, l.To, "a gap was shown")
	default:
		c.held("I5", l.After == s.Seq && l.Epoch == s.Epoch, "joined after %d of %s, asked was after %d of %s", l.After, l.Epoch, s.Seq, s.Epoch)
	}
}

// epoch takes a change of epoch that a client was shown: what it had after kept is void.
func (c *Checker) epoch(r *room, from, to string, kept, cursor uint64) {
	c.held("I5", c.excused, "a reset was shown although no fault lost anything")
	was, is := slices.Index(r.epochs, from), slices.Index(r.epochs, to)
	c.held("I8", from != to && (is < 0 || is > was), "epoch %s comes after %s; so far they were %v", to, from, r.epochs)
	if is < 0 {
		is = c.newEpoch(r, to)
	}
	if kept < cursor {
		c.lost(r, from, kept, cursor, "a reset was shown")
	}
	r.kept[is] = max(r.kept[is], kept)
}

func (c *Checker) newEpoch(r *room, epoch string) int {
	r.epochs, r.kept = append(r.epochs, epoch), append(r.kept, 0)
	return len(r.epochs) - 1
}

func (c *Checker) lost(r *room, epoch string, from, to uint64, text string) {
	if to-from > 1e6 { // the numbers make no sense; that is told elsewhere
		to = from
	}
	r.losses = append(r.losses, told{c.lines, text, epoch, from, to})
}

func (c *Checker) delivered(r *room, at *position, l Line) {
	c.held("I3", l.Seq > at.seq, "entry %d comes after %d", l.Seq, at.seq)
	c.held("I5", l.Seq <= at.seq+1, "entry %d comes after %d and no gap was shown", l.Seq, at.seq)
	at.seq = max(at.seq, l.Seq)
	c.named(r, at.epoch, l)
	p := c.known(l)
	if p == nil {
		return
	}
	if p.seen != 0 && p.seenEpoch == at.epoch {
		c.held("I2", p.seen == l.Seq, "%s of %s is delivered as %d and as %d", l.CID, l.User, p.seen, l.Seq)
	}
	first := p.seen == 0
	p.seen, p.seenEpoch = l.Seq, at.epoch
	if first {
		c.agree(l.Room, p)
	}
}

// named checks that a seq is one message under an epoch.
func (c *Checker) named(r *room, epoch string, l Line) {
	mids := r.mids[epoch]
	if mids == nil {
		mids = map[uint64]uint64{}
		r.mids[epoch] = mids
	}
	mid := c.mid(l)
	if was, ok := mids[l.Seq]; ok {
		c.held("I4", was == mid, "entry %d of %s is another message elsewhere", l.Seq, l.Room)
		c.held("I8", was == mid, "entry %d of %s is used twice under epoch %s", l.Seq, l.Room, epoch)
	}
	mids[l.Seq] = mid
}

func (c *Checker) mid(l Line) uint64 { return maphash.String(c.seed, l.MID) | 1 }

// known finds the message that an entry claims to be.
func (c *Checker) known(l Line) *post {
	p := c.post(l.Room, l.User, l.CID)
	if !c.held("I2", p != nil, "entry %d of %s was never sent", l.Seq, l.Room) {
		return nil
	}
	c.held("I2", p.hash == l.Hash, "entry %d of %s has another body than was sent", l.Seq, l.Room)
	return p
}

// entry takes one of the log's, at rest. They come in ascending order.
func (c *Checker) entry(l Line) {
	r := c.room(l.Room)
	c.held("I5", r.final == 0 || l.Seq == r.final+1, "the log of %s has %d after %d", l.Room, l.Seq, r.final)
	r.final = l.Seq
	r.finals[l.Seq] = c.mid(l)
	c.named(r, l.Epoch, l)
	p := c.known(l)
	if p == nil {
		return
	}
	c.held("I2", p.final == 0, "the log of %s has %s of %s as %d and as %d", l.Room, l.CID, l.User, p.final, l.Seq)
	p.final = l.Seq
}

// head compares every live cursor with the end of the log.
func (c *Checker) head(l Line) {
	r := c.room(l.Room)
	r.read = true
	c.held("I5", r.final == l.Seq, "the log of %s was read up to %d, its head is %d", l.Room, r.final, l.Seq)
	for id, on := range c.conns {
		if at := on.rooms[l.Room]; at != nil {
			c.held("I13", at.seq == l.Seq && at.epoch == l.Epoch, "%s (connection %d) is at %d of %s, the head of %s is %d of %s",
				id.client, id.conn, at.seq, at.epoch, l.Room, l.Seq, l.Epoch)
		}
	}
}
