package ingress

import (
	"sync"
	"time"

	"github.com/parley-chat/parley/services/ingress/internal/ring"
	"github.com/parley-chat/parley/services/ingress/internal/socket"
	"github.com/parley-chat/parley/shared/event"
)

// room is a room as far as this edge has subscribers in it.
type room struct {
	hub *hub
	id  event.RoomID

	mu      sync.Mutex
	log     *ring.Log
	subs    []*subscription
	waiting []*subscription // need a page
	fetch   fetch
	counted int // bytes of log that the hub counts
	pace    pace
	fresh   fresh
	past    string // the epoch before the log's
	gone    bool   // removed from the hub: nobody may be added

	used int64 // when an entry came or was asked for last, Unix s; guarded by mu
}

// subscription is one session's cursor in a room.
type subscription struct {
	room    *room
	session *session
	cursor  ring.Cursor // guarded by room.mu
	index   int         // in room.subs; -1: ended. Guarded by room.mu
	waits   bool        // in room.waiting; guarded by room.mu
	dirty   bool        // in the session's outbox; guarded by its lock
}

// wakes gathers the connections that have something to be written, so that what one
// batch brings for a session goes out in one write.
type wakes []*socket.Conn

func (w *wakes) add(s *session) { *w = append(*w, s.conn) }

func (w *wakes) wake() {
	socket.Wake(*w)
	clear(*w)
	*w = (*w)[:0]
}

func (r *room) touchAll(w *wakes) {
	r.fresh = fresh{}
	for _, sub := range r.subs {
		if sub.session.out.touch(sub) {
			w.add(sub.session)
		}
	}
}

// posted takes an entry of the room. foreign: its epoch is another than the room's.
// full: what w has is to be written before more is posted.
func (r *room) posted(epoch event.Epoch, e ring.Entry, w *wakes) (foreign, full bool) {
	r.mu.Lock()
	if r.gone {
		r.mu.Unlock()
		return false, false
	}
	if string(epoch) != r.log.Epoch() {
		r.mu.Unlock()
		return true, false
	}
	now := time.Now()
	r.used = now.Unix()
	before := r.log.Head()
	if r.log.Add(e) {
		if full = r.fresh.add(int(r.log.Head()-before), len(e.Frame), r.hub.svc.bounds); full {
			r.touchAll(w)
		} else {
			r.fanOut(now, w)
		}
	}
	r.account()
	ask := r.nextFetch()
	r.mu.Unlock()
	r.hub.ask(r, ask)
	return false, full
}

// synced takes the room's head, or tells to ask again where the answer is older than what
// we have: a page ran ahead of it, or a new notifier says it once more. Whether the log has
// lost its tail is for chat to say, which sees our head in the next sync.
func (r *room) synced(h event.RoomHead, w *wakes) (again bool) {
	r.mu.Lock()
	switch epoch := string(h.Epoch); {
	case r.gone || epoch == "":
	case epoch == r.past, epoch == r.log.Epoch() && h.Head < r.log.Head():
		again = true
	case epoch != r.log.Epoch():
		r.reset(h, w)
	default:
		r.log.Heard(h.Head)
		if r.fetch.tries > 0 { // there was trouble, and now there are answers
			r.fetch.forget()
		}
	}
	ask := r.nextFetch()
	r.mu.Unlock()
	r.hub.ask(r, ask)
	return again
}

// reset goes on under another epoch; every cursor is told. r.mu is held.
func (r *room) reset(h event.RoomHead, w *wakes) {
	r.past = r.log.Epoch()
	r.log.Reset(string(h.Epoch), h.Head)
	r.fetch.forget()
	for _, sub := range r.subs {
		r.log.Void(&sub.cursor)
	}
	r.touchAll(w)
	r.account()
}

// next appends what follows the cursor of a subscription: n entries.
func (r *room) next(sub *subscription, buf []byte, limit int) (_ []byte, n int, more bool) {
	r.mu.Lock()
	if sub.index < 0 {
		r.mu.Unlock()
		return buf, 0, false
	}
	before := sub.cursor.Given
	buf, state := r.log.Next(&sub.cursor, buf, limit)
	n = int(sub.cursor.Given - before)
	if state == ring.Behind && !sub.waits {
		sub.waits = true
		r.waiting = append(r.waiting, sub)
		r.used = time.Now().Unix()
	}
	ask := r.nextFetch()
	r.mu.Unlock()
	if state != ring.Behind {
		r.hub.svc.metrics.hits.Inc()
	}
	r.hub.ask(r, ask)
	return buf, n, state == ring.More
}

// checkUp is the wheel's turn for a room, once a minute: it compares the list of
// its sessions with the notifier's, and its head with chat's.
func (r *room) checkUp(time.Time) time.Duration {
	r.mu.Lock()
	gone := r.gone
	if len(r.waiting) == 0 {
		r.log.Forget()
		if !gone {
			r.account()
		}
	}
	r.mu.Unlock()
	if gone {
		return 0
	}
	r.hub.svc.partition(string(r.id)).want(r.id, true)
	return r.hub.svc.spread(hashEvery)
}

// add subscribes a session. false: the room is gone, take a new one.
func (r *room) add(s *session, j *event.RoomJoined) (*subscription, bool) {
	r.mu.Lock()
	if r.gone {
		r.mu.Unlock()
		return nil, false
	}
	var w wakes
	if string(j.Epoch) != r.log.Epoch() {
		// What is said in order is newer than what we have: our log is of an old epoch.
		r.reset(event.RoomHead{Room: r.id, Epoch: j.Epoch, Head: j.Head}, &w)
	}
	r.log.Heard(j.Head)
	sub := &subscription{room: r, session: s, cursor: ring.Cursor{Seq: j.After}, index: len(r.subs)}
	r.subs = append(r.subs, sub)
	r.used = time.Now().Unix()
	ask := r.nextFetch()
	r.mu.Unlock()
	r.hub.ask(r, ask)
	w.wake()
	return sub, true
}

// remove ends a subscription; nothing of the room is written for it from now on.
// It reports whether it was the last one.
func (r *room) remove(sub *subscription) (empty bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if i := sub.index; i >= 0 {
		last := len(r.subs) - 1
		r.subs[i] = r.subs[last]
		r.subs[i].index = i
		r.subs[last] = nil
		r.subs = r.subs[:last]
		sub.index = -1
	}
	return len(r.subs) == 0
}

// place is how far the room's log is known.
func (r *room) place() event.Cursor {
	r.mu.Lock()
	defer r.mu.Unlock()
	return event.Cursor{Epoch: event.Epoch(r.log.Epoch()), Seq: r.log.Head()}
}

// at tells whether the log ends with this head for all that is known here.
func (r *room) at(epoch string, head uint64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.gone && r.log.Epoch() == epoch && r.log.Head() == head && !r.log.Hole()
}

// members calls f for each subscription; f must not block.
func (r *room) members(f func(*subscription)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, sub := range r.subs {
		f(sub)
	}
}

// account tells the hub what the log keeps in memory now. r.mu is held.
func (r *room) account() {
	n := r.log.Bytes()
	r.hub.count(n - r.counted)
	r.counted = n
}

// shrink gives the log's memory back.
func (r *room) shrink() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.log.Shrink()
	r.account()
}
