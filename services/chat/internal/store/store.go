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
			if chunk, err = s.engine.scan(ctx, partition, id, 1, to, tailChunk, true); err != nil {
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
	entries, err := s.engine.scan(ctx, partition, id, from, to, n, false)
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

// Page reads a page of history, unless its entries are those of the page that the
// asker holds, which must be of the present epoch. The caller fills in the epoch.
func (s *Store) Page(ctx context.Context, partition int, id event.RoomID, r event.ReadHistory) (event.PageRead, error) {
	heads, err := s.Heads(ctx, partition, []event.RoomID{id})
	if err != nil {
		return event.PageRead{}, err
	}
	page := event.PageRead{Floor: max(heads[0].Floor, 1), Head: heads[0].Head}
	if r.After != nil {
		page.After = *r.After
	}
	b := room.Page(r, page.Floor, page.Head)
	if h := r.Have; h != nil && room.Page(r, h.Floor, h.Head) == b {
		page.Same = true
		return page, nil
	}
	if b.Empty() {
		return page, nil
	}
	entries, err := s.read(ctx, partition, id, b)
	if err != nil {
		return event.PageRead{}, fmt.Errorf("read a page of room %s: %w", id, err)
	}
	page.Entries = entries
	if n := len(entries); n > 0 {
		page.More = b.More(entries[0].Seq, entries[n-1].Seq)
		if !b.Backward && entries[0].Seq > b.From { // trimmed meanwhile
			page.Floor = entries[0].Seq
		}
	}
	return page, nil
}

// read returns the entries within the bounds, ascending, as many as a page may have.
func (s *Store) read(ctx context.Context, partition int, id event.RoomID, b room.Bounds) ([]event.Entry, error) {
	var entries []event.Entry
	size := 0
	for len(entries) < b.Limit && !b.Empty() {
		n := min(pageChunk, b.Limit-len(entries))
		chunk, err := s.engine.scan(ctx, partition, id, b.From, b.To, n, b.Backward)
		if err != nil {
			return nil, err
		}
		for _, e := range chunk {
			size += entrySize(e)
			if size > room.MaxPageBytes && len(entries) > 0 {
				return ascending(entries, b.Backward), nil
			}
			entries = append(entries, e)
		}
		if len(chunk) < n {
			break
		}
		if last := chunk[len(chunk)-1].Seq; b.Backward {
			b.To = last - 1
		} else {
			b.From = last + 1
		}
	}
	return ascending(entries, b.Backward), nil
}
