package presence

import (
	"slices"

	"github.com/parley-chat/parley/shared/event"
)

// list is a room's members as last listed. In a large room it may be a second
// old, because everybody who joins asks for it.
type list struct {
	users []event.Member
	at    int64
	stale bool
}

// Members lists who is in the room: the first 200 users by name.
func (p *Partition) Members(now int64, id event.RoomID) event.MembersListed {
	r := p.rooms[id]
	if r == nil {
		return event.MembersListed{Users: []event.Member{}, N: max(p.firstN(now), p.floor)}
	}
	fresh := !r.list.stale || len(r.members) > p.cfg.Large && now-r.list.at < tellEvery
	if r.list.users == nil || !fresh {
		r.list = list{users: r.first(listed), at: now}
		for user, w := range r.was {
			w.shown = w.shown || w.on != (r.members[user] != nil)
			r.was[user] = w
		}
	}
	return event.MembersListed{Users: r.list.users, Count: len(r.members), N: r.n}
}

// Connections adds to a list of the room's members where each is connected, and
// whose line broke. It goes through all rows of the room: it is for operators.
func (p *Partition) Connections(id event.RoomID, list *event.MembersListed) {
	r := p.rooms[id]
	if r == nil {
		return
	}
	at := make(map[event.UserID]int, len(list.Users))
	users := slices.Clone(list.Users) // the list is the room's, for all who ask
	for i := range users {
		at[users[i].User] = i
	}
	for _, row := range r.rows {
		i, listed := at[row.member.user]
		switch {
		case !listed:
		case row.until != 0:
			users[i].Held++
		default:
			users[i].Nodes = append(users[i].Nodes, row.node.id)
		}
	}
	for i := range users {
		slices.Sort(users[i].Nodes)
	}
	list.Users = users
}

// first returns the first n members by name, in a slice of their own.
func (r *room) first(n int) []event.Member {
	names := make([]event.UserID, 0, len(r.members))
	for user := range r.members {
		names = append(names, user)
	}
	slices.Sort(names)
	users := make([]event.Member, 0, min(n, len(names)))
	for _, user := range names[:min(n, len(names))] {
		m := r.members[user]
		users = append(users, event.Member{User: user, Sessions: m.sessions, Since: m.since})
	}
	return users
}

// tell says who came and went since the room was last told, if it is time.
func (p *Partition) tell(now int64, r *room) {
	if r.told != 0 && now-r.told < tellEvery {
		return
	}
	var on, off []event.UserID
	for user, w := range r.was {
		switch is := r.members[user] != nil; {
		case w.on == is && !w.shown: // came and went, and nobody saw it
		case is:
			on = append(on, user)
		default:
			off = append(off, user)
		}
	}
	r.was = nil
	delete(p.changed, r)
	if len(on)+len(off) == 0 {
		return
	}
	large := len(r.members) > p.cfg.Large
	r.n++
	if r.large && !large {
		r.n++ // whoever was told counts has no list to change: the jump has him ask
	}
	r.large = large
	if large {
		on, off = nil, nil
	}
	slices.Sort(on)
	slices.Sort(off)
	p.announce(now, r, on, off)
}

// tellJumps gives some of the rooms that a takeover left a number that jumped.
// Rooms that had a change since need it no more: that one jumped as well.
func (p *Partition) tellJumps(now int64) {
	for budget := jumpBudget; budget > 0 && len(p.jump) > 0; {
		r := p.rooms[p.jump[0]]
		p.jump = p.jump[1:]
		if r == nil || r.told != 0 {
			continue
		}
		budget -= len(r.rows)
		r.n++
		p.announce(now, r, nil, nil)
	}
	if len(p.jump) == 0 {
		p.jump = nil
	}
}

func (p *Partition) announce(now int64, r *room, on, off []event.UserID) {
	r.told, r.list.users = now, nil // who is told something and asks gets nothing older
	d := p.presence(r, on, off)
	for _, id := range p.Nodes(nil, r.id) {
		p.send(now, p.nodes[id], d)
	}
}

// remind repeats the last number of its rooms to a node that may have missed
// it: who has it ignores it, who has not asks.
func (p *Partition) remind(now int64, n *node) {
	for _, r := range p.rooms {
		if r.told != 0 && r.share(n) >= 0 {
			p.send(now, n, p.presence(r, nil, nil))
		}
	}
}

func (p *Partition) presence(r *room, on, off []event.UserID) event.Delivery {
	return event.Delivery{Room: r.id, Presence: &event.PresenceChanged{
		On: on, Off: off, Count: len(r.members), Large: r.large, N: r.n,
	}}
}
