//go:build !linux

package socket

import "errors"

// uring is Linux's.
type uring struct{}

func newUring(int) (*uring, error) { return nil, errors.New("io_uring is Linux's") }

func (*uring) close()          {}
func (*uring) send([]op) error { return errors.New("io_uring is Linux's") }
