package loadgen

import (
	"context"
	"errors"
	"io"
	"net/rpc"
	"sync"

	"github.com/parley-chat/parley/deploy/loadgen/crowd"
)

// Work makes this process a worker: it holds a share of the connections of the
// process that started it, and is told over in and out what to do with them. It
// returns when in ends.
func Work(ctx context.Context, in io.ReadCloser, out io.WriteCloser) error {
	ctx, cancel := context.WithCancel(ctx)
	s := &Worker{ctx: ctx}
	server := rpc.NewServer()
	if err := server.Register(s); err != nil {
		cancel()
		return err
	}
	server.ServeConn(pipe{in, out})
	cancel()
	return s.close()
}

// Worker is the methods that a worker offers to the process that started it; see
// [Work]. It is exported for net/rpc only.
type Worker struct {
	ctx context.Context // ends with the process: a method of net/rpc has none

	mu    sync.Mutex
	crowd *crowd.Crowd
}

var errNoCrowd = errors.New("the worker has no connections yet: New comes first")

func (w *Worker) current() (*crowd.Crowd, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.crowd == nil {
		return nil, errNoCrowd
	}
	return w.crowd, nil
}

func (w *Worker) close() error {
	c, err := w.current()
	if err != nil {
		return nil
	}
	return c.Close()
}

// New prepares the share.
func (w *Worker) New(cfg crowd.Config, _ *struct{}) error {
	c, err := crowd.New(cfg)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.crowd = c
	return nil
}

// Connect is [crowd.Crowd.Connect].
func (w *Worker) Connect(window int, a *crowd.Arrival) error {
	c, err := w.current()
	if err != nil {
		return err
	}
	*a, err = c.Connect(w.ctx, window)
	return err
}

// Drop is [crowd.Crowd.Drop].
func (w *Worker) Drop(_ int, _ *struct{}) error {
	c, err := w.current()
	if err == nil {
		c.Drop()
	}
	return err
}

// Begin is [crowd.Crowd.Begin].
func (w *Worker) Begin(d crowd.Drive, _ *struct{}) error {
	c, err := w.current()
	if err == nil {
		c.Begin(d)
	}
	return err
}

// Finish is [crowd.Crowd.Finish].
func (w *Worker) Finish(_ int, t *crowd.Tally) error {
	c, err := w.current()
	if err == nil {
		*t = c.Finish()
	}
	return err
}

// Status is [crowd.Crowd.Status].
func (w *Worker) Status(_ int, s *crowd.Status) error {
	c, err := w.current()
	if err == nil {
		*s = c.Status()
	}
	return err
}
