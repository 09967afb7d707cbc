package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/parley-chat/parley/shared/event"
)

// Log is a partition as its owner holds it. Not safe for concurrent use.
//
// A method that fails leaves open what is in the store; the owner drops the
// rooms that it has in memory and decides anew. After an append whose outcome
// could not be learnt the next call raises the generation, so that the lost
// script, should it still run, is refused.
type Log struct {
	engine    engine
	partition int
	lease     uint64

	guard  guard // what this owner wrote last
	record record
	doubt  bool // a script whose reply was lost may have run, or may still
}

// Open takes a partition over: it raises the generation, which fences every
// earlier owner. lease is the bus generation of the new owner; when a later one
// has been here it is ErrFenced.
func (s *Store) Open(ctx context.Context, partition int, lease uint64) (*Log, error) {
	if err := s.engine.verify(ctx, partition); err != nil {
		return nil, fmt.Errorf("open partition %d: %w: %w", partition, ErrUnavailable, err)
	}
	l := &Log{engine: s.engine, partition: partition, lease: lease}
	err := l.retake(ctx, func(seen sight) (record, error) {
		if seen.record.lease > lease {
			return record{}, ErrFenced
		}
		return l.inherit(ctx, seen), nil
	})
	if err != nil {
		return nil, fmt.Errorf("open partition %d: %w", partition, err)
	}
	return l, nil
}

// inherit decides whether a new owner keeps the epoch that it finds.
func (l *Log) inherit(ctx context.Context, seen sight) record {
	r := seen.record
	switch {
	case seen.guard == guard{} || r.epoch == "":
		return l.fresh(seen) // never used, or emptied
	case r.run == orDash(seen.run):
	case !seen.promoted && l.engine.syncs(ctx, l.partition):
		r.sure = false // the server says that nothing was lost; nobody saw it
	default:
		return l.fresh(seen)
	}
	r.run, r.lease = seen.run, l.lease
	return r
}

func (l *Log) fresh(seen sight) record {
	return record{epoch: newEpoch(), run: seen.run, lease: l.lease, sure: true}
}

// retake raises the generation above the one that stands there and writes the
// record that decide makes of what it sees.
func (l *Log) retake(ctx context.Context, decide func(sight) (record, error)) error {
	for range 8 { // each round is lost to somebody else's; they cannot all be
		seen, err := l.engine.look(ctx, l.partition)
		if err != nil {
			return err
		}
		r, err := decide(seen)
		if err != nil {
			return err
		}
		to := guard{generation: max(seen.guard.generation+1, l.guard.generation+1, uint64(seen.now))}
		ok, err := l.engine.raise(ctx, l.partition, seen.raw, to, r)
		if err != nil {
			l.doubt = l.doubt || errors.Is(err, errUnknown)
			return err
		}
		if ok {
			l.guard, l.record, l.doubt = to, r, false
			return nil
		}
	}
	return fmt.Errorf("%w: the guard keeps changing", ErrUnavailable)
}

// Generation is what fences this owner; it rises when the log had to be retaken.
func (l *Log) Generation() uint64 { return l.guard.generation }

// Epoch is the partition's.
func (l *Log) Epoch() event.Epoch { return l.record.epoch }

// Untold tells that the change to this epoch may not have been published.
func (l *Log) Untold() bool { return !l.record.told }

// Told notes that the epoch was published.
func (l *Log) Told(ctx context.Context) error {
	r := l.record
	r.told = true
	return l.note(ctx, r)
}

// Sure tells whether it is known that nothing of this epoch was lost. Otherwise a
// cursor beyond a head is reason enough to Renew.
func (l *Log) Sure() bool { return l.record.sure }

// Append writes the batch by one atomic step, or nothing of it. Every Write has
// at least one entry, and no room occurs twice.
func (l *Log) Append(ctx context.Context, batch []Write) error {
	if err := l.mend(ctx); err != nil {
		return fmt.Errorf("append to partition %d: %w", l.partition, err)
	}
	if len(batch) == 0 {
		return nil
	}
	var err error
	for range 2 { // once more when the first one's reply was lost and nothing was written
		var again bool
		if again, err = l.try(ctx, batch); err == nil || !again {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("append to partition %d: %w", l.partition, err)
	}
	return nil
}

// try appends once; when its reply is lost, the guard tells what became of it.
func (l *Log) try(ctx context.Context, batch []Write) (again bool, err error) {
	to := guard{l.guard.generation, l.guard.n + 1}
	v, err := l.engine.append(ctx, l.partition, l.guard, to, batch)
	switch {
	case err == nil && v == done:
		l.guard, l.doubt = to, false
		return false, nil
	case err == nil && v == torn:
		return false, ErrLost
	case err != nil && !errors.Is(err, errUnknown):
		if !errors.Is(err, ErrUnavailable) {
			l.doubt = true // the script stopped where it should not; it may have written a part
		}
		return false, err
	case err != nil:
		l.doubt = true
	}
	seen, lookErr := l.engine.look(ctx, l.partition)
	if lookErr != nil {
		return false, errors.Join(err, lookErr)
	}
	switch seen.guard {
	case to:
		l.guard, l.doubt = to, false
		if l.engine.confirms() {
			return false, l.note(ctx, l.record) // it is there; a write behind it is confirmed only with it
		}
		return false, nil
	case l.guard: // the first script may still come; then the second one is refused, and this one is in
		return true, fmt.Errorf("%w: the batch was not written", ErrUnavailable)
	}
	return false, l.judge(seen)
}

// Check compares the store with what this owner wrote last. nil: it is whole.
func (l *Log) Check(ctx context.Context) error {
	if err := l.mend(ctx); err != nil {
		return fmt.Errorf("check partition %d: %w", l.partition, err)
	}
	seen, err := l.engine.look(ctx, l.partition)
	if err != nil {
		return fmt.Errorf("check partition %d: %w", l.partition, err)
	}
	if err := l.judge(seen); err != nil {
		return fmt.Errorf("check partition %d: %w", l.partition, err)
	}
	if l.record.run == orDash(seen.run) || l.record.run == seen.run {
		return nil
	}
	if err := l.engine.verify(ctx, l.partition); err != nil { // it may be another server, or have other settings
		return fmt.Errorf("check partition %d: %w: %w", l.partition, ErrUnavailable, err)
	}
	r := l.record
	r.run = seen.run // it was restarted and has everything
	return l.note(ctx, r)
}

// judge compares what stands in the store with what this owner wrote last. Who
// has the later lease is in the right: an owner that lost its lease may still
// have been the first to give an emptied store a new epoch.
func (l *Log) judge(seen sight) error {
	higher := seen.guard.generation > l.guard.generation
	same := seen.record.epoch == l.record.epoch
	switch {
	case higher && seen.record.lease > l.lease, higher && seen.record.lease == l.lease && !l.doubt:
		return ErrFenced
	case same && seen.guard == l.guard:
		return nil
	case same && l.doubt && (higher || seen.guard == guard{l.guard.generation, l.guard.n + 1}):
		return nil // what was in doubt happened
	}
	return ErrLost
}

// mend retakes the log after an append whose outcome is unknown.
func (l *Log) mend(ctx context.Context) error {
	if !l.doubt {
		return nil
	}
	return l.retake(ctx, func(seen sight) (record, error) {
		if err := l.judge(seen); err != nil {
			return record{}, err
		}
		r := l.record
		r.run = seen.run
		return r, nil
	})
}

// Renew gives the partition a new epoch, after ErrLost.
func (l *Log) Renew(ctx context.Context) error {
	err := l.retake(ctx, func(seen sight) (record, error) {
		if seen.guard.generation > l.guard.generation && seen.record.lease > l.lease {
			return record{}, ErrFenced
		}
		return l.fresh(seen), nil
	})
	if err != nil {
		return fmt.Errorf("renew the epoch of partition %d: %w", l.partition, err)
	}
	return nil
}

// Forget takes note, after Renew, that the rooms whose logs are gone begin anew;
// otherwise they would count as lost for ever. Rooms that have a log stay.
func (l *Log) Forget(ctx context.Context, rooms []event.RoomID) error {
	if len(rooms) == 0 {
		return nil
	}
	ok, err := l.engine.forget(ctx, l.partition, l.guard, rooms)
	if err == nil && !ok {
		err = fmt.Errorf("%w: the guard is another", ErrUnavailable)
	}
	if err != nil {
		return fmt.Errorf("forget %d rooms of partition %d: %w", len(rooms), l.partition, err)
	}
	return nil
}

// note writes the record and leaves the guard as it is.
func (l *Log) note(ctx context.Context, r record) error {
	ok, err := l.engine.raise(ctx, l.partition, l.guard.String(), l.guard, r)
	if err != nil {
		l.doubt = l.doubt || errors.Is(err, errUnknown)
		return fmt.Errorf("write the record of partition %d: %w", l.partition, err)
	}
	if !ok {
		return fmt.Errorf("write the record of partition %d: %w: the guard is another", l.partition, ErrUnavailable)
	}
	l.record = r
	return nil
}
