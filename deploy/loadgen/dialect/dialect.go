// Package dialect is how the load generator speaks to a server: how a connection
// says who it is and joins its room, what a send looks like, and what a line that
// comes back is. Nothing is decoded as JSON: a generator that shares the machine
// with the server must cost next to nothing per frame, so it looks for the few
// marks that it needs.
package dialect

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
)

// Kind is what a line of a server is.
type Kind uint8

// What lines a generator tells apart.
const (
	Other   Kind = iota // of no interest
	Message             // an entry of a room; Seq, and Due if it was sent by a generator
	Ack                 // of the send with ID
	Refusal             // of the request with ID (0: none), for Code
	Joined              // the room is joined at Seq, with Head its newest
	Page                // of history, answers the request with ID
)

// Event is one line of a server. Code and Epoch lie in the line.
type Event struct {
	Kind    Kind
	ID      uint64
	Seq     uint64
	Head    uint64
	Due     int64 // Unix ns
	Entries int   // of a page
	Epoch   []byte
	Code    []byte
}

// Cursor is how far a connection has read its room.
type Cursor struct {
	Epoch string
	Seq   uint64
}

// Send is a message to be sent. ID comes back in its Ack, Due in each Message.
type Send struct {
	ID   uint64
	Room string
	Due  int64 // Unix ns
	Body int   // bytes; the envelope needs about 40
}

// Dialect is one protocol. Implementations are safe for concurrent use.
type Dialect interface {
	// Path is where user connects to be in room, with its query.
	Path(user, room string) string
	// AppendHello appends what is sent first; at, if not nil, is from where on to
	// continue. Nothing appended: nothing is sent.
	AppendHello(dst []byte, user, room string, at *Cursor) []byte
	// AppendSend appends a message.
	AppendSend(dst []byte, s Send) []byte
	// AppendHistory appends a request for the newest entries of a room; nothing
	// appended: there is no history.
	AppendHistory(dst []byte, id uint64, room string, entries int) []byte
	// Parse says what a line is.
	Parse(line []byte) Event
	// Resumes tells whether a connection can continue from a cursor.
	Resumes() bool
}

// ByName returns the dialect of that name: "parley", or "baseline" (the
// hand-written server).
func ByName(name string) (Dialect, error) {
	all := map[string]Dialect{"parley": parley{}, "baseline": baseline{}}
	if d, ok := all[name]; ok {
		return d, nil
	}
	return nil, fmt.Errorf("no dialect %q: parley and baseline are known", name)
}

const (
	bodyStart = `{"t":`
	bodyPad   = `,"p":"`
	bodyEnd   = `"}`
)

// appendBody appends a JSON body of about n bytes that says when it was due.
func appendBody(dst []byte, due int64, n int) []byte {
	start := len(dst)
	dst = strconv.AppendInt(append(dst, bodyStart...), due, 10)
	dst = append(dst, bodyPad...)
	if pad := n - (len(dst) - start) - len(bodyEnd); pad > 0 {
		dst = slices.Grow(dst, pad+len(bodyEnd))
		for range pad {
			dst = append(dst, 'x')
		}
	}
	return append(dst, bodyEnd...)
}

var (
	markType  = []byte(`"type":"`)
	markID    = []byte(`"id":`)
	markSeq   = []byte(`"seq":`)
	markAfter = []byte(`"after":`)
	markEpoch = []byte(`"epoch":"`)
	markDue   = []byte(`"t":`)
	markMID   = []byte(`"mid":`)
	markCode  = []byte(`"code":"`)
)

// word is the string behind the mark, as it stands in the JSON.
func word(line, mark []byte) []byte {
	i := bytes.Index(line, mark)
	if i < 0 {
		return nil
	}
	rest := line[i+len(mark):]
	if j := bytes.IndexByte(rest, '"'); j >= 0 {
		return rest[:j]
	}
	return nil
}

// number is the number behind the mark; 0 if there is none.
func number(line, mark []byte) uint64 {
	i := bytes.Index(line, mark)
	if i < 0 {
		return 0
	}
	var n uint64
	for _, c := range line[i+len(mark):] {
		if c < '0' || c > '9' {
			break
		}
		n = n*10 + uint64(c-'0')
	}
	return n
}
