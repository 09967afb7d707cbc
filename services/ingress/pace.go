package ingress

import (
	"time"

	"github.com/parley-chat/parley/services/ingress/internal/ring"
)

// pace is when a room is written to. One that many here are in rests after that: what is
// posted meanwhile goes out together, by one write a member. Who was quiet for longer
// never waits.
type pace struct {
	rests time.Time // until then
	due   bool      // something waits for that
}

const (
	restPerMember = 40 * time.Microsecond // about four times what writing to one takes
	restAtLeast   = time.Millisecond      // shorter ones are not worth a timer
	restAtMost    = 20 * time.Millisecond
)

// restOf is how long a room with n subscribers rests.
func restOf(n int) time.Duration {
	rest := min(time.Duration(n)*restPerMember, restAtMost)
	if rest < restAtLeast {
		return 0
	}
	return rest
}

// write tells whether to write to n subscribers now. Otherwise they are to be asked for again
// after wait; 0: somebody does so already.
func (p *pace) write(now time.Time, n int) (yes bool, wait time.Duration) {
	if p.due {
		return false, 0
	}
	if wait = p.rests.Sub(now); wait > 0 {
		p.due = true
		return false, wait
	}
	p.rests = now.Add(restOf(n))
	return true, 0
}

// fresh is what was posted since all subscribers were last woken.
type fresh struct{ entries, bytes int }

// add tells whether that is half of what a ring holds: if more came before it is written,
// cursors at the head would fall off the ring, and each would need pages of what is here.
func (f *fresh) add(entries, bytes int, b ring.Bounds) (full bool) {
	f.entries += entries
	f.bytes += bytes
	return f.entries >= b.Entries/2 || f.bytes >= b.Bytes/2
}

// fanOut has all subscribers written to, now or when the room has rested. r.mu is held.
func (r *room) fanOut(now time.Time, w *wakes) {
	switch yes, wait := r.pace.write(now, len(r.subs)); {
	case yes:
		r.touchAll(w)
	case wait > 0:
		time.AfterFunc(wait, r.rested)
	}
}

// rested is the end of a rest in which something was posted.
func (r *room) rested() {
	var w wakes
	r.mu.Lock()
	r.pace = pace{}
	r.fanOut(time.Now(), &w)
	w.wake() // before anybody posts more, who would find all told and nobody woken
	r.mu.Unlock()
}
