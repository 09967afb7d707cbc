// Package identity says who a client is: by a signed token (JWT), or in
// development by his own word. It decides nothing about what he may do.
package identity

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Credentials are what a hello brings, or the handshake's Authorization header.
type Credentials struct {
	Token string
	User  string // believed in development only
}

// Identity is who the client is, and for how long that holds.
type Identity struct {
	User    string
	Expires time.Time // zero: never
}

// Verifier checks credentials. Its errors are ErrExpired or ErrUnauthorized, with
// a message that may be shown to the client, or say that the check itself could
// not be made. Safe for concurrent use.
type Verifier interface {
	Verify(ctx context.Context, c Credentials) (Identity, error)
}

// ErrExpired is that of a token that was good once; ErrUnauthorized any other
// token's that is not good.
var (
	ErrExpired      = errors.New("token expired")
	ErrUnauthorized = errors.New("unauthorized")
)

// Dev believes everybody. It is for trying things out on one's own machine.
type Dev struct {
	// ValidUser tells whether a name is one.
	ValidUser func(string) bool
}

// Verify takes the user at his word.
func (d Dev) Verify(_ context.Context, c Credentials) (Identity, error) {
	switch {
	case c.User == "" && c.Token != "":
		return Identity{}, fmt.Errorf("%w: this edge runs in dev auth, which takes user and no token", ErrUnauthorized)
	case !d.ValidUser(c.User):
		return Identity{}, fmt.Errorf("%w: dev auth wants a user", ErrUnauthorized)
	}
	return Identity{User: c.User}, nil
}
