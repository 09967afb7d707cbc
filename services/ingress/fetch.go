package ingress

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/parley-chat/parley/services/ingress/internal/ring"
)

// fetch is the one request for a page that a room may have in flight.
type fetch struct {
	number uint64 // of the one in flight; 0: none
	last   uint64 // the last number given
	tries  int    // in a row without an answer
}

// forget gives up the one in flight, and how long there was no answer.
func (f *fetch) forget() { f.number, f.tries = 0, 0 }

// pageRequest is a page to be asked for; number 0: none.
type pageRequest struct {
	number uint64
	after  uint64
}

// nextFetch decides on the next page: a hole before the head comes first, then the
// cursor that is furthest behind. r.mu is held.
func (r *room) nextFetch() (ask pageRequest) {
	if r.fetch.number != 0 || r.gone {
		return ask
	}
	after := r.log.Head()
	if !r.log.Hole() {
		r.waiting = slices.DeleteFunc(r.waiting, func(s *subscription) bool { return s.index < 0 })
		if len(r.waiting) == 0 {
			return ask
		}
		for _, sub := range r.waiting {
			after = min(after, sub.cursor.Seq)
		}
	}
	r.fetch.last++
	r.fetch.number = r.fetch.last
	return pageRequest{number: r.fetch.number, after: after}
}

// retry decides on a new fetch when the one with the number is still unanswered.
func (r *room) retry(number uint64) (ask pageRequest) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fetch.number != number {
		return ask
	}
	r.fetch.number = 0
	r.fetch.tries++
	return r.nextFetch()
}

// patience is how long the fetch in flight is waited for: longer after each try
// without an answer, and not the same for all rooms.
func (r *room) patience() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	d := min(time.Second<<min(r.fetch.tries, 4), 10*time.Second)
	return d + rand.N(d/4)
}

// again is the wheel's turn for a fetch: if it is unanswered, it is sent anew.
func (r *room) again(number uint64) func(time.Time) time.Duration {
	return func(time.Time) time.Duration {
		r.hub.ask(r, r.retry(number))
		return 0
	}
}

// page takes an answer to a fetch.
func (r *room) page(number uint64, p ring.Page, w *wakes) {
	r.mu.Lock()
	if r.gone {
		r.mu.Unlock()
		return
	}
	if p.Epoch != r.log.Epoch() || len(p.Entries) == 0 && p.Floor <= p.After+1 {
		// Chat knows another log than we do; a sync settles it. Until then the fetch
		// counts as unanswered, and is tried again with patience.
		r.mu.Unlock()
		r.hub.syncSoon(r.id)
		return
	}
	if number == r.fetch.number {
		r.fetch.forget()
	}
	if r.log.AddPage(p) {
		r.touchAll(w)
	}
	for _, sub := range r.waiting {
		sub.waits = false
		if sub.index >= 0 && sub.session.out.touch(sub) {
			w.add(sub.session)
		}
	}
	r.waiting = nil
	r.account()
	ask := r.nextFetch()
	r.mu.Unlock()
	r.hub.ask(r, ask)
}
