package ingress

import (
	"crypto/rand"
	"errors"
	"time"

	"github.com/parley-chat/parley/services/ingress/protocol"
	"github.com/parley-chat/parley/shared/bus"
	"github.com/parley-chat/parley/shared/event"
	"go.opentelemetry.io/otel/attribute"
)

// Receive is socket.Handler: one message of the client, with one request or
// several. What the edge cannot answer itself goes to chat as a command.
func (s *session) Receive(data []byte) {
	for q, bad := range protocol.ParseRequests(data, &s.svc.limits) {
		if !s.opened.Load() {
			if !s.hello(q, bad) {
				return
			}
			continue
		}
		if s.ended.Load() {
			return
		}
		if s.limited(&q, bad) {
			if s.limits.refused > tooMany {
				s.end(false)
				s.conn.Close(protocol.ClosePolicy, "too many requests")
				return
			}
			continue
		}
		if bad != nil {
			s.svc.metrics.requests.WithLabelValues("invalid", string(bad.Code)).Inc()
			s.pushError(bad)
			continue
		}
		s.request(&q)
	}
}

// limited counts the request, and refuses it when the session is over its rate.
// Typing is limited otherwise, and a pong is no request; both have a bucket of
// their own.
func (s *session) limited(q *protocol.Request, bad *protocol.Error) bool {
	rate, burst := s.svc.cfg.Rate, s.svc.cfg.Burst
	if rate <= 0 {
		return false
	}
	bucket := &s.limits.requests
	if q.Type == protocol.TypeTyping || q.Type == protocol.TypePong {
		bucket = &s.limits.others
	}
	if bucket.Take(s.svc.clock(), rate, burst) {
		s.limits.refused = 0
		return false
	}
	s.limits.refused++
	e := &protocol.Error{ID: q.ID, CID: q.CID, Code: protocol.RateLimited, RetryAfterMS: max(int64(1000/rate), 1)}
	e.Message = "too many requests: " + rateText(rate, burst)
	if bad != nil {
		e.ID, e.CID = bad.ID, bad.CID
	}
	s.refused(q, e)
	return true
}

// refused answers with an error, if the request wants one: with an id, or a send.
func (s *session) refused(q *protocol.Request, e *protocol.Error) {
	kind := q.Type
	if kind == "" {
		kind = "invalid"
	}
	s.svc.metrics.requests.WithLabelValues(kind, string(e.Code)).Inc()
	if e.ID != 0 || e.CID != "" || q.Type == protocol.TypeSend {
		s.pushError(e)
	}
}

// refuseWith is refused with the request's own id and cid.
func (s *session) refuseWith(q *protocol.Request, code protocol.Code, format string, args ...any) {
	e := protocol.Errorf(code, format, args...)
	e.ID, e.CID = q.ID, q.CID
	if e.Code.Temporary() {
		e.RetryAfterMS = defaultRetryMS
	}
	s.refused(q, e)
}

// ok answers a request that the edge has done itself.
func (s *session) ok(q *protocol.Request, o protocol.OK) {
	s.svc.metrics.requests.WithLabelValues(q.Type, "ok").Inc()
	if o.ID = q.ID; o.ID != 0 {
		s.push(protocol.AppendOK(nil, &o))
	}
}

// request is the list of what a client may ask, after hello.
func (s *session) request(q *protocol.Request) {
	room := event.RoomID(q.Room)
	switch q.Type {
	case protocol.TypeHello:
		s.refuseWith(q, protocol.BadRequest, "hello comes once, as the first request")
	case protocol.TypePong:
	case protocol.TypeAuth:
		s.auth(q)
	case protocol.TypeJoin:
		s.join(&request{id: q.ID, kind: q.Type, room: room}, event.JoinRoom{Since: cursorOf(q.Since), Last: q.Last})
	case protocol.TypeLeave:
		s.leave(q, room)
	case protocol.TypeSend:
		s.send(q, room)
	case protocol.TypeTyping:
		s.typing(q, room)
	case protocol.TypeSignal:
		s.signal(q, room)
	case protocol.TypeHistory:
		s.history(q, room)
	case protocol.TypePresence:
		s.presence(q, room)
	}
}

// ask sends a command whose answer the client waits for.
func (s *session) ask(r *request, c event.Command) {
	if r.span = s.svc.tracer.Begin("ingress request"); r.span.On() {
		r.span.Set(attribute.String("parley.type", r.kind))
		c.Traceparent = r.span.Traceparent()
	}
	if !s.note(r, &c) {
		r.leave()
		return
	}
	number := c.Request
	err := s.svc.enqueue(c, func(err error) {
		if err != nil {
			s.failed(number, err)
		}
	})
	if err != nil {
		s.failed(number, err)
	}
}

// note keeps the request and gives the command its number; false: there are too
// many unanswered ones.
func (s *session) note(r *request, c *event.Command) bool {
	s.mu.Lock()
	full := len(s.requests.open) >= s.svc.cfg.Requests
	if !full && !s.ended.Load() {
		c.Request = s.begin(r)
	}
	s.mu.Unlock()
	if full {
		s.fail(r, protocol.Errorf(protocol.RateLimited, "%d requests are unanswered (PARLEY_REQUESTS)", s.svc.cfg.Requests))
	}
	return c.Request != 0
}

// send posts a message, unless too many wait before it. Without a cid it gets one of
// ours, so that a command that is read twice is not two messages.
func (s *session) send(q *protocol.Request, room event.RoomID) {
	if !s.joined(room) {
		s.refuseWith(q, protocol.Forbidden, "join the room first")
		return
	}
	gate := &s.svc.partition(q.Room).sends
	if retry, taken := gate.enter(s.svc.clock()); !taken {
		e := protocol.Errorf(protocol.Unavailable, "sends wait longer than PARLEY_SEND_WAIT, %s; this one was not done", s.svc.cfg.SendWait)
		e.ID, e.CID, e.RetryAfterMS = q.ID, q.CID, retry.Milliseconds()
		s.refused(q, e)
		return
	}
	if q.CID == "" {
		q.CID = "~" + rand.Text()
	}
	c := s.command(room)
	c.Post = &event.PostMessage{CID: event.ClientID(q.CID), Body: q.Body, Since: cursorOf(q.Since)}
	s.ask(&request{id: q.ID, kind: q.Type, room: room, cid: event.ClientID(q.CID), gate: gate}, c)
}

// typing goes on at most once in a while, and is answered in any case.
func (s *session) typing(q *protocol.Request, room event.RoomID) {
	s.mu.Lock()
	m := s.rooms[room]
	in := m != nil && m.sub != nil
	due := in && time.Since(m.typed) >= s.svc.cfg.TypingEvery
	if due {
		m.typed = time.Now()
	}
	s.mu.Unlock()
	if !in {
		s.refuseWith(q, protocol.Forbidden, "join the room first")
		return
	}
	if due {
		c := s.command(room)
		c.Type = &event.StartTyping{}
		s.volatile(c)
	}
	s.ok(q, protocol.OK{Room: q.Room})
}

func (s *session) signal(q *protocol.Request, room event.RoomID) {
	if !s.joined(room) {
		s.refuseWith(q, protocol.Forbidden, "join the room first")
		return
	}
	c := s.command(room)
	c.Signal = &event.SendSignal{Body: q.Body}
	s.volatile(c)
	s.ok(q, protocol.OK{Room: q.Room})
}

// volatile sends what may be lost: nobody looks what becomes of it.
func (s *session) volatile(c event.Command) {
	if s.svc.enqueue(c, nil) != nil {
		s.svc.metrics.dropped.WithLabelValues(c.Kind()).Inc()
	}
}

func (s *session) presence(q *protocol.Request, room event.RoomID) {
	c := s.command(room)
	r := &request{id: q.ID, kind: q.Type, room: room}
	if q.Room != "" {
		c.Members = &event.ListMembers{Sessions: s.operator()}
	} else {
		r.user = event.UserID(q.User)
		c.Find = &event.FindUser{User: r.user}
	}
	s.ask(r, c)
}

// readAhead asks for a page of a room's log for the edge itself. Whatever becomes
// of it, the room asks again when no page comes.
func (s *Service) readAhead(room event.RoomID, p pageRequest) {
	_ = s.enqueue(event.Command{
		Room: room, Request: p.number, At: time.Now().UnixMilli(),
		Read: &event.ReadHistory{After: &p.after, Limit: maxPage},
	}, nil)
}

// maxPage is how many entries a page of a room's log may have.
const maxPage = 200

// enqueue sends a command in this node's name.
func (s *Service) enqueue(c event.Command, done func(error)) error {
	n := s.node.Load()
	c.Node = n.id
	return bus.Enqueue(n.writer, s.commands, done, c)
}

func busReason(err error) string {
	switch {
	case errors.Is(err, bus.ErrOverloaded):
		return "overloaded"
	case errors.Is(err, bus.ErrUnavailable):
		return "the bus does not answer"
	}
	return "internal error"
}

func cursorOf(c *protocol.Cursor) *event.Cursor {
	if c == nil {
		return nil
	}
	return &event.Cursor{Epoch: event.Epoch(c.Epoch), Seq: c.Seq}
}
