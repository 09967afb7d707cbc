// Package protocol is the client protocol of Parley, version 1, as Go types:
// what a client may say (Request, ParseRequests), what a server says back
// (Welcome, Joined, Message, … and their Append functions), the tolerant
// decoder that clients use (Frame, ParseFrame), and the published error and
// close codes. It knows the words and their limits, nothing of sockets or
// rooms. All functions are pure and safe for concurrent use.
package protocol

// Subprotocol is the WebSocket subprotocol; optional, echoed when offered.
const Subprotocol = "parley.v1"

// Path is where an edge accepts WebSockets.
const Path = "/ws"

// Types of requests (client to server).
const (
	TypeHello    = "hello"
	TypeAuth     = "auth"
	TypeJoin     = "join"
	TypeLeave    = "leave"
	TypeSend     = "send"
	TypeHistory  = "history"
	TypePresence = "presence" // also a reply, and an event
	TypeTyping   = "typing"   // also an event
	TypeSignal   = "signal"   // also an event
	TypePong     = "pong"
)

// Types of replies and events (server to client).
const (
	TypeWelcome = "welcome"
	TypeJoined  = "joined"
	TypeOK      = "ok"
	TypePage    = "page"
	TypeMessage = "message"
	TypeReset   = "reset"
	TypeGap     = "gap"
	TypePing    = "ping"
	TypeMigrate = "migrate"
	TypeStatus  = "status"
	TypeError   = "error"
)

// Cursor is a place in a room's log: everything up to and with Seq is known.
// A Seq means something only under its Epoch.
type Cursor struct {
	Epoch string `json:"epoch"`
	Seq   uint64 `json:"seq"`
}

// Range is a run of entries, both ends included.
type Range struct {
	From uint64 `json:"from"`
	To   uint64 `json:"to"`
}

// Limits are the numbers an edge holds clients to; each is a setting there.
// Those with a JSON name are told to the client in welcome. Parsing uses the
// byte and character limits; frames, rooms and rates are for the edge to
// enforce.
type Limits struct {
	FrameBytes int     `json:"frame_bytes"` // a WebSocket message after hello
	BodyBytes  int     `json:"body_bytes"`  // the body of send
	Rooms      int     `json:"rooms"`       // rooms per session
	Rate       float64 `json:"rate"`        // requests per second and session; 0 means no limit
	Burst      int     `json:"burst"`       // requests at once

	HelloBytes  int `json:"-"` // a WebSocket message before hello is through
	TokenBytes  int `json:"-"` // a token in hello or auth
	SignalBytes int `json:"-"` // the body of signal
	CIDChars    int `json:"-"` // characters of a cid
	AgentChars  int `json:"-"` // characters of hello's agent
	PageEntries int `json:"-"` // most entries in history's limit and join's last
	Sessions    int `json:"-"` // sessions per user
}

// DefaultLimits returns the limits that docs/protocol.md publishes.
func DefaultLimits() Limits {
	return Limits{
		FrameBytes: 64 << 10, BodyBytes: 32 << 10, Rooms: 100, Rate: 20, Burst: 60,
		HelloBytes: 32 << 10, TokenBytes: 8 << 10, SignalBytes: 4 << 10,
		CIDChars: 64, AgentChars: 256, PageEntries: 200, Sessions: 20,
	}
}

const (
	// MaxDepth is how deep a request may nest; the request itself is 1.
	MaxDepth = 16
	// DefaultHistory is history's limit where the client names none.
	DefaultHistory = 50
	// PageBytes bounds the entries of one page, which holds at least one.
	PageBytes = 256 << 10
	// PresenceUsers bounds the users a presence reply lists.
	PresenceUsers = 200
)
