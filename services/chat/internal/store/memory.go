package store

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/parley-chat/parley/shared/event"
)

// memoryEngine keeps logs as long as the process lives.
type memoryEngine struct {
	mu         sync.Mutex
	settled    map[string]string
	partitions map[int]*memoryPartition
}

type memoryPartition struct {
	raw    string
	record record
	logs   map[event.RoomID]*memoryLog
}

// memoryLog has entries with seqs base+1, base+2 …; oldest is when its age is due.
type memoryLog struct {
	entries []event.Entry
	oldest  int64
}

func newMemory() *memoryEngine {
	return &memoryEngine{settled: map[string]string{}, partitions: map[int]*memoryPartition{}}
}

// at returns the partition; the lock must be held.
func (m *memoryEngine) at(partition int) *memoryPartition {
	p := m.partitions[partition]
	if p == nil {
		p = &memoryPartition{logs: map[event.RoomID]*memoryLog{}}
		m.partitions[partition] = p
	}
	return p
}

func (m *memoryEngine) settle(_ context.Context, name, value string) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.settled[name]; !ok {
		m.settled[name] = value
	}
	return m.settled[name], nil
}

func (m *memoryEngine) look(_ context.Context, partition int) (sight, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.at(partition)
	return sight{raw: p.raw, guard: parseGuard(p.raw), record: p.record, run: "memory", now: time.Now().UnixMilli()}, nil
}

func (m *memoryEngine) raise(_ context.Context, partition int, was string, to guard, r record) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.at(partition)
	if p.raw != was {
		return false, nil
	}
	p.raw, p.record = to.String(), parseRecord(r.String())
	return true, nil
}

func (m *memoryEngine) append(_ context.Context, partition int, was, to guard, batch []Write) (verdict, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.at(partition)
	if p.raw != was.String() {
		return refused, nil
	}
	for _, w := range batch {
		if p.head(w.Room) != w.Entries[0].Seq-1 {
			return torn, nil
		}
	}
	for _, w := range batch {
		log := p.logs[w.Room]
		switch {
		case log == nil:
			log = &memoryLog{oldest: w.Entries[0].At}
			p.logs[w.Room] = log
		case log.oldest == never:
			log.oldest = 0
		}
		log.entries = append(log.entries, w.Entries...)
		log.trim(w.Floor)
	}
	p.raw = to.String()
	return done, nil
}

func (p *memoryPartition) head(room event.RoomID) uint64 {
	log := p.logs[room]
	if log == nil || len(log.entries) == 0 {
		return 0
	}
	return log.entries[len(log.entries)-1].Seq
}

// trim drops the entries below floor, and their memory from time to time.
func (l *memoryLog) trim(floor uint64) {
	if len(l.entries) == 0 || floor <= l.entries[0].Seq {
		return
	}
	n := min(int(floor-l.entries[0].Seq), len(l.entries)-1)
	clear(l.entries[:n])
	l.entries = l.entries[n:]
	if cap(l.entries) > 64 && len(l.entries) < cap(l.entries)/4 {
		l.entries = slices.Clone(l.entries)
	}
}

func (m *memoryEngine) heads(_ context.Context, partition int, rooms []event.RoomID) ([]Head, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.at(partition)
	heads := make([]Head, len(rooms))
	for i, room := range rooms {
		if log := p.logs[room]; log != nil && len(log.entries) > 0 {
			heads[i] = Head{Floor: log.entries[0].Seq, Head: p.head(room)}
		} else {
			heads[i].Gone = log != nil
		}
	}
	return heads, nil
}

func (m *memoryEngine) scan(_ context.Context, partition int, spans ...span) ([][]event.Entry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	found := make([][]event.Entry, len(spans))
	for i, s := range spans {
		if log := m.at(partition).logs[s.room]; log != nil {
			found[i] = s.of(log.entries)
		}
	}
	return found, nil
}

// of is a copy of what the span has of a whole log.
func (s span) of(log []event.Entry) []event.Entry {
	if len(log) == 0 {
		return nil
	}
	first, head := log[0].Seq, log[len(log)-1].Seq
	from, to := max(s.from, first), min(s.to, head)
	if from > to {
		return nil
	}
	found := log[from-first : to-first+1]
	if s.backward {
		found = slices.Clone(found[max(0, len(found)-s.n):])
		slices.Reverse(found)
		return found
	}
	return slices.Clone(found[:min(s.n, len(found))])
}

func (m *memoryEngine) due(_ context.Context, partition int, cutoff int64, n int) ([]event.RoomID, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var rooms []event.RoomID
	for room, log := range m.at(partition).logs {
		if log.oldest <= cutoff && len(rooms) < n {
			rooms = append(rooms, room)
		}
	}
	return rooms, nil
}

func (m *memoryEngine) trim(_ context.Context, partition int, was guard, room event.RoomID, floor uint64, oldest int64) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.at(partition)
	if p.raw != was.String() {
		return false, nil
	}
	if log := p.logs[room]; log != nil {
		log.trim(floor)
		log.oldest = oldest
	}
	return true, nil
}

func (m *memoryEngine) forget(_ context.Context, partition int, was guard, rooms []event.RoomID) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.at(partition)
	if p.raw != was.String() {
		return false, nil
	}
	for _, room := range rooms {
		if p.head(room) == 0 {
			delete(p.logs, room)
		}
	}
	return true, nil
}

func (m *memoryEngine) syncs(context.Context, int) bool { return true }

func (m *memoryEngine) confirms() bool { return false }

func (m *memoryEngine) verify(context.Context, int) error { return nil }

func (m *memoryEngine) concerns(context.Context, int) ([]string, error) { return nil, nil }

func (m *memoryEngine) close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	maps.DeleteFunc(m.partitions, func(int, *memoryPartition) bool { return true })
	return nil
}
