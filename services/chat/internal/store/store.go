// Package store keeps the logs of rooms, and decides nothing about them. A
// partition's logs stand behind one guard key: who opened the partition last has
// a higher generation, and a batch is appended whole or not at all, by the owner
// that wrote last ([Log]). A stale owner, a lost tail and an emptied store fail the
// same test. There are two places to keep logs, memory and Redis, with one meaning.
package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/parley-chat/parley/services/chat/internal/room"
	"github.com/parley-chat/parley/shared/event"
	"github.com/parley-chat/parley/shared/redisclient"
)

// What a caller branches on.
var (
	// ErrUnavailable: the store cannot be reached or refuses for now. Try again later.
	ErrUnavailable = errors.New("store unavailable")
	// ErrFenced: the partition has a newer owner.
	ErrFenced = errors.New("the partition was taken over by another owner")
	// ErrLost: the store does not have what this owner wrote. Call [Log.Renew].
	ErrLost = errors.New("the store lost entries of the partition")
	// ErrPartitions: the store was made for another number of partitions.
	ErrPartitions = errors.New("the number of partitions is fixed")

	errUnknown = errors.New("outcome unknown")
)

// Memory is the URL of a store in this process's memory.
const Memory = "memory://"

// Store is where logs are kept. Safe for concurrent use.
type Store struct{ engine engine }

// Open returns the store at a URL, memory:// or one of Redis; every key in Redis
// begins with the prefix. It does not connect yet: that is for Verify. Errors of Redis are
// counted in the registry, which may be nil.
func Open(url, prefix string, d Durability, registry prometheus.Registerer) (*Store, error) {
	if strings.HasPrefix(url, Memory) {
		if d != Fast && d != "" {
			return nil, fmt.Errorf("%w: %s is for a store on Redis, and PARLEY_STORE is memory://, which keeps nothing; allowed is %s", ErrDurability, d, Fast)
		}
		return &Store{newMemory()}, nil
	}
	if !redisclient.Is(url) {
		return nil, fmt.Errorf("PARLEY_STORE: %q is no store: want memory:// or the URL of a Redis, such as redis://127.0.0.1:6379/0", redisclient.Redact(url))
	}
	o, err := redisclient.Options(url)
	if err != nil {
		return nil, fmt.Errorf("PARLEY_STORE: %w", err)
	}
	engine := newRedis(o, prefix, d)
	redisclient.CountErrors(engine.client, registry, "rooms")
	return &Store{engine}, nil
}

// Settle fixes the number of partitions at the first start, and refuses another
// one (ErrPartitions) ever after: it decides in which log a room is.
func (s *Store) Settle(ctx context.Context, partitions int) error {
	inForce, err := s.engine.settle(ctx, "partitions", strconv.Itoa(partitions))
	if err != nil {
		return fmt.Errorf("settle the number of partitions: %w", err)
	}
	if inForce != strconv.Itoa(partitions) {
		return fmt.Errorf("%w: the store was made with PARLEY_PARTITIONS=%s and this process has %d; start it with %s, or give it an empty store or another PARLEY_PREFIX",
			ErrPartitions, inForce, partitions, inForce)
	}
	return nil
}

// Verify looks whether the server can keep the durability of Open (ErrDurability)
// and returns what is to be said about its settings, a sentence each.
func (s *Store) Verify(ctx context.Context) ([]string, error) {
	if err := s.engine.verify(ctx, 0); err != nil {
		return nil, err
	}
	return s.engine.concerns(ctx, 0)
}

// Heads returns where the rooms' logs begin and end, in the rooms' order.
func (s *Store) Heads(ctx context.Context, partition int, rooms []event.RoomID) ([]Head, error) {
	if len(rooms) == 0 {
		return nil, nil
	}
	heads, err := s.engine.heads(ctx, partition, rooms)
	if err != nil {
		return nil, fmt.Errorf("read %d heads: %w", len(rooms), err)
	}
	return heads, nil
}

// tailChunk is how many entries of a tail are read at once.
const tailChunk = 250

// Tail returns a function that gives the entries of a log from the head down, and
// false after the oldest.
func (s *Store) Tail(ctx context.Context, partition int, id event.RoomID, head uint64) func() (event.Entry, bool, error) {
	var chunk []event.Entry
	to := head
	return func() (event.Entry, bool, error) {
		if len(chunk) == 0 && to > 0 {
			var err error
			if chunk, err = scanOne(ctx, s.engine, partition, span{id, 1, to, tailChunk, true}); err != nil {
				return event.Entry{}, false, fmt.Errorf("read the tail of room %s: %w", id, err)
			}
			to = 0
			if len(chunk) == tailChunk {
				to = chunk[len(chunk)-1].Seq - 1
			}
		}
		if len(chunk) == 0 {
			return event.Entry{}, false, nil
		}
		e := chunk[0]
		chunk = chunk[1:]
		return e, true, nil
	}
}

// Between returns the entries from … to, ascending, at most n.
func (s *Store) Between(ctx context.Context, partition int, id event.RoomID, from, to uint64, n int) ([]event.Entry, error) {
	entries, err := scanOne(ctx, s.engine, partition, span{id, from, to, n, false})
	if err != nil {
		return nil, fmt.Errorf("read entries %d to %d of room %s: %w", from, to, id, err)
	}
	return entries, nil
}

// Close ends the store; no call may follow.
func (s *Store) Close() error { return s.engine.close() }

// pageChunk is how many entries of a page are read at once: bodies may be long,
// and a page is bounded in bytes.
const pageChunk = 50

// Question asks for a page of a room's history.
type Question struct {
	Room event.RoomID
	event.ReadHistory
}

// Pages reads pages of history, in the order of the questions; without the entries where they
// are those of the page that the asker holds, which must be of the present epoch. The caller
// fills in the epoch.
func (s *Store) Pages(ctx context.Context, partition int, questions ...Question) ([]event.PageRead, error) {
	rooms := make([]event.RoomID, len(questions))
	for i, q := range questions {
		rooms[i] = q.Room
	}
	heads, err := s.Heads(ctx, partition, rooms)
	if err != nil {
		return nil, err
	}
	pages := make([]event.PageRead, len(questions))
	var reads []*pageRead
	for i, q := range questions {
		page := &pages[i]
		page.Floor, page.Head = max(heads[i].Floor, 1), heads[i].Head
		if q.After != nil {
			page.After = *q.After
		}
		b := room.Page(q.ReadHistory, page.Floor, page.Head)
		if h := q.Have; h != nil && room.Page(q.ReadHistory, h.Floor, h.Head) == b {
			page.Same = true
		} else if !b.Empty() {
			reads = append(reads, &pageRead{page: page, room: q.Room, bounds: b, rest: b})
		}
	}
	if err := s.read(ctx, partition, reads); err != nil {
		return nil, fmt.Errorf("read %d pages of history: %w", len(reads), err)
	}
	return pages, nil
}

// read reads all pages, a chunk of each at a time.
func (s *Store) read(ctx context.Context, partition int, reads []*pageRead) error {
	for len(reads) > 0 {
		spans := make([]span, len(reads))
		for i, r := range reads {
			spans[i] = r.next()
		}
		chunks, err := s.engine.scan(ctx, partition, spans...)
		if err != nil {
			return err
		}
		var more []*pageRead
		for i, r := range reads {
			if r.take(chunks[i], spans[i].n) {
				more = append(more, r)
			} else {
				r.finish()
			}
		}
		reads = more
	}
	return nil
}

// pageRead is a page that is being read.
type pageRead struct {
	page    *event.PageRead
	room    event.RoomID
	bounds  room.Bounds
	rest    room.Bounds
	entries []event.Entry
	size    int
}

func (r *pageRead) next() span {
	return span{r.room, r.rest.From, r.rest.To, min(pageChunk, r.rest.Limit-len(r.entries)), r.rest.Backward}
}

// take adds a chunk, of which n entries were asked for, and tells whether there is more to read:
// the page has not all that it may have.
func (r *pageRead) take(chunk []event.Entry, n int) bool {
	for _, e := range chunk {
		r.size += entrySize(e)
		if r.size > room.MaxPageBytes && len(r.entries) > 0 {
			return false
		}
		r.entries = append(r.entries, e)
	}
	if len(chunk) < n {
		return false
	}
	if last := chunk[n-1].Seq; r.rest.Backward {
		r.rest.To = last - 1
	} else {
		r.rest.From = last + 1
	}
	return len(r.entries) < r.rest.Limit && !r.rest.Empty()
}

func (r *pageRead) finish() {
	entries := ascending(r.entries, r.bounds.Backward)
	r.page.Entries = entries
	if n := len(entries); n > 0 {
		r.page.More = r.bounds.More(entries[0].Seq, entries[n-1].Seq)
		if !r.bounds.Backward && entries[0].Seq > r.bounds.From { // trimmed meanwhile
			r.page.Floor = entries[0].Seq
		}
	}
}
