package ingress

import (
	"sync"
	"sync/atomic"
	"time"
)

// admission says which sends of a partition this edge takes. All are taken until
// their answers have been late for a while although they flow: then a queue stands
// before chat that waiting only makes longer, and from then on no more are taken than
// are answered within half of wait. What comes above that is refused at once, with the
// time at which its turn would come.
//
// Answers that pause are no queue: a partition that changes hands has no owner for up
// to ten seconds, and its sends wait for the next one as they always did.
//
// It keeps no timer, and while all is well a send costs it two atomic operations and
// its answer one lock that nobody else holds. Times are the service's clock in ns. It is
// safe for concurrent use.
type admission struct {
	wait     int64        // about the longest time that a send should wait, ns; 0: all are taken
	flight   atomic.Int64 // sends taken and not answered
	refusing atomic.Bool  // a queue stands

	mu        sync.Mutex // a leaf: nothing is locked under it
	rate      float64    // answers a ns
	counted   int64      // answers since the rate was measured last …
	due       int64      // … and for how long one was due
	silence   int64      // about the longest time lately in which one was due and none came
	heard     int64      // the last answer; 0: none yet
	lateSince int64      // since when no answer was in time; 0: the last one was
	pause     int64      // for how long there were no answers, the last time …
	excused   int64      // … and until when they may therefore be late by as much
	refused   int64      // the last refusal
	probed    int64      // the last send that was taken in spite of all, to see whether there are answers
	owed      int64      // refused sends whose turn has not come since
}

const (
	minFlight = 16 // sends that are no queue, however slow the answers are
	minRetry  = 100 * time.Millisecond
	maxRetry  = 5 * time.Second // what is told, so that all are back soon after the worst is over
)

// enter takes a send, or refuses it and says when to try again. Each one that was
// taken must leave.
func (a *admission) enter(now int64) (retry time.Duration, taken bool) {
	n := a.flight.Add(1)
	if !a.refusing.Load() {
		return 0, true
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if now-a.refused > a.wait {
		a.relax()
		return 0, true
	}
	limit := a.limit()
	if n <= limit {
		return 0, true
	}
	if now-a.heard >= a.wait && now-a.probed >= a.wait/4 {
		// What is on its way may be lost, and then nobody would ever answer: a broker that came
		// back empty has forgotten it.
		a.probed = now
		return 0, true
	}
	a.flight.Add(-1)
	a.refused = now
	a.owed = min(a.owed+1, int64(a.rate*float64(maxRetry)))
	retry = time.Duration(float64(n-limit+a.owed) / max(a.rate, 1/float64(maxRetry)))
	return min(max(retry, minRetry), maxRetry), false
}

// leave is told of each send that is not waited for any more, answered or not.
func (a *admission) leave() { a.flight.Add(-1) }

// answered is told of an answer to what was taken at that time.
func (a *admission) answered(at, now int64) {
	if a.wait == 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	due := min(now-a.heard, now-at) // the part of the silence in which this answer was due
	a.heard = now
	refusing := a.refusing.Load()
	if due >= a.wait && !refusing {
		a.pause, a.excused = due, now+due // to catch up
		due = 0
	}
	a.measure(min(due, a.wait))
	if refusing {
		a.owed = max(a.owed-1, 0)
		if now-at < a.wait/8 || now-a.refused > a.wait {
			a.relax()
		}
		return
	}
	inTime := a.wait / 2
	if now < a.excused {
		inTime += a.pause
	}
	switch {
	case now-at <= inTime:
		a.lateSince = 0
	case a.lateSince == 0:
		a.lateSince = now
	case now-a.lateSince >= a.wait/4:
		a.refusing.Store(true)
		a.refused = now
	}
}

// measure follows the rate of answers, over the time in which some were due.
func (a *admission) measure(due int64) {
	a.counted++
	a.silence = max(a.silence, due)
	if a.due += due; a.due < a.wait/4 {
		return
	}
	rate := float64(a.counted) / float64(a.due)
	if a.rate > 0 {
		rate = (a.rate + rate) / 2
	}
	a.rate, a.counted, a.due = rate, 0, 0
	a.silence -= a.silence / 8
}

// limit is how many sends are answered within half of wait; answers that come by fits
// and starts are given one fit more, or fewer and fewer would be.
func (a *admission) limit() int64 {
	return max(int64(a.rate*float64(a.wait/2+a.silence)), minFlight)
}

// relax takes everything again.
func (a *admission) relax() {
	a.refusing.Store(false)
	a.lateSince, a.owed = 0, 0
}
