package event

import "encoding/json"

// Event is what chat says, on events-NN, and beside it every process of itself
// (Measured). Its Who and Request are the return
// address of the command that caused it; Request 0 means that no reply is due.
type Event struct {
	Who
	Room    RoomID `json:"room,omitempty"`
	Request uint64 `json:"request,omitempty"`
	At      int64  `json:"at"` // Unix ms: of the command, for volatile parts; else chat's clock
	// Traceparent (W3C) of chat's span; only where the trace is sampled.
	Traceparent string `json:"traceparent,omitempty"`

	Posted   *MessagePosted `json:"posted,omitempty"`
	Accepted *SendAccepted  `json:"accepted,omitempty"`
	Refused  *Refusal       `json:"refused,omitempty"`
	Joined   *RoomJoined    `json:"joined,omitempty"`
	Left     *RoomLeft      `json:"left,omitempty"`
	Page     *PageRead      `json:"page,omitempty"`
	Members  *ListMembers   `json:"members,omitempty"` // permitted; the notifier answers
	Find     *FindUser      `json:"find,omitempty"`    // likewise
	Typing   *TypingStarted `json:"typing,omitempty"`
	Signal   *SignalSent    `json:"signal,omitempty"`
	Opened   *SessionOpened `json:"opened,omitempty"`
	Closed   *SessionClosed `json:"closed,omitempty"`
	Synced   *NodeSynced    `json:"synced,omitempty"`
	Epoch    *EpochChanged  `json:"epoch,omitempty"`
	Trace    *MessageTrace  `json:"trace,omitempty"`
	Measured *Measures      `json:"measured,omitempty"` // volatile; in StatusRoom, and of any process
}

// MessagePosted: the entry is in the log. It goes to every edge with members of
// the room, and answers the sender's request.
type MessagePosted struct {
	Entry Entry `json:"entry"`
	Epoch Epoch `json:"epoch"`
	// Again: the event was published before, perhaps by another owner; it answers nobody.
	Again bool `json:"again,omitempty"`
}

// SendAccepted answers a send whose entry was in the log already.
type SendAccepted struct {
	Seq uint64 `json:"seq"`
	At  int64  `json:"at"`
	Dup bool   `json:"dup,omitempty"`
}

// Refusal answers a request that was not done. Code is an error code of the
// client protocol.
type Refusal struct {
	Code         string   `json:"code"`
	Message      string   `json:"message"`
	CID          ClientID `json:"cid,omitempty"`
	RetryAfterMS int64    `json:"retryAfterMs,omitempty"`
}

// Range is a closed interval of seqs.
type Range struct {
	From uint64 `json:"from"`
	To   uint64 `json:"to"`
}

// RoomJoined: the session is subscribed; the entries after After follow.
type RoomJoined struct {
	Epoch Epoch  `json:"epoch"`
	Head  uint64 `json:"head"`
	Floor uint64 `json:"floor"` // oldest kept; 1 for a room without entries
	After uint64 `json:"after"` // the cursor
	Gap   *Range `json:"gap,omitempty"`
	Reset bool   `json:"reset,omitempty"`
}

// RoomLeft: the session's row of this life goes; at once when Clean, else after
// the hold.
type RoomLeft struct {
	Clean bool `json:"clean,omitempty"`
}

// PageRead is a page of history, ascending, at most 256 KiB of entries (at least
// one, when there is one).
type PageRead struct {
	Entries []Entry `json:"entries"`
	More    bool    `json:"more,omitempty"` // entries of the asked range were left out
	Floor   uint64  `json:"floor"`
	Head    uint64  `json:"head"`
	Epoch   Epoch   `json:"epoch"`
	After   uint64  `json:"after"`          // a catch-up page: the cursor that it was asked for
	Same    bool    `json:"same,omitempty"` // Entries and More are as in what the asker holds, and left out
}

// TypingStarted is volatile.
type TypingStarted struct{}

// SignalSent is volatile.
type SignalSent struct {
	Body json.RawMessage `json:"body"`
}

// SessionOpened: a session is connected, or its row changed.
type SessionOpened struct {
	Row SessionRow `json:"row"`
}

// SessionClosed: a session's connection ended.
type SessionClosed struct {
	Clean bool `json:"clean,omitempty"`
}

// NodeSynced is a SyncNode with chat's answer: the heads of the rooms it names,
// in the same order.
type NodeSynced struct {
	Sync  SyncNode   `json:"sync"`
	Heads []RoomHead `json:"heads,omitempty"`
}

// RoomHead is how far a room's log is.
type RoomHead struct {
	Room  RoomID `json:"room"`
	Epoch Epoch  `json:"epoch"`
	Head  uint64 `json:"head"`
	Floor uint64 `json:"floor"`
}

// EpochChanged: logs of this partition may have lost their tail and go by a new
// epoch. Edges sync their rooms there.
type EpochChanged struct {
	Partition int   `json:"partition"`
	Epoch     Epoch `json:"epoch"`
}
