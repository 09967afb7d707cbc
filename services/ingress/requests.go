package ingress

import (
	"time"

	"github.com/parley-chat/parley/services/ingress/protocol"
	"github.com/parley-chat/parley/shared/event"
	"github.com/parley-chat/parley/shared/tracing"
)

// defaultRetryMS is what a client is told to wait where nothing better is known.
const defaultRetryMS = 1000

// request is one that waits for its answer.
type request struct {
	id    uint64 // the client's; 0: it wants no reply
	kind  string // protocol.TypeJoin …
	room  event.RoomID
	user  event.UserID // presence of a person
	cid   event.ClientID
	hello bool       // a join for one of hello's rooms: answered without an id
	gate  *admission // a send's, which counts it; else nil
	read  *reading   // a history's
	at    time.Time
	span  tracing.Span // until the answer
}

// leave is called once for each request that came in, when nobody waits for it any more.
func (q *request) leave() {
	if q.gate != nil {
		q.gate.leave()
	}
}

// requests are a session's unanswered ones, by the number that the edge gave.
// The session's mutex guards them.
type requests struct {
	last     uint64
	open     map[uint64]*request
	sweeping bool
}

func (r *requests) add(q *request) uint64 {
	r.last++
	if r.open == nil {
		r.open = make(map[uint64]*request, 1)
	}
	r.open[r.last] = q
	return r.last
}

func (r *requests) take(number uint64) *request {
	q := r.open[number]
	if q != nil {
		q.leave()
		delete(r.open, number)
		if len(r.open) == 0 {
			r.open = nil // idle sessions keep nothing
		}
	}
	return q
}

func (r *requests) clear() {
	for _, q := range r.open {
		q.leave()
		q.span.End(errEnded)
	}
	r.open = nil
}

// begin notes a request and has somebody look after it. s.mu is held.
func (s *session) begin(q *request) uint64 {
	q.at = time.Now()
	number := s.requests.add(q)
	if !s.requests.sweeping {
		s.requests.sweeping = true
		s.svc.wheel.After(s.svc.cfg.RequestTimeout, s.sweep)
	}
	return number
}

// sweep is the wheel's turn for a session with unanswered requests.
func (s *session) sweep(time.Time) time.Duration {
	timeout := s.svc.cfg.RequestTimeout
	var late []*request
	s.mu.Lock()
	next := timeout
	for number, q := range s.requests.open {
		if age := time.Since(q.at); age >= timeout {
			s.requests.take(number)
			late = append(late, q)
		} else {
			next = min(next, timeout-age)
		}
	}
	if len(s.requests.open) == 0 {
		s.requests.sweeping, next = false, 0
	}
	s.mu.Unlock()
	for _, q := range late {
		s.fail(q, protocol.Errorf(protocol.Unavailable, "no answer within %s; whether it was done is unknown", timeout))
	}
	return next
}

// answered takes a request out, if it still waits.
func (s *session) answered(number uint64) *request {
	if number == 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests.take(number)
}

// failed ends a request whose command did not reach the bus.
func (s *session) failed(number uint64, err error) {
	if q := s.answered(number); q != nil {
		s.fail(q, unavailable(err))
	}
}

// fail answers a request with an error. A join that failed has its room taken
// back, also where the outcome is unknown.
func (s *session) fail(q *request, e *protocol.Error) {
	if q.kind == protocol.TypeJoin {
		s.joinFailed(q, e.Code)
	}
	s.svc.metrics.requests.WithLabelValues(q.kind, string(e.Code)).Inc()
	if q.span.On() {
		q.span.End(e)
	}
	e.ID = q.id
	switch {
	case q.hello:
		e.Room = string(q.room)
	case q.kind == protocol.TypeSend:
		e.CID = string(q.cid)
	case q.id == 0:
		return
	}
	s.pushError(e)
}

// unavailable is the error for a command that the bus did not take.
func unavailable(err error) *protocol.Error {
	return &protocol.Error{Code: protocol.Unavailable, Message: "the service cannot take this now, try again: " + busReason(err), RetryAfterMS: defaultRetryMS}
}
