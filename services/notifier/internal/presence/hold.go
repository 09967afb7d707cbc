package presence

import "github.com/parley-chat/parley/shared/event"

// held is a row of a room, or with an empty room of the user, whose end was not
// clean: the session may resume until then. The row itself says whether this
// entry still stands.
type held struct {
	until   int64
	room    event.RoomID
	user    event.UserID
	session event.SessionID
}

// queue is first in, first out, which is the order of expiry as all holds last
// equally long.
type queue struct {
	entries []held
	first   int
}

func (q *queue) push(h held) { q.entries = append(q.entries, h) }

// pop returns the first entry if it is due.
func (q *queue) pop(now int64) (held, bool) {
	if q.first == len(q.entries) || q.entries[q.first].until > now {
		return held{}, false
	}
	h := q.entries[q.first]
	q.entries[q.first] = held{}
	q.first++
	if q.first*2 > len(q.entries) { // amortised: each entry is moved at most once per halving
		n := copy(q.entries, q.entries[q.first:])
		clear(q.entries[n:])
		q.entries, q.first = q.entries[:n], 0
	}
	return h, true
}

// expire ends the rows whose hold is over.
func (p *Partition) expire(now int64) {
	for {
		h, ok := p.holds.pop(now)
		if !ok {
			return
		}
		if h.room == "" {
			if u := p.users[h.user]; u != nil {
				if i := u.index(h.session); i >= 0 && u.sessions[i].until == h.until {
					p.dropSession(u, i)
				}
			}
			continue
		}
		if r := p.rooms[h.room]; r != nil {
			if row, ok := r.rows[h.session]; ok && row.until == h.until {
				p.drop(r, h.session, row)
			}
		}
	}
}

// holdEnd is when a hold that begins now ends.
func (p *Partition) holdEnd(now int64) int64 { return now + p.cfg.Hold.Milliseconds() }
