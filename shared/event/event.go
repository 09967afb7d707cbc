// Package event holds what is said on the bus, as plain structs: commands (an
// edge asks), events (chat says what became of it) and deliveries (the notifier
// says it to one edge). Each has exactly one non-nil part, its kind; a value
// whose parts are all nil is of a kind that this build does not know yet, and
// readers skip, count and log it. The JSON tags are the names on the wire (the
// codec is CBOR and honours them); golden files in testdata fail on a rename.
package event

import (
	"encoding/json"
	"hash/fnv"
)

// The names of things. They are types so that a room cannot be passed where a
// user is meant.
type (
	RoomID    string // 1–128 of [A-Za-z0-9_.:-]
	UserID    string // 1–128 characters, no control characters
	NodeID    string // one life of an edge: <PARLEY_NODE>-<boot>
	SessionID string // s_…: a hash of the session's resume secret
	ClientID  string // cid: chosen by the sender, unique per user and room
	MessageID string // mid: a UUIDv7
	Epoch     string // the random tag under which a partition's seqs are unique
)

// Life orders the hellos of one session: a higher life is a later one.
type Life uint64

// Cursor is a place in a room's log: everything up to and including Seq is past.
type Cursor struct {
	Epoch Epoch  `json:"epoch"`
	Seq   uint64 `json:"seq"`
}

// Entry is one entry of a room's log. Seqs of a room count 1, 2, 3 … without
// holes under one epoch.
type Entry struct {
	Seq  uint64          `json:"seq"`
	ID   MessageID       `json:"id"`
	From UserID          `json:"from"`
	CID  ClientID        `json:"cid,omitempty"`
	Kind string          `json:"kind"` // KindMessage; later edits, reactions, membership …
	Body json.RawMessage `json:"body"` // as sent, never touched
	At   int64           `json:"at"`   // Unix ms, chat's clock
}

// KindMessage is the kind of an entry that a `send` made.
const KindMessage = "message"

// Volatile parts (typing, signals) are worth nothing after this many
// milliseconds; every hop drops older ones.
const VolatileMS = 5000

// PartitionOf is the partition of a key: FNV-1a64 modulo n. It is part of the
// stored format and must never change.
func PartitionOf(key string, n int) int {
	h := fnv.New64a()
	_, _ = h.Write([]byte(key))
	return int(h.Sum64() % uint64(n))
}

// Who names a session and where it is connected: the return address of a
// command, and the row that routing tables keep.
type Who struct {
	Node    NodeID    `json:"node,omitempty"`
	Session SessionID `json:"session,omitempty"` // empty: the edge itself speaks
	Life    Life      `json:"life,omitempty"`
	User    UserID    `json:"user,omitempty"`
}
