package ingress

import (
	"context"
	"errors"
	"time"

	"github.com/parley-chat/parley/services/ingress/internal/identity"
	"github.com/parley-chat/parley/services/ingress/protocol"
	"github.com/parley-chat/parley/shared/event"
)

// verifyTimeout bounds what a hello may wait for the issuer's key set.
const verifyTimeout = 5 * time.Second

// expireLook is how often a token's end is looked at: the wheel keeps an ended
// session in memory no longer than that.
const expireLook = 30 * time.Second

// hello handles the first request of a connection. false: it was refused, and the
// connection is closing.
func (s *session) hello(q protocol.Request, bad *protocol.Error) bool {
	switch {
	case bad != nil && bad.Code == protocol.Unauthorized: // a token that is too long
		return s.refuse(protocol.CloseUnauth, bad)
	case bad != nil:
		return s.refuse(protocol.CloseProtocol, bad)
	case q.Type != protocol.TypeHello:
		return s.refuse(protocol.CloseProtocol, &protocol.Error{ID: q.ID, CID: q.CID, Code: protocol.BadRequest, Message: "hello must come first, not " + q.Type})
	}
	if q.Token == "" {
		q.Token = s.bearer
	}
	s.bearer = ""
	if q.Admin != "" {
		if refusal := s.svc.admit(q.Admin); refusal != nil {
			refusal.ID = q.ID
			return s.refuse(protocol.CloseUnauth, refusal)
		}
		s.welcome(&q, identity.Identity{User: string(event.Operator)})
		return true
	}
	who, err := s.verify(identity.Credentials{Token: q.Token, User: q.User})
	if err != nil {
		code := closeFor(err)
		refusal := identityError(err)
		refusal.ID = q.ID
		return s.refuse(code, refusal)
	}
	s.welcome(&q, who)
	return true
}

func (s *session) refuse(code protocol.CloseCode, e *protocol.Error) bool {
	if e.Code.Temporary() && e.RetryAfterMS == 0 {
		e.RetryAfterMS = defaultRetryMS
	}
	s.svc.metrics.requests.WithLabelValues(protocol.TypeHello, string(e.Code)).Inc()
	s.out.last(protocol.AppendError(nil, e))
	s.conn.Close(code, code.String())
	return false
}

func (s *session) verify(c identity.Credentials) (identity.Identity, error) {
	ctx, cancel := context.WithTimeout(context.Background(), verifyTimeout)
	defer cancel()
	return s.svc.verifier.Verify(ctx, c)
}

// closeFor is the close code for a refused token. An issuer that cannot be reached
// is no reason for the client to stop trying.
func closeFor(err error) protocol.CloseCode {
	switch {
	case errors.Is(err, identity.ErrExpired):
		return protocol.CloseExpired
	case errors.Is(err, identity.ErrUnauthorized):
		return protocol.CloseUnauth
	}
	return protocol.CloseTryLater
}

func identityError(err error) *protocol.Error {
	if errors.Is(err, identity.ErrExpired) || errors.Is(err, identity.ErrUnauthorized) {
		return protocol.Errorf(protocol.Unauthorized, "%v", err)
	}
	return protocol.Errorf(protocol.Unavailable, "the token cannot be checked now, try again")
}

// welcome opens the session, and joins the rooms that the hello names.
func (s *session) welcome(q *protocol.Request, who identity.Identity) {
	now := time.Now()
	t, ok := parseTicket(q.Resume)
	if !ok {
		t = newTicket(now)
	}
	t, life := t.next(now)
	user := event.UserID(who.User)
	s.who = event.Who{Session: t.session(user), Life: life, User: user}
	s.since, s.agent, s.expires = t.since, q.Agent, who.Expires
	s.rooms = make(map[event.RoomID]*membership)
	s.opened.Store(true)
	s.conn.Admit()
	s.svc.hub.open(s)
	s.svc.metrics.sessions.Inc()
	s.svc.metrics.requests.WithLabelValues(protocol.TypeHello, "ok").Inc()
	s.push(protocol.AppendWelcome(nil, &protocol.Welcome{
		ID: q.ID, Session: string(s.who.Session), Resume: t.String(), User: who.User,
		Node: string(s.svc.nodeID()), PingMS: s.svc.cfg.Ping.Milliseconds(), ExpiresMS: expiresMS(who.Expires, now),
		URLs: s.svc.cfg.PublicURLs, Limits: s.svc.limits,
	}))
	s.svc.partition(who.User).opened(s)
	if !who.Expires.IsZero() {
		s.svc.wheel.After(0, s.expire)
	}
	for room, at := range q.Rooms {
		s.rejoin(room, at)
	}
}

func expiresMS(at, now time.Time) int64 {
	if at.IsZero() {
		return 0
	}
	return max(at.Sub(now).Milliseconds(), 1)
}

// rejoin is a join for one of hello's rooms.
func (s *session) rejoin(room string, at protocol.Cursor) {
	if !protocol.ValidRoom(room) && room != protocol.StatusRoom {
		s.pushError(&protocol.Error{Room: room, Code: protocol.BadRequest, Message: "not a room name: " + protocol.RoomRule})
		return
	}
	s.join(&request{kind: protocol.TypeJoin, room: event.RoomID(room), hello: true},
		event.JoinRoom{Since: &event.Cursor{Epoch: event.Epoch(at.Epoch), Seq: at.Seq}})
}

// auth takes a fresh token of the same user.
func (s *session) auth(q *protocol.Request) {
	if s.svc.cfg.Auth == "dev" {
		s.ok(q, protocol.OK{})
		return
	}
	who, err := s.verify(identity.Credentials{Token: q.Token})
	if err == nil && who.User != string(s.who.User) {
		err = identity.ErrUnauthorized
	}
	if err != nil {
		e := identityError(err)
		e.ID = q.ID
		s.refused(q, e)
		return
	}
	s.mu.Lock()
	watched := !s.expires.IsZero()
	s.expires = who.Expires
	s.mu.Unlock()
	if !watched && !who.Expires.IsZero() {
		s.svc.wheel.After(0, s.expire)
	}
	s.ok(q, protocol.OK{ExpiresMS: expiresMS(who.Expires, time.Now())})
}

// expire is the wheel's turn for a session whose token ends.
func (s *session) expire(now time.Time) time.Duration {
	s.mu.Lock()
	at := s.expires
	s.mu.Unlock()
	if s.ended.Load() {
		return 0
	}
	if left := at.Sub(now); left > 0 {
		return min(left, expireLook)
	}
	s.expel(protocol.CloseExpired, protocol.Errorf(protocol.Unauthorized, "the token has expired"), true)
	return 0
}
