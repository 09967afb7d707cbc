package bus

import "time"

// forgetScopes is how long a scope is remembered that says nothing.
const forgetScopes = 10 * time.Minute

// book is what one reader knows of the writers that it hears. It is not safe for
// concurrent use, and does no I/O.
type book struct {
	scopes map[string]*standing
	swept  time.Time
}

// standing is how far a scope is.
type standing struct {
	generation uint64
	life       string
	past       string // the life before, under the same generation: late repeats of its publishes are dropped
	last       uint64
	attempt    int // the subscription attempt in which last was heard
	heard      time.Time
}

// verdict is what is to be done with a message.
type verdict int

const (
	handle  verdict = iota // it is the next one
	stale                  // a higher generation, or a later life, has overtaken it
	handled                // it was handled before
	nothing                // a repeat that says nothing new
	hole                   // something before it is missing
)

func newBook() *book { return &book{scopes: map[string]*standing{}} }

// judge does not change the book: what was handled, or given up, is noted.
func (b *book) judge(h header) verdict { return b.scopes[h.scope].judge(h) }

// judge is the verdict of who stands here; nil has not heard the scope.
func (s *standing) judge(h header) verdict {
	repeat := h.count == 0
	switch {
	case s == nil && repeat:
		return nothing
	case s == nil:
		return handle
	case h.generation < s.generation:
		return stale
	case h.generation == s.generation && h.life == s.past:
		return stale
	case h.generation > s.generation || h.life != s.life:
		return s.continues(0, h.number, repeat)
	default:
		return s.continues(s.last, h.number, repeat)
	}
}

// after is where one stands when the message is handled too.
func (s *standing) after(h header) *standing {
	next := standing{}
	if s != nil {
		next = *s
		if h.generation != s.generation {
			next.past = ""
		} else if h.life != s.life {
			next.past = s.life
		}
	}
	next.generation, next.life, next.last = h.generation, h.life, h.number
	return &next
}

func (s *standing) continues(last, number uint64, repeat bool) verdict {
	switch {
	case repeat && number <= last:
		return nothing
	case number <= last:
		return handled
	case number == last+1 && !repeat:
		return handle
	default:
		return hole
	}
}

// note records that everything up to the message is handled or given up.
func (b *book) note(h header, attempt int, now time.Time) {
	s := b.scopes[h.scope].after(h)
	b.scopes[h.scope] = s
	s.attempt, s.heard = attempt, now
	b.sweep(now)
}

// hears keeps a scope from being forgotten.
func (b *book) hears(scope string, now time.Time) {
	if s := b.scopes[scope]; s != nil {
		s.heard = now
	}
}

// lastAttempt is the attempt in which the scope was last heard, -1 if never.
func (b *book) lastAttempt(scope string) int {
	if s := b.scopes[scope]; s != nil {
		return s.attempt
	}
	return -1
}

func (b *book) sweep(now time.Time) {
	if now.Sub(b.swept) < forgetScopes/10 {
		return
	}
	b.swept = now
	for scope, s := range b.scopes {
		if now.Sub(s.heard) > forgetScopes {
			delete(b.scopes, scope)
		}
	}
}
