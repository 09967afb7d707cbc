package protocol

import (
	"encoding/json"
	"fmt"
	"unicode/utf8"
)

// parser holds the raw top-level fields and the first thing found wrong.
type parser struct {
	raw    [fieldCount][]byte
	limits *Limits
	err    *Error
}

func (p *parser) override(code Code, format string, args ...any) {
	p.err = nil
	p.fail(code, format, args...)
}

func (p *parser) fail(code Code, format string, args ...any) {
	if p.err == nil {
		p.err = Errorf(code, format, args...)
	}
}

func (p *parser) id(r *Request) {
	raw := p.raw[fID]
	if raw == nil {
		return
	}
	if n, ok := readUint(raw); ok && n > 0 {
		r.ID = n
		return
	}
	p.fail(BadRequest, "id must be a positive integer below 2^63")
}

func (p *parser) request(r *Request) {
	r.Type = p.kind()
	switch r.Type {
	case TypeHello:
		p.hello(r)
	case TypeAuth:
		r.Token = p.token(fToken, "token")
		p.require(fToken, "token")
	case TypeJoin:
		p.join(r)
	case TypeLeave, TypeTyping:
		r.Room = p.room()
	case TypeSend:
		p.send(r)
	case TypeSignal:
		r.Room = p.room()
		r.Body = p.body(p.limits.SignalBytes)
	case TypeHistory:
		p.history(r)
	case TypePresence:
		p.presence(r)
	case TypePong:
	}
}

// kind returns one of the constants, not a copy of the client's bytes.
func (p *parser) kind() string {
	if !p.require(fType, "type") {
		return ""
	}
	name, ok := readString(p.raw[fType])
	if !ok {
		p.fail(BadRequest, "type must be a string")
		return ""
	}
	switch name {
	case TypeHello, TypeAuth, TypeJoin, TypeLeave, TypeSend, TypeHistory, TypePresence, TypeTyping, TypeSignal, TypePong:
		return name
	}
	p.fail(BadRequest, "type %s is unknown: want hello, auth, join, leave, send, history, presence, typing, signal or pong", clip(name))
	return ""
}

func (p *parser) hello(r *Request) {
	r.Token = p.token(fToken, "token")
	r.Admin = p.token(fAdmin, "admin")
	if r.User = p.text(fUser, "user", 0); r.User != "" && !ValidUser(r.User) {
		p.fail(BadRequest, "user %s is not a user name: %s", clip(r.User), UserRule)
	}
	r.Resume = p.text(fResume, "resume", 2*nameLen)
	r.Agent = p.text(fAgent, "agent", p.limits.AgentChars)
	if !p.has(fRooms) {
		return
	}
	r.Rooms = make(map[string]Cursor)
	_, err := scanObject(p.raw[fRooms], MaxDepth, func(name, value []byte) {
		c, ok := readCursor(value)
		if !ok {
			p.fail(BadRequest, "rooms: %s must be {\"epoch\":string,\"seq\":integer}", clip(string(name)))
		}
		r.Rooms[string(name)] = c
	})
	if err != nil {
		p.fail(BadRequest, "rooms must be an object of room: {\"epoch\":string,\"seq\":integer}")
	}
}

func (p *parser) join(r *Request) {
	r.Room = p.room()
	r.Since = p.cursor(fSince, "since")
	r.Last = p.count(fLast, "last", 0, p.limits.PageEntries)
	if r.Since != nil && p.has(fLast) {
		p.fail(BadRequest, "since and last: only one of them may be given")
	}
}

func (p *parser) send(r *Request) {
	r.Room = p.room()
	r.Body = p.body(p.limits.BodyBytes)
	r.Since = p.cursor(fSince, "since")
	if !p.has(fCID) {
		return
	}
	cid, ok := readString(p.raw[fCID])
	switch {
	case !ok:
		p.fail(BadRequest, "cid must be a string")
	case utf8.RuneCountInString(cid) > p.limits.CIDChars:
		p.fail(TooLarge, "cid is longer than %d characters", p.limits.CIDChars)
	}
	r.CID = cid
}

func (p *parser) history(r *Request) {
	r.Room = p.room()
	r.Before = p.seq(fBefore, "before")
	r.After = p.seq(fAfter, "after")
	if r.Before != nil && r.After != nil {
		p.fail(BadRequest, "before and after: only one of them may be given")
	}
	r.Limit = DefaultHistory
	if p.has(fLimit) {
		r.Limit = p.count(fLimit, "limit", 1, p.limits.PageEntries)
	}
}

func (p *parser) presence(r *Request) {
	if p.has(fRoom) == p.has(fUser) {
		p.fail(BadRequest, "presence wants room or user, exactly one of them")
		return
	}
	if p.has(fRoom) {
		r.Room = p.room()
		return
	}
	if r.User = p.text(fUser, "user", 0); !ValidUser(r.User) {
		p.fail(BadRequest, "user %s is not a user name: %s", clip(r.User), UserRule)
	}
}

// The methods below read one field each and note what is wrong with it.

func (p *parser) has(f field) bool { return p.raw[f] != nil && !isNull(p.raw[f]) }

func (p *parser) require(f field, name string) bool {
	if !p.has(f) {
		p.fail(BadRequest, "%s is missing", name)
		return false
	}
	return true
}

// text reads an optional string of at most limit characters (0: any).
func (p *parser) text(f field, name string, limit int) string {
	if !p.has(f) {
		return ""
	}
	s, ok := readString(p.raw[f])
	if !ok {
		p.fail(BadRequest, "%s must be a string", name)
	}
	if limit > 0 && utf8.RuneCountInString(s) > limit {
		p.fail(BadRequest, "%s is longer than %d characters", name, limit)
		return ""
	}
	return s
}

func (p *parser) token(f field, name string) string {
	// A token that is too long is a bad token: the answer that ends a hello.
	if n := len(p.raw[f]); n > p.limits.TokenBytes+2 {
		p.fail(Unauthorized, "%s is longer than %d bytes", name, p.limits.TokenBytes)
		return ""
	}
	return p.text(f, name, 0)
}

func (p *parser) room() string {
	if !p.require(fRoom, "room") {
		return ""
	}
	s, ok := readString(p.raw[fRoom])
	if !ok {
		p.fail(BadRequest, "room must be a string")
		return ""
	}
	if !ValidRoom(s) && s != StatusRoom {
		p.fail(BadRequest, "room %s is not a room name: %s", clip(s), RoomRule)
		return ""
	}
	return s
}

func (p *parser) body(limit int) json.RawMessage {
	raw := p.raw[fBody] // null is a body like any other
	switch {
	case raw == nil:
		p.fail(BadRequest, "body is missing")
	case len(raw) > limit:
		p.fail(TooLarge, "body is %d bytes, at most %d are allowed", len(raw), limit)
	}
	return raw
}

func (p *parser) cursor(f field, name string) *Cursor {
	if !p.has(f) {
		return nil
	}
	c, ok := readCursor(p.raw[f])
	if !ok {
		p.fail(BadRequest, "%s must be {\"epoch\":string,\"seq\":integer}", name)
		return nil
	}
	return &c
}

func (p *parser) seq(f field, name string) *uint64 {
	if !p.has(f) {
		return nil
	}
	n, ok := readUint(p.raw[f])
	if !ok {
		p.fail(BadRequest, "%s must be an integer from 0 on", name)
		return nil
	}
	return &n
}

func (p *parser) count(f field, name string, least, most int) int {
	if !p.has(f) {
		return 0
	}
	n, ok := readUint(p.raw[f])
	if !ok || n < uint64(least) || n > uint64(most) {
		p.fail(BadRequest, "%s must be an integer from %d to %d", name, least, most)
		return 0
	}
	return int(n)
}

// clip quotes a piece of the client's input for a message, at most 40 bytes.
func clip(s string) string {
	if len(s) > 40 {
		s = s[:40] + "…"
	}
	return fmt.Sprintf("%q", s)
}
