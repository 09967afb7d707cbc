package protocol

import (
	"fmt"
	"time"
)

// Code is a published error code.
type Code string

// Error codes. Temporary ones say that the same request may succeed later.
const (
	BadRequest   Code = "bad_request"
	Unauthorized Code = "unauthorized"
	Forbidden    Code = "forbidden"
	NotFound     Code = "not_found"
	Conflict     Code = "conflict"
	TooLarge     Code = "too_large"
	Limit        Code = "limit"
	RateLimited  Code = "rate_limited" // temporary
	Unavailable  Code = "unavailable"  // temporary; the outcome is unknown
	Internal     Code = "internal"
)

// Temporary reports whether the error carries retry_after_ms and the request
// may be repeated; a send with the same cid.
func (c Code) Temporary() bool { return c == RateLimited || c == Unavailable }

// Error is the error reply, and the Go error for it on both sides. ID and CID
// are those of the request, where they could be known; Room is set only where
// the error ends a room that no request asks about: one of hello's rooms, or
// one the user may no longer read.
type Error struct {
	ID           uint64 `json:"id,omitempty"`
	Room         string `json:"room,omitempty"`
	CID          string `json:"cid,omitempty"`
	Code         Code   `json:"code"`
	Message      string `json:"message"`
	RetryAfterMS int64  `json:"retry_after_ms,omitempty"`
}

// Errorf returns an Error with a code and a message for people.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// Error returns code and message.
func (e *Error) Error() string { return string(e.Code) + ": " + e.Message }

// RetryAfter is how long to wait before the request is repeated; 0 when the
// server did not say.
func (e *Error) RetryAfter() time.Duration {
	return time.Duration(e.RetryAfterMS) * time.Millisecond
}
