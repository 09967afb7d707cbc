package bus

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
)

// handle is the router's handler: it decides by the message's number, has the
// consumer consume it, and acknowledges it before the next one can begin. With an
// error the message stays unacknowledged.
func (s *subscription) handle(r *reading, msg *message.Message) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.over || isClosed(r.stop) || !s.valid() {
		r.over = true
		return errOver
	}
	if err := s.take(r, msg); err != nil {
		return err
	}
	msg.Ack()
	s.acked = time.Now()
	s.consumed.Store(true)
	return nil
}

func (s *subscription) take(r *reading, msg *message.Message) error {
	if why := msg.Metadata[MetaMalformed]; why != "" {
		return s.bury(r, msg, "malformed entry: "+why)
	}
	h, err := parseHeader(msg.Metadata)
	if err != nil {
		return s.bury(r, msg, "not one of ours: "+err.Error())
	}
	now := time.Now()
	verdict := s.book.judge(h)
	if verdict == hole {
		if !s.lostForGood(r, h) {
			s.bus.metrics.holes.WithLabelValues(label(s.topic), s.group).Inc()
			s.log.Info("a message is missing: subscribing anew", "scope", h.scope, "number", h.number)
			r.over = true
			r.hole <- struct{}{}
			return errHole
		}
		s.missed(r, h)
		verdict = handle
		if h.count == 0 {
			verdict = nothing
			s.book.note(h, r.number, now)
		}
	}
	if verdict != handle {
		s.pass(r, h, verdict, now)
		return nil
	}
	if err := s.try(r, msg, h); err != nil {
		return err
	}
	s.book.note(h, r.number, time.Now())
	return nil
}

// pass leaves a message out.
func (s *subscription) pass(r *reading, h header, v verdict, now time.Time) {
	if v == nothing && s.book.lastAttempt(h.scope) < 0 {
		s.book.note(h, r.number, now)
	}
	if v != stale {
		s.book.hears(h.scope, now)
	}
	if v != nothing {
		s.bus.metrics.duplicates.WithLabelValues(label(s.topic), s.group).Inc()
	}
}

// lostForGood tells whether subscribing anew cannot bring what is missing: this
// attempt began for that purpose a moment ago, so that everything pending came
// first, and the scope was not heard in it before.
func (s *subscription) lostForGood(r *reading, h header) bool {
	return r.forHole && s.book.lastAttempt(h.scope) < r.number && time.Since(r.started) < 10*time.Second
}

func (s *subscription) missed(r *reading, h header) {
	s.bus.metrics.missed.WithLabelValues(label(s.topic), s.group).Inc()
	s.log.Warn("messages are gone for good", "scope", h.scope, "before", h.number)
	err := guarded(func() error {
		s.consumer.missed(r.ctx, h.scope)
		return nil
	})
	if err != nil {
		s.log.Error("told of missing messages", "scope", h.scope, "err", err)
	}
}

// try has the batch consumed, however often that takes. An error means that it is
// neither consumed nor dead-lettered, because the partition goes.
func (s *subscription) try(r *reading, msg *message.Message, h header) error {
	ctx := WithTrace(r.ctx, h.trace)
	wait := newBackoff(20*time.Millisecond, time.Second)
	for failures := 0; ; {
		started := time.Now()
		err := guarded(func() error { return s.consumer.consume(ctx, msg.Payload, h.count) })
		var permanent *permanentError
		switch {
		case err == nil:
			s.bus.metrics.consumed(s.topic, s.group, h.count, time.Since(started))
			return nil
		case r.ctx.Err() != nil:
			return err
		case errors.As(err, &permanent):
			return s.bury(r, msg, err.Error())
		case !errors.Is(err, ErrUnavailable):
			failures++
			s.log.Warn("consume a batch", "scope", h.scope, "number", h.number, "failures", failures, "err", err)
		}
		if failures > s.bus.cfg.RetryLimit {
			return s.bury(r, msg, fmt.Sprintf("failed %d times: %v", failures, err))
		}
		s.bus.metrics.retries.WithLabelValues(label(s.topic), s.group).Inc()
		if wait.sleep(ctx, r.stop); isClosed(r.stop) {
			return errStopping
		}
		if !s.valid() {
			return context.Cause(r.ctx)
		}
	}
}

// guarded makes a panic an error: a bug met by one batch stops neither the
// process nor the other partitions.
func guarded(do func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return do()
}
