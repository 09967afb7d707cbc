package redisbus

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/redis/go-redis/v9"
)

// watch is a hook in a subscription's client. It sees what the driver does not tell: that
// an acknowledgement has arrived, and commands whose failing leaves the subscription
// alive and wrong.
type watch struct {
	end    context.CancelFunc
	acked  chan struct{} // one for each XACK that the server took
	broken chan struct{} // closed when there is a reason to subscribe anew

	reading atomic.Bool // the first claim is over
	mu      sync.Mutex
	why     error
}

var _ redis.Hook = (*watch)(nil)

func newWatch(end context.CancelFunc) *watch {
	return &watch{end: end, acked: make(chan struct{}, 1), broken: make(chan struct{})}
}

// DialHook does nothing.
func (w *watch) DialHook(next redis.DialHook) redis.DialHook { return next }

// ProcessPipelineHook does nothing: the driver uses no pipelines.
func (w *watch) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// ProcessHook watches the driver's commands.
func (w *watch) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		name := cmd.Name()
		if name == "xgroup" {
			// The group was made a moment ago, by a script that a full server runs, too.
			// This command would be refused there, and nobody could read it empty.
			return nil
		}
		if name == "xreadgroup" {
			w.reading.Store(true)
		}
		err := next(ctx, cmd)
		switch {
		case name == "xack":
			w.onAck(err)
		case err == nil || errors.Is(err, redis.Nil) || ctx.Err() != nil:
		case name == "xclaim":
			// If the reply was lost the entry is ours now, and no later claim
			// takes what is ours: only a new consumer gets it.
			w.breakOff(err)
		case name == "xpending" && !w.reading.Load():
			// The driver would wait and try again; the supervisor does, too, and says so.
			w.breakOff(err)
		}
		return err
	}
}

func (w *watch) onAck(err error) {
	switch {
	case err == nil:
		select {
		case w.acked <- struct{}{}:
		default:
		}
	case !isTransient(err):
		// The driver would try again ten times a second for ever.
		w.breakOff(err)
	}
}

// stopOnReadError is asked by the driver: every read error ends the subscription. The
// group is gone, or not allowed, and reading on would fail for ever in silence; or the reply
// was lost, and with it perhaps an entry, which only a new consumer gets.
func (w *watch) stopOnReadError(err error) bool {
	w.note(err)
	return true
}

func (w *watch) breakOff(err error) {
	if w.note(err) {
		close(w.broken)
	}
	w.end()
}

// note keeps the first reason, and tells whether this is it.
func (w *watch) note(err error) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.why != nil {
		return false
	}
	w.why = err
	return true
}

func (w *watch) reason() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.why
}
