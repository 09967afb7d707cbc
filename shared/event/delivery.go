package event

// Delivery is what the notifier says to one edge, on deliveries-<node>. A
// Delivery with a Session is for that session (in that Life); one without is for
// all of the edge's subscribers of Room, or for the edge itself.
type Delivery struct {
	Room    RoomID    `json:"room,omitempty"`
	Session SessionID `json:"session,omitempty"`
	Life    Life      `json:"life,omitempty"`
	Request uint64    `json:"request,omitempty"`
	From    UserID    `json:"from,omitempty"` // of volatile parts
	At      int64     `json:"at"`
	// Traceparent (W3C) of the notifier's span; only where the trace is sampled.
	Traceparent string `json:"traceparent,omitempty"`

	// Posted goes to all subscribers of Room; with a Request it also answers
	// Session, which is the sender's.
	Posted   *MessagePosted   `json:"posted,omitempty"`
	Accepted *SendAccepted    `json:"accepted,omitempty"`
	Refused  *Refusal         `json:"refused,omitempty"`
	Joined   *RoomJoined      `json:"joined,omitempty"`
	Page     *PageRead        `json:"page,omitempty"` // without Session: for the ring
	Members  *MembersListed   `json:"members,omitempty"`
	Found    *UserFound       `json:"found,omitempty"`
	Typing   *TypingStarted   `json:"typing,omitempty"` // Session is the typist's own: it is left out
	Signal   *SignalSent      `json:"signal,omitempty"` // likewise
	Presence *PresenceChanged `json:"presence,omitempty"`
	Replaced *SessionReplaced `json:"replaced,omitempty"`
	Synced   *RoomsSynced     `json:"synced,omitempty"`
	SyncAsk  *SyncAsked       `json:"syncAsk,omitempty"`
	Epoch    *EpochChanged    `json:"epoch,omitempty"`
	Trace    *MessageTrace    `json:"trace,omitempty"`
	Measured *MeasuresSaid    `json:"measured,omitempty"`
}

// MembersListed answers `presence {room}`. Users has at most 200; Count is of users.
type MembersListed struct {
	Users []Member `json:"users"`
	Count int      `json:"count"`
	N     uint64   `json:"n"` // of the room's last presence change
}

// Member is one user of a room.
type Member struct {
	User     UserID `json:"user"`
	Sessions int    `json:"sessions"`
	Since    int64  `json:"since"` // Unix ms
	// Held and Nodes are given only where ListMembers asks for Sessions.
	Held  int      `json:"held,omitempty"`  // sessions whose line broke and that may resume
	Nodes []NodeID `json:"nodes,omitempty"` // where the others are connected, one for each
}

// MeasuresSaid are measures for boards: with a Session what was said before it
// came, without one what was said just now.
type MeasuresSaid struct {
	Samples []Measures `json:"samples"`
}

// UserFound answers `presence {user}`. Rows are given only to the user himself.
type UserFound struct {
	User  UserID       `json:"user"`
	Count int          `json:"count"`
	Since int64        `json:"since"`
	Rows  []SessionRow `json:"rows,omitempty"`
}

// PresenceChanged tells a room who came and went since N-1, at most once a
// second. Large is set in rooms above 200 members, which are told Count only.
type PresenceChanged struct {
	On    []UserID `json:"on,omitempty"`
	Off   []UserID `json:"off,omitempty"`
	Count int      `json:"count"`
	Large bool     `json:"large,omitempty"`
	N     uint64   `json:"n"`
}

// SessionReplaced: a newer life of the session took over. The edge writes the
// replies it has for the older one and closes it with 4504. With Over set there
// was none newer: the user has too many sessions (Limit), and this one must go.
type SessionReplaced struct {
	Over  bool `json:"over,omitempty"`
	Limit int  `json:"limit,omitempty"`
}

// RoomsSynced answers a SyncNode.
type RoomsSynced struct {
	Partition int        `json:"partition"`
	ID        uint64     `json:"id,omitempty"`
	Heads     []RoomHead `json:"heads,omitempty"`
}

// SyncAsked: the notifier of the partition wants a sync of it; of the rooms
// named, or of the whole.
type SyncAsked struct {
	Partition int      `json:"partition"`
	Asked     uint64   `json:"asked,omitempty"` // the notifier's generation, to be echoed
	Rooms     []RoomID `json:"rooms,omitempty"`
}
