package ingress

import (
	"sync"

	"github.com/parley-chat/parley/services/ingress/protocol"
)

// outbox is what waits to be written to one client: a bounded queue of replies
// and events that are not entries, and the subscriptions that may have entries.
// Its lock is the innermost of all.
type outbox struct {
	maxFrames int
	maxBytes  int

	mu     sync.Mutex
	frames []queued
	bytes  int
	dirty  []*subscription
	shut   bool // nothing more is taken
}

// queued is a frame that waits. at is not zero for the answer to a send: when that
// came, by the service's clock.
type queued struct {
	frame []byte
	at    int64
}

// push queues a frame. It is false when the queue is over its bounds: the client
// does not read its replies, and is closed.
func (o *outbox) push(frame []byte) bool { return o.pushSent(frame, 0) }

// pushSent is push for the answer to a send.
func (o *outbox) pushSent(frame []byte, at int64) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.shut:
		return true
	case len(o.frames) >= o.maxFrames, o.bytes > 0 && o.bytes+len(frame) > o.maxBytes:
		o.shut = true
		o.frames, o.bytes = nil, 0
		return false
	}
	o.frames = append(o.frames, queued{frame, at})
	o.bytes += len(frame)
	return true
}

// offer queues a volatile frame, unless half of the queue is full.
func (o *outbox) offer(frame []byte) (taken bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.shut || len(o.frames) >= o.maxFrames/2 || o.bytes+len(frame) > o.maxBytes/2 {
		return false
	}
	o.frames = append(o.frames, queued{frame: frame})
	o.bytes += len(frame)
	return true
}

// last queues a frame whatever the bounds, and takes nothing more.
func (o *outbox) last(frame []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.shut && frame != nil {
		o.frames = append(o.frames, queued{frame: frame})
		o.bytes += len(frame)
	}
	o.shut = true
	o.dirty = nil
}

// touch marks the subscription as having entries; news is false when it was
// marked already.
func (o *outbox) touch(sub *subscription) (news bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if sub.dirty || o.shut {
		return false
	}
	sub.dirty = true
	o.dirty = append(o.dirty, sub)
	return true
}

// take appends queued frames to buf, up to limit, and hands out the dirty
// subscriptions when none is left: replies go before entries, so that joined
// comes before the room's first one. sent (may be nil) is told of answers to sends.
func (o *outbox) take(buf []byte, limit int, sent func(at int64)) ([]byte, []*subscription) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := 0
	for n < len(o.frames) && len(buf) < limit {
		q := &o.frames[n]
		buf = append(append(buf, q.frame...), '\n')
		o.bytes -= len(q.frame)
		if q.at != 0 && sent != nil {
			sent(q.at)
		}
		n++
	}
	if n < len(o.frames) {
		clear(o.frames[:n])
		o.frames = o.frames[n:]
		return buf, nil
	}
	o.frames = nil
	dirty := o.dirty
	o.dirty = nil
	for _, sub := range dirty {
		sub.dirty = false
	}
	return buf, dirty
}

// pushError queues an error reply.
func (s *session) pushError(e *protocol.Error) {
	if e.Code.Temporary() && e.RetryAfterMS == 0 {
		e.RetryAfterMS = defaultRetryMS
	}
	s.push(protocol.AppendError(nil, e))
}

// push queues a frame and wakes the writer; a client that lets its replies pile
// up is closed.
func (s *session) push(frame []byte) {
	if !s.out.push(frame) {
		s.end(false)
		s.conn.Close(protocol.CloseSlow, "replies are not read")
		return
	}
	s.conn.Wake()
}
