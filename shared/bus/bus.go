// Package bus is all that services see of messaging: typed topics, publishing,
// handlers that get batches, and the partitions that a process owns. It stands on
// Watermill; what a broker must do is [Backend], and which one is used is decided
// by a URL in main. Everything is at-least-once and in order per key: consumers
// are idempotent. Loss is never silent: messages are numbered, and a consumer is
// told when numbers are gone for good.
package bus

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Topic is a subject that carries values of one type.
type Topic[E any] struct {
	Name   string         // [A-Za-z0-9_.-]+; the backend puts PARLEY_PREFIX and the hash tag around it
	Groups []string       // every group that reads it; trimming waits for all of them
	Key    func(E) string // events with equal keys keep their order; it picks the partition. nil: one partition, Name itself
}

// Partition is a partition that this process owns as the one active reader of a
// group, by lease.
type Partition struct {
	Number     int
	Generation uint64 // higher for each new owner, over all processes
}

// Consumer reads one partition, or one unpartitioned topic, from the moment it
// is owned until it is given up. Its methods are called one at a time.
type Consumer[E any] interface {
	// Consume handles one batch, in order: the events of one bus message, or of several
	// that lay there together (at most 1,024 events). nil acknowledges it; an error has it
	// tried again with backoff (RetryLimit times, then it is dead-lettered; ErrUnavailable
	// never counts), unless it is Permanent: then it is dead-lettered at once. A batch of several
	// messages that fails is tried again message by message, so that only what fails is dead-lettered.
	// The context ends when the partition is lost.
	Consume(ctx context.Context, batch []E) error
	// Missed is told that messages of the writer with this scope are gone for good.
	Missed(ctx context.Context, scope string)
	// Close is called once, after the last Consume; no message follows.
	Close()
}

// ErrUnavailable: the broker did not take it in time, or the buffer before it is
// full. Whether it was taken is unknown.
var ErrUnavailable = errors.New("bus unavailable")

// ErrNoTopic is an ErrUnavailable: the topic is not there, and not the publisher's to make.
var ErrNoTopic = fmt.Errorf("%w: there is no such topic", ErrUnavailable)

// ErrOverloaded is an ErrUnavailable: the topic's unread bytes are over its
// high-water mark, or the buffer before the broker is full. Nothing was sent.
var ErrOverloaded = overloaded{}

type overloaded struct{}

func (overloaded) Error() string        { return "bus overloaded" }
func (overloaded) Is(target error) bool { return target == ErrUnavailable }

// Permanent marks a handler's error as one that trying again cannot mend: the
// batch is dead-lettered and acknowledged.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return &permanentError{err}
}

type permanentError struct{ error }

func (e *permanentError) Unwrap() error { return e.error }

// Depth is how much of a topic a group has not acknowledged.
type Depth struct {
	Messages int64 // bus messages, each a batch
	Pending  int64 // of them, those that a reader was given; 0 where the broker keeps no such list (NATS)
	Bytes    int64 // estimated from the mean size
}

// LeaseTTL is how long a lease or an announcement outlives its holder; it is
// renewed every third of it. See docs/architecture.md for why 6 s.
const LeaseTTL = 6 * time.Second
