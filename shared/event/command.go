package event

import "encoding/json"

// Command is what an edge asks of chat. It travels on commands-NN, keyed by its
// room or, for what concerns a person, by the user.
type Command struct {
	Who
	Room    RoomID `json:"room,omitempty"`
	Request uint64 `json:"request,omitempty"` // the edge's own number; a reply bears it; 0: no reply wanted
	At      int64  `json:"at"`                // Unix ms, the edge's clock
	// Traceparent (W3C) of the span that sent it; only where its trace is sampled.
	Traceparent string `json:"traceparent,omitempty"`

	Join         *JoinRoom     `json:"join,omitempty"`
	Leave        *LeaveRoom    `json:"leave,omitempty"`
	Post         *PostMessage  `json:"post,omitempty"`
	Read         *ReadHistory  `json:"read,omitempty"`
	Members      *ListMembers  `json:"members,omitempty"`
	Find         *FindUser     `json:"find,omitempty"`
	Type         *StartTyping  `json:"type,omitempty"`
	Signal       *SendSignal   `json:"signal,omitempty"`
	OpenSession  *OpenSession  `json:"openSession,omitempty"`
	CloseSession *CloseSession `json:"closeSession,omitempty"`
	Sync         *SyncNode     `json:"sync,omitempty"`
	Trace        *TraceMessage `json:"trace,omitempty"` // an operator's, not an edge's
}

// JoinRoom subscribes the session to the room. At most one of Since and Last is
// set; neither means: from the head.
type JoinRoom struct {
	Since *Cursor `json:"since,omitempty"`
	Last  int     `json:"last,omitempty"` // this many newest entries first, ≤ 200
}

// LeaveRoom ends a subscription. It removes only the row of its own life.
type LeaveRoom struct {
	Clean bool `json:"clean,omitempty"` // false: the line broke; told after the hold unless the session resumes
}

// PostMessage appends a message. Every PostMessage has a CID on the bus (the
// edge gives one where the client did not), so that a replay is no second entry.
type PostMessage struct {
	CID   ClientID        `json:"cid"`
	Body  json.RawMessage `json:"body"`
	Since *Cursor         `json:"since,omitempty"` // of the first try, on a resend
}

// ReadHistory asks for a page. Neither Before nor After: the newest entries. A
// read with an empty Session is an edge catching its ring up.
type ReadHistory struct {
	Before uint64  `json:"before,omitempty"` // exclusive; 0: not set
	After  *uint64 `json:"after,omitempty"`  // exclusive; nil: not set
	Limit  int     `json:"limit,omitempty"`  // ≤ 200; 0: 50
	Have   *Held   `json:"have,omitempty"`   // an answer that the asker has kept
}

// Held is an answer to the same question at an earlier time. Where the entries are the
// same now, [PageRead] says no more than that.
type Held struct {
	Epoch Epoch  `json:"epoch"`
	Head  uint64 `json:"head"`
	Floor uint64 `json:"floor"`
}

// ListMembers asks who is in the room.
type ListMembers struct {
	Sessions bool `json:"sessions,omitempty"` // also how each member is connected; for operators
}

// FindUser asks for the sessions of a user.
type FindUser struct {
	User UserID `json:"user"`
}

// StartTyping is volatile: not stored, dropped when older than VolatileMS.
type StartTyping struct{}

// SendSignal is volatile, with a body of at most 4 KiB.
type SendSignal struct {
	Body json.RawMessage `json:"body"`
}

// OpenSession says that a session is connected, and again whenever its row
// changes (rooms, node). The row of a lower life is replaced by it.
type OpenSession struct {
	Row SessionRow `json:"row"`
}

// SessionRow is what the registry shows of one session.
type SessionRow struct {
	Who
	Agent string   `json:"agent,omitempty"`
	Since int64    `json:"since"` // Unix ms of its first hello
	Rooms []RoomID `json:"rooms,omitempty"`
}

// CloseSession says that a session's connection ended.
type CloseSession struct {
	Clean bool `json:"clean,omitempty"`
}

// SyncNode says which sessions an edge has in rooms of one partition, and how
// far its rings are. It is keyed by PartitionKey, so that it travels in order
// with the joins and leaves of that partition, and it replaces what the notifier
// holds of that node: of the rooms it names or, when Whole, of the partition.
type SyncNode struct {
	Partition int `json:"partition"`
	// Whole: the parts 1 … Parts together name every room and session of this
	// partition that the node has; what they leave out is gone.
	Whole bool   `json:"whole,omitempty"`
	ID    uint64 `json:"id,omitempty"`   // of a whole sync: equal in all its parts
	Part  int    `json:"part,omitempty"` // counts from 1
	Parts int    `json:"parts,omitempty"`
	// Asked is the generation of the notifier that asked (0: nobody did).
	Asked    uint64       `json:"asked,omitempty"`
	Rooms    []RoomSync   `json:"rooms,omitempty"`
	Sessions []SessionRow `json:"sessions,omitempty"` // sessions whose user lies in this partition
}

// RoomSync is one room of a SyncNode. Hash is RoomHash of its sessions; when
// Sessions is nil and Hash is not 0 only the hash is compared, and a notifier
// that holds something else asks for the list.
type RoomSync struct {
	Room     RoomID `json:"room"`
	Cursor   Cursor `json:"cursor"` // the ring's head
	Hash     uint64 `json:"hash,omitempty"`
	Sessions []Who  `json:"sessions,omitempty"` // Node is left out: it is the command's
}
