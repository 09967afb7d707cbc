package ingress

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/parley-chat/parley/services/ingress/internal/ring"
	"github.com/parley-chat/parley/shared/event"
)

// hub is the rooms and sessions of this edge.
//
// Locks are taken in this order: partition, session, hub, room, outbox.
type hub struct {
	svc   *Service
	bytes atomic.Int64 // of all rooms' logs

	mu       sync.RWMutex
	rooms    map[event.RoomID]*room
	sessions map[sessionKey]*session
}

// sessionKey names one life of a session; an older and a newer one may be here at
// the same time.
type sessionKey struct {
	id   event.SessionID
	life event.Life
}

func newHub(svc *Service) *hub {
	return &hub{svc: svc, rooms: make(map[event.RoomID]*room), sessions: make(map[sessionKey]*session)}
}

func (h *hub) room(id event.RoomID) *room {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.rooms[id]
}

func (h *hub) session(id event.SessionID, life event.Life) *session {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.sessions[sessionKey{id, life}]
}

func (h *hub) open(s *session) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sessions[sessionKey{s.who.Session, s.who.Life}] = s
}

func (h *hub) close(s *session) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.sessions, sessionKey{s.who.Session, s.who.Life})
}

func (h *hub) all() []*session {
	h.mu.RLock()
	defer h.mu.RUnlock()
	all := make([]*session, 0, len(h.sessions))
	for _, s := range h.sessions {
		all = append(all, s)
	}
	return all
}

func (h *hub) sizes() (rooms, sessions int) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return len(h.rooms), len(h.sessions)
}

// subscribe puts the session into the room, which begins with its first subscriber.
func (h *hub) subscribe(s *session, id event.RoomID, j *event.RoomJoined) *subscription {
	for {
		r, made := h.roomFor(id, j)
		sub, ok := r.add(s, j)
		if !ok {
			continue // it ended in between
		}
		if made {
			h.svc.wheel.After(h.svc.spread(hashEvery), r.checkUp)
		}
		return sub
	}
}

func (h *hub) roomFor(id event.RoomID, j *event.RoomJoined) (r *room, made bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if r = h.rooms[id]; r != nil {
		return r, false
	}
	r = &room{hub: h, id: id, log: ring.NewLog(string(id), h.svc.bounds, string(j.Epoch), j.Head)}
	h.rooms[id] = r
	return r, true
}

// unsubscribe ends a subscription, and the room with its last one.
func (h *hub) unsubscribe(sub *subscription) {
	r := sub.room
	if !r.remove(sub) {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.subs) > 0 || r.gone {
		return
	}
	r.gone = true
	h.count(-r.counted)
	r.counted = 0
	delete(h.rooms, r.id)
}

// ask sends a room's request for a page, and looks after its answer.
func (h *hub) ask(r *room, p pageRequest) {
	if p.number == 0 {
		return
	}
	h.svc.metrics.fetches.Inc()
	h.svc.readAhead(r.id, p)
	h.svc.wheel.After(r.patience(), r.again(p.number))
}

func (h *hub) count(n int) {
	if n != 0 && h.bytes.Add(int64(n)) > h.svc.cfg.RingsBytes {
		h.svc.shrinkSoon()
	}
}

// shrink takes memory from the rooms that were used least lately, until all
// together are at nine tenths of what they may hold.
func (h *hub) shrink() {
	type aged struct {
		room *room
		used int64
	}
	h.mu.RLock()
	rooms := make([]aged, 0, len(h.rooms))
	for _, r := range h.rooms {
		rooms = append(rooms, aged{room: r})
	}
	h.mu.RUnlock()
	for i := range rooms {
		r := rooms[i].room
		r.mu.Lock()
		rooms[i].used = r.used
		r.mu.Unlock()
	}
	slices.SortFunc(rooms, func(a, b aged) int { return int(a.used - b.used) })
	for _, a := range rooms {
		if h.bytes.Load() <= h.svc.cfg.RingsBytes/10*9 {
			return
		}
		a.room.shrink()
	}
}

func (h *hub) syncSoon(id event.RoomID) { h.svc.partition(string(id)).want(id, false) }
