package chat

import (
	"encoding/json"
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/parley-chat/parley/services/chat/internal/room"
	"github.com/parley-chat/parley/shared/event"
)

// The error codes of the client protocol that chat uses.
const (
	codeBadRequest  = "bad_request"
	codeForbidden   = "forbidden"
	codeConflict    = "conflict"
	codeUnavailable = "unavailable"
	codeInternal    = "internal"
)

// decide handles one command.
func (p *partition) decide(o *outcome, c event.Command) {
	if refused := check(c); refused != nil {
		o.add(p.refusal(c, *refused))
		return
	}
	e := reply(c)
	switch {
	case c.Join != nil:
		joined := p.rooms.use(c.Room).Join(*c.Join)
		e.Joined = &joined
	case c.Post != nil:
		p.post(o, c)
		return
	case c.Read != nil:
		if !p.queuePage(c) {
			o.add(p.refusal(c, event.Refusal{Code: codeUnavailable, Message: "too many pages of history are being read", RetryAfterMS: pageRetryAfter}))
		}
		return
	case c.Trace != nil:
		p.queuePage(c) // when too many wait, nobody answers: the operator asks again
		return
	case c.Leave != nil:
		e.Left = &event.RoomLeft{Clean: c.Leave.Clean}
	case c.Members != nil:
		e.Members = &event.ListMembers{Sessions: c.Members.Sessions && c.User == event.Operator}
	case c.Find != nil:
		e.Find = c.Find
	case c.Type != nil:
		e.Typing, e.At = &event.TypingStarted{}, c.At
	case c.Signal != nil:
		e.Signal, e.At = &event.SignalSent{Body: c.Signal.Body}, c.At
	case c.OpenSession != nil:
		e.Opened = &event.SessionOpened{Row: c.OpenSession.Row}
	case c.CloseSession != nil:
		e.Closed = &event.SessionClosed{Clean: c.CloseSession.Clean}
	}
	o.add(e)
}

func (p *partition) post(o *outcome, c event.Command) {
	r := p.rooms.use(c.Room)
	id, err := uuid.NewV7()
	if err != nil { // no randomness: nothing else works either
		o.add(p.refusal(c, event.Refusal{Code: codeInternal, Message: "no message id could be made", CID: c.Post.CID}))
		return
	}
	posting, refused := r.Post(c.User, *c.Post, event.MessageID(id.String()), time.Now().UnixMilli())
	if refused != nil {
		p.s.metrics.sends.WithLabelValues(refusedAs(refused.Code)).Inc()
		o.add(p.refusal(c, *refused))
		return
	}
	e := reply(c)
	if !posting.Dup {
		p.s.metrics.sends.WithLabelValues("ok").Inc()
		e.At = posting.Entry.At
		e.Posted = &event.MessagePosted{Entry: posting.Entry, Epoch: r.Epoch}
		o.add(e)
		o.write(r, posting.Entry)
		return
	}
	if posting.Again {
		p.s.metrics.sends.WithLabelValues("again").Inc()
		o.addAgain(c.Room, posting.Entry.Seq)
	} else {
		p.s.metrics.sends.WithLabelValues("dup").Inc()
	}
	if c.Request != 0 {
		e.Accepted = &event.SendAccepted{Seq: posting.Entry.Seq, At: posting.Entry.At, Dup: true}
		o.add(e)
	}
}

// refusedAs is the result that metrics show of a send that was refused.
func refusedAs(code string) string {
	if code == codeConflict {
		return codeConflict
	}
	return "refused"
}

// check refuses what an edge should not have let through, and what the user may not do.
func check(c event.Command) *event.Refusal {
	if c.OpenSession != nil || c.CloseSession != nil {
		return nil
	}
	if err := malformed(c); err != nil {
		return &event.Refusal{Code: codeBadRequest, Message: err.Error()}
	}
	action, ok := actionOf(c)
	if !ok {
		return nil
	}
	if err := room.May(c.User, c.Room, action); err != nil {
		return &event.Refusal{Code: codeForbidden, Message: err.Error()}
	}
	return nil
}

func malformed(c event.Command) error {
	switch {
	case c.Find != nil && !room.ValidUser(c.Find.User):
		return errors.New("user: not the name of a user")
	case c.Find == nil && !room.ValidName(c.Room):
		return errors.New("room: a name is 1–128 of A–Z a–z 0–9 _ . : -")
	case c.User != "" && !room.ValidUser(c.User):
		return errors.New("the sender's name is not the name of a user")
	case c.Post != nil && !room.ValidCID(c.Post.CID):
		return errors.New("cid: 1–64 characters are allowed")
	case c.Post != nil && !json.Valid(c.Post.Body), c.Signal != nil && !json.Valid(c.Signal.Body):
		return errors.New("body: not JSON")
	}
	return nil
}

// actionOf is what permission the command needs; none for what ends something,
// for finding a user, and for an edge that fills its own rings.
func actionOf(c event.Command) (room.Action, bool) {
	switch {
	case c.Join != nil:
		return room.Join, true
	case c.Post != nil:
		return room.Send, true
	case c.Read != nil:
		return room.Read, c.Session != ""
	case c.Members != nil:
		return room.Members, true
	case c.Type != nil, c.Signal != nil:
		return room.Signal, true
	}
	return "", false
}

// reply is an event with the command's return address.
func reply(c event.Command) event.Event {
	return event.Event{Who: c.Who, Room: c.Room, Request: c.Request, At: time.Now().UnixMilli(), Traceparent: c.Traceparent}
}

// refusal answers a command that was not done; a send is answered even when no
// reply was asked for.
func (p *partition) refusal(c event.Command, r event.Refusal) event.Event {
	p.s.metrics.refused.WithLabelValues(r.Code).Inc()
	if c.Post != nil {
		r.CID = c.Post.CID
	}
	e := reply(c)
	e.Refused = &r
	return e
}
