package protocol

import (
	"bytes"
	"encoding/json"
	"iter"
	"unicode/utf8"
)

// Request is one object a client sends. Fields that its Type does not have are
// zero. Parsed, it has been checked, and Body aliases the frame it came in,
// byte for byte as sent; to be sent, it is what AppendRequest encodes.
type Request struct {
	Type string `json:"type"`
	ID   uint64 `json:"id,omitempty"` // 0: the client wants no reply

	Token  string            `json:"token,omitempty"`  // hello, auth
	Admin  string            `json:"admin,omitempty"`  // hello of an operator: the edge's admin token, instead of token or user
	User   string            `json:"user,omitempty"`   // hello in dev auth; presence of a person
	Resume string            `json:"resume,omitempty"` // hello
	Agent  string            `json:"agent,omitempty"`  // hello
	Rooms  map[string]Cursor `json:"rooms,omitempty"`  // hello; names are not checked, see ParseRequest

	Room   string          `json:"room,omitempty"`
	Since  *Cursor         `json:"since,omitempty"`  // join, send
	Last   int             `json:"last,omitempty"`   // join
	Body   json.RawMessage `json:"body,omitempty"`   // send, signal
	CID    string          `json:"cid,omitempty"`    // send
	Before *uint64         `json:"before,omitempty"` // history
	After  *uint64         `json:"after,omitempty"`  // history
	Limit  int             `json:"limit,omitempty"`  // history; parsed: DefaultHistory when the client named none
}

type field int

const (
	fType field = iota
	fID
	fToken
	fAdmin
	fUser
	fResume
	fAgent
	fRooms
	fRoom
	fSince
	fLast
	fBody
	fCID
	fBefore
	fAfter
	fLimit
	fieldCount
)

func fieldOf(name []byte) field {
	switch string(name) {
	case "type":
		return fType
	case "id":
		return fID
	case "token":
		return fToken
	case "admin":
		return fAdmin
	case "user":
		return fUser
	case "resume":
		return fResume
	case "agent":
		return fAgent
	case "rooms":
		return fRooms
	case "room":
		return fRoom
	case "since":
		return fSince
	case "last":
		return fLast
	case "body":
		return fBody
	case "cid":
		return fCID
	case "before":
		return fBefore
	case "after":
		return fAfter
	case "limit":
		return fLimit
	}
	return fieldCount
}

// ParseRequests yields the requests of one text frame, in order: objects
// separated by line feeds. For an object that is no valid request it yields an
// Error to send back, and goes on. A frame without any object is one error.
//
// The frame must be valid UTF-8 and within its size limit; both are the
// socket's to check, because they end the connection. A frame can hold
// thousands of tiny bad objects: count each against the rate, and stop ranging
// when the client is over it.
func ParseRequests(frame []byte, limits *Limits) iter.Seq2[Request, *Error] {
	return func(yield func(Request, *Error) bool) {
		some := false
		for len(frame) > 0 {
			line := frame
			if i := bytes.IndexByte(frame, '\n'); i >= 0 {
				line, frame = frame[:i], frame[i+1:]
			} else {
				frame = nil
			}
			if blank(line) {
				continue
			}
			some = true
			if !yield(ParseRequest(line, limits)) {
				return
			}
		}
		if !some {
			yield(Request{}, Errorf(BadRequest, "the frame is empty: send one JSON object, or several separated by line feeds"))
		}
	}
}

func blank(line []byte) bool {
	for _, c := range line {
		if c != ' ' && c != '\t' && c != '\r' {
			return false
		}
	}
	return true
}

// ParseRequest decodes and checks one object. Unknown fields, and fields that
// belong to other types, are ignored; of a repeated field the last counts; an
// optional field that is null is absent. The names in hello's rooms are not
// checked and not counted: each room gets an answer of its own, so one bad
// name does not spoil the hello.
//
// The error's message names the field and what is allowed; its ID and CID are
// the request's where they could be read.
func ParseRequest(object []byte, limits *Limits) (Request, *Error) {
	p := parser{limits: limits}
	deep, err := scanObject(object, MaxDepth, func(name, value []byte) {
		if f := fieldOf(name); f < fieldCount {
			p.raw[f] = value
		}
	})
	var r Request
	p.id(&r)
	switch {
	case err == errNotObject:
		p.override(BadRequest, "a request must be a JSON object on one line, such as {\"type\":\"pong\"}")
	case err != nil:
		p.override(BadRequest, "not JSON: %v", err)
	case deep:
		p.override(BadRequest, "nested deeper than %d", MaxDepth)
	case p.err == nil:
		p.request(&r)
	}
	if p.err == nil {
		return r, nil
	}
	p.err.ID = r.ID
	if cid, ok := readString(p.raw[fCID]); ok && utf8.RuneCountInString(cid) <= limits.CIDChars {
		p.err.CID = cid
	}
	return Request{}, p.err
}
