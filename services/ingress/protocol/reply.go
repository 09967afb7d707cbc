package protocol

import "encoding/json"

// What a server says. Times are Unix milliseconds where the field is ts or
// since; every field that ends in _ms is a duration in milliseconds.

// Welcome answers hello. For each of hello's rooms a Joined or an Error with
// that room follows.
type Welcome struct {
	ID        uint64   `json:"id,omitempty"`
	Session   string   `json:"session"`
	Resume    string   `json:"resume"` // the secret that keeps the session's name
	User      string   `json:"user"`
	Node      string   `json:"node"`
	PingMS    int64    `json:"ping_ms"`
	ExpiresMS int64    `json:"expires_ms,omitempty"` // until the token expires
	URLs      []string `json:"urls,omitempty"`
	Limits    Limits   `json:"limits"`
}

// Joined answers join, or hello for one of its rooms (then without ID).
type Joined struct {
	ID    uint64 `json:"id,omitempty"`
	Room  string `json:"room"`
	Epoch string `json:"epoch"`
	Seq   uint64 `json:"seq"`   // the head at that moment
	After uint64 `json:"after"` // the cursor; entries follow from After + 1
	Floor uint64 `json:"floor"` // the oldest entry kept
	Gap   *Range `json:"gap,omitempty"`
	Reset bool   `json:"reset,omitempty"`
}

// OK answers auth (ExpiresMS), leave, send (Room, Seq, TS, Dup), typing and signal.
type OK struct {
	ID        uint64 `json:"id,omitempty"`
	Room      string `json:"room,omitempty"`
	Seq       uint64 `json:"seq,omitempty"`
	TS        int64  `json:"ts,omitempty"`
	Dup       bool   `json:"dup,omitempty"` // the entry was there already
	ExpiresMS int64  `json:"expires_ms,omitempty"`
}

// Message is one entry of a room's log; in a Page without Room.
type Message struct {
	Room string          `json:"room,omitempty"`
	Seq  uint64          `json:"seq"`
	MID  string          `json:"mid"`
	From string          `json:"from"`
	CID  string          `json:"cid,omitempty"`
	TS   int64           `json:"ts"`
	Body json.RawMessage `json:"body"` // as it was sent; never with a raw line feed
}

// Page answers history: entries ascending, at most 256 KiB of them.
type Page struct {
	ID      uint64    `json:"id,omitempty"`
	Room    string    `json:"room,omitempty"`
	Entries []Message `json:"entries"`
	More    bool      `json:"more"` // there are more in the direction asked
	Floor   uint64    `json:"floor"`
	Head    uint64    `json:"head"`
	Epoch   string    `json:"epoch"`
	Encoded []byte    `json:"-"` // by AppendEntries, instead of Entries; nil: not
}

// Reset says that the log goes by a new epoch: what the client holds after Seq
// is void, it goes on from Seq.
type Reset struct {
	Room  string `json:"room"`
	Epoch string `json:"epoch"`
	Seq   uint64 `json:"seq"`
}

// Gap says that entries From to To are no longer kept; the stream goes on after To.
type Gap struct {
	Room string `json:"room"`
	From uint64 `json:"from"`
	To   uint64 `json:"to"`
}

// Typing says that From is typing. Volatile.
type Typing struct {
	Room string `json:"room"`
	From string `json:"from"`
}

// Signal carries a volatile Body: not stored, not ordered.
type Signal struct {
	Room string          `json:"room"`
	From string          `json:"from"`
	Body json.RawMessage `json:"body"`
}

// Presence answers a presence request: of a room (Users, Count, N) or of a
// user (Count of sessions, and Sessions for oneself).
type Presence struct {
	ID       uint64         `json:"id,omitempty"`
	Room     string         `json:"room,omitempty"`
	User     string         `json:"user,omitempty"`
	Users    []UserPresence `json:"users,omitzero"` // at most PresenceUsers
	Sessions []SessionInfo  `json:"sessions,omitzero"`
	Count    int            `json:"count"`
	N        uint64         `json:"n,omitempty"` // the number of the last PresenceEvent in here
}

// UserPresence is one user in a room.
type UserPresence struct {
	User     string `json:"user"`
	Sessions int    `json:"sessions"`
	Since    int64  `json:"since"` // Unix milliseconds
	// For operators only: sessions whose line broke and that may resume, and the nodes of
	// the others, one for each.
	Held  int      `json:"held,omitempty"`
	Nodes []string `json:"nodes,omitempty"`
}

// SessionInfo is one of the asking user's own sessions.
type SessionInfo struct {
	Session string   `json:"session"`
	Node    string   `json:"node"`
	Agent   string   `json:"agent"`
	Since   int64    `json:"since"` // Unix milliseconds
	Rooms   []string `json:"rooms"`
}

// PresenceEvent tells a room's changes, at most one a second: who came and
// went, or in a large room only Count. N counts up by one; after a jump the
// client asks for presence.
type PresenceEvent struct {
	Room  string   `json:"room"`
	On    []string `json:"on,omitempty"`
	Off   []string `json:"off,omitempty"`
	Count int      `json:"count,omitempty"`
	N     uint64   `json:"n"`
}

// Migrate asks the client to open a new connection and resume there within
// ByMS, at URL if one is given.
type Migrate struct {
	ByMS int64  `json:"by_ms"`
	URL  string `json:"url,omitempty"`
}

// Status carries measures to an operator in StatusRoom: what processes said of
// themselves, the oldest first. A sample's fields are listed in docs/events.md;
// later versions may add some. Volatile.
type Status struct {
	Room    string            `json:"room"`
	Samples []json.RawMessage `json:"samples"`
}
