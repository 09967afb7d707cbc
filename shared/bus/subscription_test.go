package bus

import (
	"context"
	"errors"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
)

type counted struct{ batches int }

func (c *counted) consume(context.Context, []byte, int) error { c.batches++; return nil }
func (c *counted) missed(context.Context, string)             {}
func (c *counted) close()                                     {}

// The lease is looked at before each batch: a process that was stopped for long
// consumes nothing, even before its timers have run.
func TestNothingIsConsumedWithoutLease(t *testing.T) {
	b, err := New(nil, Config{Partitions: 1, Name: "x"})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	c := &counted{}
	s := newSubscription(b, "t", "g", []string{"g"}, c)
	valid := true
	s.valid = func() bool { return valid }
	r := &reading{ctx: t.Context(), stop: make(chan struct{}), hole: make(chan struct{}, 1)}
	next := func(n uint64) *message.Message {
		return header{scope: "s", life: "a", number: n, count: 1}.message(nil)
	}
	if err := s.handle(r, next(1)); err != nil {
		t.Fatal(err)
	}
	valid = false
	if err := s.handle(r, next(2)); !errors.Is(err, errOver) {
		t.Errorf("without lease: %v", err)
	}
	valid = true
	if err := s.handle(r, next(2)); !errors.Is(err, errOver) || c.batches != 1 {
		t.Errorf("after it: %v, %d batches", err, c.batches)
	}
}
