package presence

import (
	"slices"

	"github.com/parley-chat/parley/shared/event"
)

// user is one user's sessions, at most a few.
type user struct {
	id       event.UserID
	sessions []session
}

type session struct {
	row   event.SessionRow
	node  *node
	until int64 // not 0: held until then
}

// User is what the registry is to show of a user: all of the sessions.
type User struct {
	ID       event.UserID
	Sessions []Session
}

// Session is a row of the registry. Until is 0, or the Unix ms after which a row
// whose end was not clean counts no more.
type Session struct {
	event.SessionRow
	Until int64 `json:"until,omitempty"`
}

// Opened says that a session is connected, or that its row changed. A newer life
// takes the row over. A session too many is told to go.
func (p *Partition) Opened(now int64, row event.SessionRow) {
	p.opened(now, row, p.cfg.UserSessions)
}

func (p *Partition) opened(now int64, row event.SessionRow, limit int) {
	n := p.node(row.Node)
	if n == nil || row.Session == "" || row.User == "" {
		return
	}
	if n.sync != nil {
		delete(n.sync.sessions, row.Session)
	}
	u := p.users[row.User]
	if u == nil {
		u = &user{id: row.User}
		p.users[row.User] = u
	}
	i := u.index(row.Session)
	switch {
	case i < 0 && u.open() >= limit:
		p.send(now, n, event.Delivery{
			Session: row.Session, Life: row.Life,
			Replaced: &event.SessionReplaced{Over: true, Limit: limit},
		})
		return
	case i < 0:
		u.sessions = append(u.sessions, session{row: row, node: n})
	case u.sessions[i].row.Life > row.Life:
		p.replaced(now, n, row.Session, row.Life)
		return
	default:
		old := u.sessions[i]
		if old.row.Life < row.Life && old.until == 0 {
			p.replaced(now, old.node, row.Session, old.row.Life)
		}
		if old.row.Since != 0 {
			row.Since = min(row.Since, old.row.Since) // the first hello of all its lives
		}
		u.sessions[i] = session{row: row, node: n}
	}
	p.dirty[row.User] = struct{}{}
}

// Closed says that a session's connection ended; another life's row stays. An
// unclean end is held.
func (p *Partition) Closed(now int64, who event.Who, clean bool) {
	p.dirty[who.User] = struct{}{} // also when unknown: the registry may know it from an owner before
	u := p.users[who.User]
	if u == nil {
		return
	}
	i := u.index(who.Session)
	switch {
	case i < 0 || u.sessions[i].row.Life != who.Life:
	case clean:
		p.dropSession(u, i)
	case u.sessions[i].until == 0:
		until := p.holdEnd(now)
		u.sessions[i].until = until
		p.holds.push(held{until: until, user: who.User, session: who.Session})
	}
}

// TakeDirty returns up to n users whose sessions the registry does not show yet.
// Before the rebuild is over there are none: the rows are not complete.
func (p *Partition) TakeDirty(n int) []User {
	if !p.rebuilt {
		return nil
	}
	var users []User
	for id := range p.dirty {
		if len(users) == n {
			break
		}
		delete(p.dirty, id)
		entry := User{ID: id}
		if u := p.users[id]; u != nil {
			for _, s := range u.sessions {
				entry.Sessions = append(entry.Sessions, Session{SessionRow: s.row, Until: s.until})
			}
		}
		users = append(users, entry)
	}
	return users
}

// Redo marks users that TakeDirty returned as not written.
func (p *Partition) Redo(users []User) {
	for _, u := range users {
		p.dirty[u.ID] = struct{}{}
	}
}

// Known leaves out what the registry shows of a user and is not so: an owner before
// may have died between hearing that a session ended and writing it. Such a user is
// written again. Before the rebuild is over nobody can tell.
func (p *Partition) Known(id event.UserID, shown []Session) []Session {
	if !p.rebuilt {
		return shown
	}
	u := p.users[id]
	known := slices.DeleteFunc(slices.Clone(shown), func(s Session) bool { return u == nil || u.index(s.Session) < 0 })
	if len(known) < len(shown) {
		p.dirty[id] = struct{}{}
	}
	return known
}

// Sessions counts the sessions per node whose users lie in this partition.
func (p *Partition) Sessions() map[event.NodeID]int {
	counts := map[event.NodeID]int{}
	for _, u := range p.users {
		for _, s := range u.sessions {
			if s.until == 0 && s.node.off == 0 {
				counts[s.node.id]++
			}
		}
	}
	return counts
}

func (p *Partition) dropSession(u *user, i int) {
	u.sessions = slices.Delete(u.sessions, i, i+1)
	p.dirty[u.id] = struct{}{}
	if len(u.sessions) == 0 {
		delete(p.users, u.id)
	}
}

func (u *user) index(s event.SessionID) int {
	return slices.IndexFunc(u.sessions, func(x session) bool { return x.row.Session == s })
}

// open counts the sessions that are connected.
func (u *user) open() int {
	n := 0
	for _, s := range u.sessions {
		if s.until == 0 && s.node.off == 0 {
			n++
		}
	}
	return n
}
