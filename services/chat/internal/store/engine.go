package store

import (
	"context"
	"crypto/rand"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/parley-chat/parley/shared/event"
)

// engine is a place that keeps logs. Each method is one atomic step there; what
// the steps mean stands once, in [Store] and [Log]. Its errors wrap ErrUnavailable
// when the place cannot be reached or refuses for now, and errUnknown as well
// when a write may have happened all the same. Safe for concurrent use.
type engine interface {
	// settle writes the value under the name unless there is one, and returns
	// the one in force.
	settle(ctx context.Context, name, value string) (string, error)
	// look reads what stands beside the logs of a partition.
	look(ctx context.Context, partition int) (sight, error)
	// raise writes guard and record, unless the guard is not exactly was ("": none).
	raise(ctx context.Context, partition int, was string, to guard, r record) (bool, error)
	// append writes all of the batch and the guard, or nothing.
	append(ctx context.Context, partition int, was, to guard, batch []Write) (verdict, error)
	// heads returns the logs' heads, in the order of the rooms.
	heads(ctx context.Context, partition int, rooms []event.RoomID) ([]Head, error)
	// scan returns the entries of each span, in their order.
	scan(ctx context.Context, partition int, spans ...span) ([][]event.Entry, error)
	// due returns at most n rooms whose oldest entry was made at cutoff (Unix ms) or before.
	due(ctx context.Context, partition int, cutoff int64, n int) ([]event.RoomID, error)
	// trim removes the entries below floor and notes when the oldest was made (Unix
	// ms; never: only the next entry makes the room due), unless the guard is not exactly was.
	trim(ctx context.Context, partition int, was guard, room event.RoomID, floor uint64, oldest int64) (bool, error)
	// forget drops what is remembered of rooms whose logs are gone, unless the guard is not exactly was.
	forget(ctx context.Context, partition int, was guard, rooms []event.RoomID) (bool, error)
	// syncs tells whether the place has every acknowledged write on disk.
	syncs(ctx context.Context, partition int) bool
	// confirms tells whether a write counts only when it was confirmed: one whose
	// reply is lost does not count, although it turns out to be there.
	confirms() bool
	// verify looks whether the place can keep the durability that it was opened with (ErrDurability).
	verify(ctx context.Context, partition int) error
	// concerns are sentences about settings of the place that put logs at risk.
	concerns(ctx context.Context, partition int) ([]string, error)
	close() error
}

// span is at most n of a log's entries from … to (inclusive): the oldest, ascending,
// or when backward the newest, descending.
type span struct {
	room     event.RoomID
	from, to uint64
	n        int
	backward bool
}

// scanOne is scan of one span.
func scanOne(ctx context.Context, e engine, partition int, s span) ([]event.Entry, error) {
	found, err := e.scan(ctx, partition, s)
	if err != nil {
		return nil, err
	}
	return found[0], nil
}

// verdict is what became of an append.
type verdict int

const (
	done    verdict = iota
	refused         // the guard is another; nothing was written
	torn            // the guard fits, a log does not: its head is not where it was left; nothing was written
)

// Write is what an append adds to one room: entries whose seqs continue its log,
// and the floor below which the log is trimmed (0: not at all).
type Write struct {
	Room    event.RoomID
	Entries []event.Entry
	Floor   uint64
}

// Head is where a log begins and ends: its oldest and newest seq; 0 and 0 when
// there is none. Gone tells that there was one.
type Head struct {
	Floor, Head uint64
	Gone        bool
}

// never stands for the time of an oldest entry that is kept although it is too old.
const never = math.MaxInt64

// guard is a partition's fence: whoever opened it last, and that owner's last batch.
type guard struct{ generation, n uint64 }

func (g guard) String() string {
	return strconv.FormatUint(g.generation, 10) + "." + strconv.FormatUint(g.n, 10)
}

// parseGuard returns the zero guard, which no owner ever has, for what is none.
func parseGuard(s string) guard {
	generation, n, ok := strings.Cut(s, ".")
	a, err1 := strconv.ParseUint(generation, 10, 64)
	b, err2 := strconv.ParseUint(n, 10, 64)
	if !ok || err1 != nil || err2 != nil {
		return guard{}
	}
	return guard{a, b}
}

// record is what is kept beside the guard.
type record struct {
	epoch event.Epoch
	run   string // the run_id of the server that the epoch was last seen whole on
	lease uint64 // the bus generation of the owner that opened the partition last
	told  bool   // the change to this epoch was published
	sure  bool   // since the epoch began, there was always somebody who knew that nothing was lost
}

func (r record) String() string {
	return fmt.Sprintf("%s %s %d %t %t", r.epoch, orDash(r.run), r.lease, r.told, r.sure)
}

// parseRecord returns a record without an epoch for what is none.
func parseRecord(s string) record {
	f := strings.Fields(s)
	if len(f) < 5 {
		return record{}
	}
	lease, err := strconv.ParseUint(f[2], 10, 64)
	if err != nil {
		return record{}
	}
	return record{epoch: event.Epoch(f[0]), run: f[1], lease: lease, told: f[3] == "true", sure: f[4] == "true"}
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// newEpoch returns a tag that no partition had before, short enough to read out.
func newEpoch() event.Epoch { return event.Epoch(strings.ToLower(rand.Text()[:10])) }

// sight is what an owner sees of its partition.
type sight struct {
	raw      string // the guard as it is written; empty: none
	guard    guard
	record   record
	run      string // the server's run_id; empty: it does not tell
	promoted bool   // the server was a replica once: it may lack what its master had
	now      int64  // the server's clock, Unix ms
}
