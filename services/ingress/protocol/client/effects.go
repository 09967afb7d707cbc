package client

import "github.com/parley-chat/parley/services/ingress/protocol"

// Timings in milliseconds. A server pings after ping_ms and gives up 10 s
// later, so silence beyond that means that the line is dead.
const (
	welcomeWithin = 10_000
	silenceBeyond = 15_000
	stableAfter   = 10_000
	retryDefault  = 1_000
	sessionHeld   = 10_000 // how long a session that is gone still counts
)

// A frame before welcome holds 32 KiB, of which the token may take 8.
const (
	helloBytes  = 20_000 // of rooms in one hello
	cursorBytes = 60     // of one of them, besides its name
)

type link struct {
	n        int
	url      string
	dialing  bool
	welcomed bool
	since    int64 // opened, then welcomed
	heard    int64
	pingMS   int64
	helloID  uint64
	hello    map[string]bool // rooms that the hello named
	waiting  map[string]bool // of those, without joined or error yet
	retryMS  int64           // what an error to hello asked for
	err      error
}

type effectKind int

const (
	doDial    effectKind = iota // link, url
	doSend                      // link, req
	doClose                     // link, code
	doToken                     // a fresh token is due: auth it
	doDeliver                   // room, frame: for the user
	doEnd                       // room, err: the room is over
	doReply                     // ref, frame or ack or err: a user's request is through
	doStatus                    // status
	doNotice                    // err: an error that belongs to nothing, for the log
)

type effect struct {
	kind   effectKind
	link   int
	url    string
	code   protocol.CloseCode
	req    protocol.Request
	room   string
	ref    int
	frame  protocol.Frame
	ack    Ack
	err    error
	status Status
}

// dead is when the link counts as dead if nothing is heard until then. The
// dialer bounds dialing itself.
func (l *link) dead() int64 {
	switch {
	case l.dialing:
		return 1 << 62
	case !l.welcomed:
		return l.since + welcomeWithin
	case l.pingMS == 0: // this server does not ping
		return 1 << 62
	default:
		return l.heard + l.pingMS + silenceBeyond
	}
}
