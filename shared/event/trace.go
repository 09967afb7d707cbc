package event

// TraceMessage asks where one message went. It travels the ordinary path, so that
// it comes behind the message: chat looks into the room's log, the notifier names
// the nodes that it routes the room to, and each of those edges looks at its cursors.
// Each says what it found on the topic of ReplyTo. Nothing is recorded per message,
// so what is told is how things stand now. It is volatile: a hop that gets it late
// drops it.
type TraceMessage struct {
	ID      MessageID `json:"id,omitempty"`  // the message's; empty: Seq names it
	Seq     uint64    `json:"seq,omitempty"` // its place in the log, where ID is empty
	ReplyTo string    `json:"replyTo"`       // the id of a topic Traces
}

// MessageTrace is a TraceMessage behind chat, with what it found.
type MessageTrace struct {
	TraceMessage
	Found bool  `json:"found,omitempty"`
	Epoch Epoch `json:"epoch,omitempty"`
}

// Finding is what one hop knows of a traced message. One of the parts is set.
type Finding struct {
	From string `json:"from"` // the hop: chat, notifier, or edge
	Node string `json:"node"` // an edge's node; else the writer's scope, such as chat-03
	At   int64  `json:"at"`   // Unix ms, the hop's clock

	Logged *LogFinding    `json:"logged,omitempty"`
	Routed *RouteFinding  `json:"routed,omitempty"`
	Read   *CursorFinding `json:"read,omitempty"`
}

// LogFinding is chat's: what the room's log says.
type LogFinding struct {
	Found    bool     `json:"found,omitempty"` // the entry is in the log, appended once
	Seq      uint64   `json:"seq,omitempty"`
	From     UserID   `json:"from,omitempty"`
	CID      ClientID `json:"cid,omitempty"`
	Appended int64    `json:"appended,omitempty"` // Unix ms
	// Dedupe tells what a repeat of its send would get now: "dup" (recognised), "ok" (it
	// would be appended again), "" (the room is not in memory, so nobody knows).
	Dedupe string `json:"dedupe,omitempty"`
	Epoch  Epoch  `json:"epoch"`
	Floor  uint64 `json:"floor"` // oldest entry that is kept
	Head   uint64 `json:"head"`
	Looked int    `json:"looked"` // entries that were looked at for it, newest first
	Error  string `json:"error,omitempty"`
}

// RouteFinding is the notifier's: where the room's events go now.
type RouteFinding struct {
	Nodes []NodeID `json:"nodes,omitempty"`
	Users int      `json:"users"` // members of the room
}

// CursorFinding is one edge's: how far its subscribers are. Lagging has at most
// 100 of those that are not past the message.
type CursorFinding struct {
	Epoch       Epoch          `json:"epoch,omitempty"`
	Head        uint64         `json:"head"`
	Subscribers int            `json:"subscribers"`
	Past        int            `json:"past"`
	Lagging     []LaggingReads `json:"lagging,omitempty"`
	Other       bool           `json:"other,omitempty"` // the edge goes by another epoch: seqs say nothing
}

// LaggingReads is a subscription whose cursor is before the message.
type LaggingReads struct {
	User    UserID    `json:"user"`
	Session SessionID `json:"session"`
	Seq     uint64    `json:"seq"`
}

// Kind names the part that is set; "" for one that this build does not know.
func (f Finding) Kind() string {
	return kind(part{"logged", f.Logged != nil}, part{"routed", f.Routed != nil}, part{"read", f.Read != nil})
}
