//go:build !linux

package crowd

import (
	"context"
	"errors"
)

// Crowd is the virtual users of one process; on this system there are none.
type Crowd struct{}

var errSystem = errors.New("the load generator needs Linux (epoll)")

// New says that it cannot.
func New(Config) (*Crowd, error) { return nil, errSystem }

// Connect says that it cannot.
func (c *Crowd) Connect(context.Context, int) (Arrival, error) { return Arrival{}, errSystem }

// Drop does nothing.
func (c *Crowd) Drop() {}

// Begin does nothing.
func (c *Crowd) Begin(Drive) {}

// Finish has measured nothing.
func (c *Crowd) Finish() Tally { return Tally{} }

// Status is nothing.
func (c *Crowd) Status() Status { return Status{} }

// Close does nothing.
func (c *Crowd) Close() error { return nil }
