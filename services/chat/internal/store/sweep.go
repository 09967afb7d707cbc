package store

import (
	"context"
	"fmt"
	"time"

	"github.com/parley-chat/parley/shared/event"
)

// sweepChunk is how many entries of a room one sweep removes at most.
const sweepChunk = 200

// Trimmed is a room whose log was trimmed; Floor is its oldest entry now.
type Trimmed struct {
	Room  event.RoomID
	Floor uint64
}

// Sweep removes entries older than age at the time now from at most n rooms,
// never a room's newest. A room is looked at again when its oldest entry is too
// old by a hundredth of age, at most ten minutes.
func (l *Log) Sweep(ctx context.Context, now time.Time, age time.Duration, n int) ([]Trimmed, error) {
	if err := l.mend(ctx); err != nil {
		return nil, fmt.Errorf("sweep partition %d: %w", l.partition, err)
	}
	cutoff := now.Add(-age).UnixMilli()
	rooms, err := l.engine.due(ctx, l.partition, cutoff, n)
	if err != nil {
		return nil, fmt.Errorf("sweep partition %d: %w", l.partition, err)
	}
	var trimmed []Trimmed
	for _, room := range rooms {
		floor, err := l.sweepRoom(ctx, room, cutoff, min(age/100, 10*time.Minute).Milliseconds())
		if err != nil {
			return trimmed, fmt.Errorf("sweep room %s: %w", room, err)
		}
		trimmed = append(trimmed, Trimmed{room, floor})
	}
	return trimmed, nil
}

func (l *Log) sweepRoom(ctx context.Context, room event.RoomID, cutoff, slack int64) (uint64, error) {
	entries, err := scanOne(ctx, l.engine, l.partition, span{room, 1, ^uint64(0), sweepChunk, false})
	if err != nil {
		return 0, err
	}
	floor, oldest := uint64(0), cutoff+slack
	for i, e := range entries {
		floor = e.Seq
		switch {
		case e.At >= cutoff:
			oldest = max(e.At, cutoff+slack)
		case i < len(entries)-1:
			continue
		case len(entries) == sweepChunk:
			oldest = e.At // there is more: soon again
		default:
			oldest = never
		}
		break
	}
	ok, err := l.engine.trim(ctx, l.partition, l.guard, room, floor, oldest)
	if err == nil && !ok {
		err = fmt.Errorf("%w: the guard is another", ErrUnavailable)
	}
	return floor, err
}
