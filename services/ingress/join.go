package ingress

import (
	"github.com/parley-chat/parley/services/ingress/protocol"
	"github.com/parley-chat/parley/shared/event"
)

// join subscribes; the answer begins the subscription.
func (s *session) join(r *request, j event.JoinRoom) {
	s.mu.Lock()
	m := s.rooms[r.room]
	if s.ended.Load() {
		s.mu.Unlock()
		return
	}
	if m == nil && len(s.rooms) >= s.svc.cfg.Rooms {
		s.mu.Unlock()
		s.tooManyRooms(r)
		return
	}
	if m == nil {
		m = &membership{}
		s.rooms[r.room] = m
	}
	m.joining++
	s.mu.Unlock()
	c := s.command(r.room)
	c.Join = &j
	if !s.note(r, &c) {
		return
	}
	number := c.Request
	err := s.svc.partition(string(r.room)).join(s, c, func(err error) {
		if err != nil {
			s.failed(number, err)
		}
	})
	if err != nil {
		s.failed(number, err)
	}
}

func (s *session) tooManyRooms(r *request) {
	s.svc.metrics.requests.WithLabelValues(protocol.TypeJoin, string(protocol.Limit)).Inc()
	e := protocol.Errorf(protocol.Limit, "a session may be in %d rooms (PARLEY_ROOMS)", s.svc.cfg.Rooms)
	e.ID = r.id
	if r.hello {
		e.Room = string(r.room)
	}
	if r.hello || r.id != 0 {
		s.pushError(e)
	}
}

// leave is answered at once: the subscription is gone, whatever the others hear of it.
func (s *session) leave(q *protocol.Request, room event.RoomID) {
	var joins []*request
	s.mu.Lock()
	m := s.rooms[room]
	delete(s.rooms, room)
	if m != nil && m.joining > 0 {
		for number, r := range s.requests.open {
			if r.kind == protocol.TypeJoin && r.room == room {
				joins = append(joins, s.requests.take(number))
			}
		}
	}
	if m != nil && m.sub != nil {
		s.svc.hub.unsubscribe(m.sub)
		s.rowChanged()
	}
	s.mu.Unlock()
	for _, r := range joins {
		s.fail(r, protocol.Errorf(protocol.Conflict, "the room was left before it was joined"))
	}
	s.svc.partition(string(room)).leave(s, room, true)
	s.ok(q, protocol.OK{Room: q.Room})
}

// joinFailed takes a join back.
func (s *session) joinFailed(q *request, code protocol.Code) {
	s.mu.Lock()
	m := s.rooms[q.room]
	if m == nil {
		s.mu.Unlock()
		return
	}
	m.joining--
	out := m.joining <= 0 && m.sub == nil
	if out {
		delete(s.rooms, q.room)
	}
	s.mu.Unlock()
	if !out {
		return
	}
	p := s.svc.partition(string(q.room))
	if code == protocol.Unavailable {
		p.leave(s, q.room, true) // it may have been done
		return
	}
	p.forget(s, q.room)
}
