package bus

import (
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
)

// The most that one Consume is given of several bus messages.
const (
	runEvents = 1024
	runBytes  = 256 << 10
)

// piecework is one bus message of a run.
type piecework struct {
	header
	msg *message.Message
}

// handle decides by the messages' numbers, has the consumer consume them, and
// acknowledges them, before the next batch can begin. With an error the rest stays
// unacknowledged.
func (s *subscription) handle(r *reading, batch []*message.Message) error {
	for len(batch) > 0 {
		if isClosed(r.stop) || !s.valid() {
			return errOver
		}
		n, err := s.take(r, batch)
		for _, msg := range batch[:n] {
			msg.Ack()
		}
		if n > 0 {
			s.consumed.Store(true)
		}
		if err != nil {
			return err
		}
		batch = batch[n:]
	}
	return nil
}

// take handles what is first in the batch, and tells of how many messages it is done.
func (s *subscription) take(r *reading, batch []*message.Message) (n int, err error) {
	run := s.gather(batch)
	if len(run) > 1 {
		err := s.try(r, run)
		if err == nil {
			now := time.Now()
			for _, p := range run {
				s.book.note(p.header, r.number, now)
			}
			return len(run), nil
		}
		if !errors.Is(err, errApart) {
			return 0, err
		}
	}
	for n < max(len(run), 1) {
		if err := s.takeOne(r, batch[n]); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// gather takes from the front the messages that are each the next one, up to what
// one Consume is given. What has to be looked at alone is not in a run.
func (s *subscription) gather(batch []*message.Message) (run []piecework) {
	if len(batch) == 1 {
		return nil
	}
	ahead := map[string]*standing{}
	events, bytes := 0, 0
	for _, msg := range batch {
		if msg.Metadata[MetaMalformed] != "" {
			return run
		}
		h, err := parseHeader(msg.Metadata)
		if err != nil {
			return run
		}
		at, heard := ahead[h.scope]
		if !heard {
			at = s.book.scopes[h.scope]
		}
		events, bytes = events+h.count, bytes+len(msg.Payload)
		if at.judge(h) != handle || len(run) > 0 && (events > runEvents || bytes > runBytes) {
			return run
		}
		ahead[h.scope] = at.after(h)
		run = append(run, piecework{h, msg})
	}
	return run
}

func (s *subscription) takeOne(r *reading, msg *message.Message) error {
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
	if err := s.try(r, []piecework{{h, msg}}); err != nil {
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

// try has a run consumed, however often that takes. errApart means that it failed
// and that its messages are to be tried one by one; any other error that it is neither
// consumed nor dead-lettered, because the partition goes.
func (s *subscription) try(r *reading, run []piecework) error {
	ctx := WithTrace(r.ctx, run[0].trace)
	wait := newBackoff(20*time.Millisecond, time.Second)
	for failures := 0; ; {
		started := time.Now()
		err := guarded(func() error { return s.consumer.consume(ctx, run) })
		var permanent *permanentError
		first := run[0]
		switch {
		case err == nil:
			s.bus.metrics.consumed(s.topic, s.group, run, time.Since(started))
			return nil
		case r.ctx.Err() != nil:
			return err
		case errors.Is(err, ErrUnavailable):
		case len(run) > 1:
			s.log.Warn("consume a batch: once more, message by message", "scope", first.scope, "number", first.number, "messages", len(run), "err", err)
			return errApart
		case errors.As(err, &permanent):
			return s.bury(r, first.msg, err.Error())
		default:
			failures++
			s.log.Warn("consume a batch", "scope", first.scope, "number", first.number, "failures", failures, "err", err)
		}
		if failures > s.bus.cfg.RetryLimit {
			return s.bury(r, first.msg, fmt.Sprintf("failed %d times: %v", failures, err))
		}
		s.bus.metrics.retries.WithLabelValues(label(s.topic), s.group).Inc()
		if wait.sleep(ctx, r.stop); isClosed(r.stop) {
			return errStopping
		}
		if r.ctx.Err() != nil || !s.valid() {
			return errOver
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
