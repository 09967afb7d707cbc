package bus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
)

// counted remembers the numbers of what it was given; runs with the number fail in, and
// that one alone once.
type counted struct {
	runs   [][]uint64
	fail   uint64
	failed bool
}

func (c *counted) consume(_ context.Context, run []piecework) error {
	var numbers []uint64
	for _, p := range run {
		numbers = append(numbers, p.number)
	}
	if slices.Contains(numbers, c.fail) && !(len(run) == 1 && c.failed) {
		c.failed = len(run) == 1
		return errors.New("not now")
	}
	c.runs = append(c.runs, numbers)
	return nil
}

func (c *counted) missed(context.Context, string) {}
func (c *counted) close()                         {}

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
	r := &reading{ctx: t.Context(), stop: make(chan struct{})}
	if err := s.handle(r, said(1)); err != nil {
		t.Fatal(err)
	}
	valid = false
	if err := s.handle(r, said(2)); !errors.Is(err, errOver) || len(c.runs) != 1 {
		t.Errorf("without lease: %v, consumed %v", err, c.runs)
	}
}

// What lies there together is consumed together, up to whatever is not the next one.
func TestRuns(t *testing.T) {
	b, err := New(nil, Config{Partitions: 1, Name: "x"})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	c := &counted{}
	s := newSubscription(b, "t", "g", []string{"g"}, c)
	r := &reading{ctx: t.Context(), stop: make(chan struct{})}
	batch := said(1, 2, 2, 3, 4)
	if err := s.handle(r, batch); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(c.runs); got != "[[1 2] [3 4]]" {
		t.Errorf("consumed %s", got)
	}
	for i, msg := range batch {
		if !acked(msg) {
			t.Errorf("message %d is not acknowledged", i)
		}
	}
	batch = said(5, 6, 8, 9)
	if err := s.handle(r, batch); !errors.Is(err, errHole) {
		t.Errorf("with 7 missing: %v", err)
	}
	if acked(batch[2]) || !acked(batch[1]) {
		t.Error("want acknowledged what is before the hole, and nothing behind it")
	}
}

// A run that fails is consumed message by message, so that only what fails is tried again.
func TestRunThatFails(t *testing.T) {
	b, err := New(nil, Config{Partitions: 1, Name: "x"})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	c := &counted{fail: 2}
	s := newSubscription(b, "t", "g", []string{"g"}, c)
	if err := s.handle(&reading{ctx: t.Context(), stop: make(chan struct{})}, said(1, 2, 3)); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(c.runs); got != "[[1] [2] [3]]" {
		t.Errorf("consumed %s", got)
	}
}

func said(numbers ...uint64) (batch []*message.Message) {
	for _, n := range numbers {
		batch = append(batch, header{scope: "s", life: "a", number: n, count: 1}.message(nil))
	}
	return batch
}

func acked(msg *message.Message) bool {
	select {
	case <-msg.Acked():
		return true
	default:
		return false
	}
}
