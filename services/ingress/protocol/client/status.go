package client

import (
	"time"

	"github.com/parley-chat/parley/services/ingress/protocol"
)

// State is where a client stands.
type State string

// States, in the words of the test vectors.
const (
	Connecting   State = "connecting"
	Open         State = "open"
	Reconnecting State = "reconnecting"
	Moved        State = "moved" // open, on another connection than before, without a break
	Closed       State = "closed"
)

// Status is one change of state.
type Status struct {
	State State

	// Open and Moved.
	Session string
	User    string
	Node    string
	URL     string
	Limits  protocol.Limits

	// Reconnecting: RetryMS from now; 0 when an attempt is already under way.
	RetryMS int64

	// Reconnecting and Closed: what ended the connection.
	Code protocol.CloseCode
	Err  error
}

// RetryIn is RetryMS as a duration.
func (s Status) RetryIn() time.Duration { return time.Duration(s.RetryMS) * time.Millisecond }

// Ack says where in the room's log a message stands.
type Ack struct {
	Seq uint64
	TS  int64  // Unix milliseconds
	Dup bool   // an earlier try had written it
	CID string // differs from the one given only after a conflict on a resend
}
