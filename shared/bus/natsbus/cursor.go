package natsbus

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// cursorPace is how long a cursor's next write waits after one, so that a busy reader
	// writes once for many acknowledgements. A crash repeats as much.
	cursorPace = 5 * time.Millisecond
	// cursorTouch is how often a quiet reader writes its cursor, to show that its group is alive.
	cursorTouch = 10 * time.Minute
	// ackWait is how long closing waits for the last acknowledgement to be stored.
	ackWait = time.Second
)

func cursorKey(topic, group string) string { return escape(topic) + "." + escape(group) }

// readCursor answers up to where the group has acknowledged the stream: 0 if it
// never did, or did for a stream that was called the same.
func readCursor(ctx context.Context, o *opened, topic, group string, info *jetstream.StreamInfo) (uint64, error) {
	e, err := o.read(ctx, cursorKey(topic, group))
	if err != nil || e.revision == 0 {
		return 0, err
	}
	var created int64
	var seq uint64
	if _, err := fmt.Sscanf(e.value, "%d %d", &created, &seq); err != nil || created != info.Created.UnixNano() {
		return 0, nil
	}
	// A server that lost its newest messages (a power cut) gives their numbers again.
	return min(seq, info.State.LastSeq), nil
}

// cursor writes down what a subscription has acknowledged: one write at a time, the
// newest. Two readers of a group may both write: each value is true,
// because all below it was acknowledged by somebody; a lower one only repeats.
type cursor struct {
	js      jetstream.JetStream
	subject string
	created int64 // of the stream, Unix ns
	wake    chan struct{}

	mu    sync.Mutex
	acked uint64
}

func newCursor(js jetstream.JetStream, subject string, created int64, acked uint64) *cursor {
	return &cursor{js: js, subject: subject, created: created, acked: acked, wake: make(chan struct{}, 1)}
}

// ack says that all up to seq is acknowledged. It does not wait.
func (c *cursor) ack(seq uint64) {
	c.mu.Lock()
	c.acked = seq
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// run writes until done is closed, and then once more if something is unwritten; ctx
// bounds it all. An error means that the acknowledgements do not arrive: the
// subscription must not go on.
func (c *cursor) run(ctx context.Context, done <-chan struct{}) error {
	touch := time.NewTicker(cursorTouch)
	defer touch.Stop()
	pace := time.NewTimer(0)
	defer pace.Stop()
	for {
		select {
		case <-c.wake:
		case <-touch.C:
		case <-done:
			return c.writeLast(ctx)
		}
		if err := c.write(ctx); err != nil {
			return err
		}
		pace.Reset(cursorPace)
		select {
		case <-pace.C:
		case <-done:
			return c.writeLast(ctx)
		}
	}
}

func (c *cursor) writeLast(ctx context.Context) error {
	select {
	case <-c.wake:
		return c.write(ctx)
	default:
		return nil
	}
}

func (c *cursor) write(ctx context.Context) error {
	c.mu.Lock()
	value := strconv.FormatInt(c.created, 10) + " " + strconv.FormatUint(c.acked, 10)
	c.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if _, err := c.js.Publish(ctx, c.subject, []byte(value)); err != nil {
		return fmt.Errorf("write the group's cursor: %w", err)
	}
	return nil
}
