package protocol

// CloseCode is a WebSocket close code (RFC 6455 §7.4) as Parley uses it.
type CloseCode int

// Close codes. What a client does about each is Action.
const (
	CloseNormal     CloseCode = 1000 // the client's own goodbye
	CloseGoingAway  CloseCode = 1001
	CloseBinary     CloseCode = 1003 // a binary frame came
	CloseNoStatus   CloseCode = 1005 // never on the wire: a close frame without a code
	CloseAbnormal   CloseCode = 1006 // never on the wire: the line broke
	CloseNotUTF8    CloseCode = 1007
	ClosePolicy     CloseCode = 1008 // frame or ping abuse
	CloseTooLarge   CloseCode = 1009 // a frame over the limit
	CloseRestart    CloseCode = 1012
	CloseTryLater   CloseCode = 1013
	CloseNoHello    CloseCode = 4000 // no hello in time
	CloseSlow       CloseCode = 4001 // no progress for 10 s
	CloseNoLife     CloseCode = 4002 // a ping stayed unanswered
	CloseUnauth     CloseCode = 4500
	CloseExpired    CloseCode = 4501 // the token expired
	CloseProtocol   CloseCode = 4502 // something else than hello came first
	CloseBanned     CloseCode = 4503
	CloseSuperseded CloseCode = 4504 // replaced by its own resumption
)

// Action is what a client does after a close.
type Action int

// The policies of docs/protocol.md.
const (
	Retry       Action = iota // reconnect with jitter, resume, repeat what has no reply
	NoRetrySame               // reconnect, but do not repeat what has no reply
	Stop                      // do not reconnect
)

// String names the action as the test vectors do.
func (a Action) String() string {
	return [...]string{"retry", "no_retry_same", "stop"}[a]
}

// CloseAction returns the policy for a close code. A broken line (1006, or 0
// for no connection at all) and codes nobody has defined yet are worth another
// try; 4500 and above are not.
func CloseAction(code CloseCode) Action {
	switch {
	case code == CloseBinary, code == CloseNotUTF8, code == ClosePolicy, code == CloseTooLarge:
		return NoRetrySame
	case code >= 4500 && code <= 4999:
		return Stop
	default:
		return Retry
	}
}

// String names the code for people and logs.
func (c CloseCode) String() string {
	if s, ok := closeNames[c]; ok {
		return s
	}
	return "unknown"
}

var closeNames = map[CloseCode]string{
	0:               "not connected",
	CloseNormal:     "normal",
	CloseGoingAway:  "going away",
	CloseBinary:     "binary frame",
	CloseNoStatus:   "no status",
	CloseAbnormal:   "line broken",
	CloseNotUTF8:    "not UTF-8",
	ClosePolicy:     "policy",
	CloseTooLarge:   "frame too large",
	CloseRestart:    "restart",
	CloseTryLater:   "try again later",
	CloseNoHello:    "no hello in time",
	CloseSlow:       "slow",
	CloseNoLife:     "no sign of life",
	CloseUnauth:     "unauthorized",
	CloseExpired:    "token expired",
	CloseProtocol:   "protocol error",
	CloseBanned:     "banned",
	CloseSuperseded: "replaced by its own resumption",
}
