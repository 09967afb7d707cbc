package client

import (
	"errors"
	"fmt"

	"github.com/parley-chat/parley/services/ingress/protocol"
)

var (
	// ErrClosed is behind every failure on a client that has ended.
	ErrClosed = errors.New("the client is closed")
	// ErrLeft ends what was waiting in a room when it was left.
	ErrLeft = errors.New("the room was left")
	// ErrMaybeSent fails a send that got no answer before the line broke, and of
	// which the log no longer shows whether it was written: to send it again might
	// make it two.
	ErrMaybeSent = errors.New("it can no longer be seen whether this message was sent")
)

// ClosedError says why a client ended. errors.Is(err, ErrClosed) holds.
type ClosedError struct {
	Code protocol.CloseCode // 1000: by Close
	Err  error              // what the server or the line said; may be nil
}

// Error names the close code and its reason.
func (e *ClosedError) Error() string {
	s := fmt.Sprintf("the client is closed: %d %s", int(e.Code), e.Code)
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Is makes every ClosedError an ErrClosed.
func (e *ClosedError) Is(target error) bool { return target == ErrClosed }

// Unwrap returns Err.
func (e *ClosedError) Unwrap() error { return e.Err }

// NotRetriedError fails the requests that were under way when the server ended
// the connection over something sent on it (1007, 1008, 1009): whether they
// happened is unknown, and sending them again could end the next one, too.
type NotRetriedError struct{ Code protocol.CloseCode }

// Error names the close code.
func (e *NotRetriedError) Error() string {
	return fmt.Sprintf("not sent again after the server closed with %d %s; the outcome is unknown", int(e.Code), e.Code)
}
