package protocol

import (
	"bytes"
	"encoding/json"
	"fmt"
	"iter"
)

// Frame is any reply or event as a client reads it: the fields of all types in
// one struct, zero where the type has none. A type of a later version keeps its
// Room and Seq, by which the cursor advances, and everything else in Raw.
type Frame struct {
	Type string
	Raw  json.RawMessage // the whole object
	ID   uint64
	Room string
	Seq  uint64

	MID  string // message
	From string // message, typing, signal
	CID  string // message, error
	TS   int64  // message, ok
	Body json.RawMessage
	Dup  bool // ok

	Epoch string // joined, reset, page
	After uint64 // joined
	Floor uint64 // joined, page
	Gap   *Range // joined, gap
	Reset bool   // joined

	Entries []Frame // page
	More    bool    // page
	Head    uint64  // page

	Code         Code   // error
	Message      string // error
	RetryAfterMS int64  // error

	Session   string // welcome
	Resume    string // welcome
	User      string // welcome, presence
	Node      string // welcome
	PingMS    int64  // welcome
	ExpiresMS int64  // welcome, ok
	URLs      []string
	Limits    Limits

	Users    []UserPresence // presence
	Sessions []SessionInfo  // presence
	On, Off  []string       // presence
	Count    int            // presence
	N        uint64         // presence

	ByMS int64  // migrate
	URL  string // migrate
}

// Err returns the frame as an error if it is one, else nil.
func (f *Frame) Err() *Error {
	if f.Type != TypeError {
		return nil
	}
	return &Error{ID: f.ID, Room: f.Room, CID: f.CID, Code: f.Code, Message: f.Message, RetryAfterMS: f.RetryAfterMS}
}

// Known reports whether version 1 has the frame's type.
func (f *Frame) Known() bool {
	switch f.Type {
	case TypeWelcome, TypeJoined, TypeOK, TypePage, TypeMessage, TypeReset, TypeGap, TypeTyping,
		TypeSignal, TypePresence, TypePing, TypeMigrate, TypeStatus, TypeError:
		return true
	}
	return false
}

// Entry reports whether the frame stands for an entry of a room's log: a
// message, or a type this version does not know that has room and seq.
func (f *Frame) Entry() bool {
	return f.Room != "" && f.Seq != 0 && (f.Type == TypeMessage || !f.Known())
}

// ParseFrames yields the objects of one WebSocket message, in order. It ends
// after the first error.
func ParseFrames(message []byte) iter.Seq2[Frame, error] {
	return func(yield func(Frame, error) bool) {
		for line := range bytes.SplitSeq(message, []byte{'\n'}) {
			if blank(line) {
				continue
			}
			f, err := ParseFrame(line)
			if !yield(f, err) || err != nil {
				return
			}
		}
	}
}

// clientDepth bounds what a client reads: a body of a page's entry, with room
// to spare for later versions.
const clientDepth = 64

// ParseFrame decodes one object from a server. Unknown fields are ignored, and
// in unknown types also fields that are not what their name promises here. Raw
// and Body alias object.
func ParseFrame(object []byte) (Frame, error) {
	f := Frame{Raw: object}
	var bad string
	var from []byte // a string in message, a number in gap
	var to uint64
	deep, err := scanObject(object, clientDepth, func(name, value []byte) {
		if isNull(value) && string(name) != "body" {
			return
		}
		ok := true
		switch string(name) {
		case "from":
			from = value
		case "to":
			to, ok = readUint(value)
		default:
			ok = f.set(string(name), value)
		}
		if !ok && bad == "" {
			bad = string(name)
		}
	})
	switch {
	case err != nil:
		return f, fmt.Errorf("frame from the server: %w", err)
	case deep:
		return f, fmt.Errorf("frame from the server is nested deeper than %d", clientDepth)
	}
	if f.Type == TypeGap {
		n, ok := readUint(from)
		if !ok {
			bad = "from"
		}
		f.Gap = &Range{From: n, To: to}
	} else {
		f.From, _ = readString(from)
	}
	if f.Type == "" {
		return f, fmt.Errorf("frame from the server: type is missing")
	}
	if bad != "" && f.Known() {
		return f, fmt.Errorf("frame from the server: %s has a mistyped %s", f.Type, bad)
	}
	return f, nil
}

// set reads one field and reports whether the value was of its type.
func (f *Frame) set(name string, v []byte) (ok bool) {
	switch name {
	case "type":
		f.Type, ok = readString(v)
	case "id":
		f.ID, ok = readUint(v)
	case "room":
		f.Room, ok = readString(v)
	case "seq":
		f.Seq, ok = readUint(v)
	case "mid":
		f.MID, ok = readString(v)
	case "cid":
		f.CID, ok = readString(v)
	case "ts":
		f.TS, ok = readInt(v)
	case "body":
		f.Body, ok = v, true
	case "dup":
		f.Dup, ok = readBool(v)
	case "epoch":
		f.Epoch, ok = readString(v)
	case "after":
		f.After, ok = readUint(v)
	case "floor":
		f.Floor, ok = readUint(v)
	case "reset":
		f.Reset, ok = readBool(v)
	case "more":
		f.More, ok = readBool(v)
	case "head":
		f.Head, ok = readUint(v)
	case "message":
		f.Message, ok = readString(v)
	case "retry_after_ms":
		f.RetryAfterMS, ok = readInt(v)
	case "ping_ms":
		f.PingMS, ok = readInt(v)
	case "expires_ms":
		f.ExpiresMS, ok = readInt(v)
	case "by_ms":
		f.ByMS, ok = readInt(v)
	default:
		return f.setRare(name, v)
	}
	return ok
}

func (f *Frame) setRare(name string, v []byte) (ok bool) {
	switch name {
	case "code":
		var s string
		s, ok = readString(v)
		f.Code = Code(s)
		return ok
	case "entries":
		return f.setEntries(v)
	case "n":
		f.N, ok = readUint(v)
		return ok
	}
	switch name {
	case "gap":
		return decode(v, &f.Gap)
	case "session":
		f.Session, ok = readString(v)
	case "resume":
		f.Resume, ok = readString(v)
	case "user":
		f.User, ok = readString(v)
	case "node":
		f.Node, ok = readString(v)
	case "url":
		f.URL, ok = readString(v)
	case "urls":
		return decode(v, &f.URLs)
	case "limits":
		return decode(v, &f.Limits)
	case "users":
		return decode(v, &f.Users)
	case "sessions":
		return decode(v, &f.Sessions)
	case "on":
		return decode(v, &f.On)
	case "off":
		return decode(v, &f.Off)
	case "count":
		return decode(v, &f.Count)
	default:
		return true
	}
	return ok
}

// decode goes by a value of its own so that into, and with it a Frame, need
// not live on the heap.
func decode[T any](raw []byte, into *T) bool {
	var v T
	if json.Unmarshal(raw, &v) != nil {
		return false
	}
	*into = v
	return true
}

func (f *Frame) setEntries(v []byte) bool {
	var raw []json.RawMessage
	if json.Unmarshal(v, &raw) != nil {
		return false
	}
	f.Entries = make([]Frame, 0, len(raw))
	for _, r := range raw {
		e, err := ParseFrame(r)
		if err != nil {
			return false
		}
		f.Entries = append(f.Entries, e)
	}
	return true
}

func readInt(raw []byte) (int64, bool) {
	if len(raw) > 0 && raw[0] == '-' {
		n, ok := readUint(raw[1:])
		return -int64(n), ok
	}
	n, ok := readUint(raw)
	return int64(n), ok
}

func readBool(raw []byte) (value, ok bool) {
	value = string(raw) == "true"
	return value, value || string(raw) == "false"
}
