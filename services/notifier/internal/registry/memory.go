// Package registry is the projection of who is connected for whoever asks: per
// user the sessions, per node how many there are. Nothing is routed by it. The
// notifier that owns a partition writes its users, whole and again every few
// minutes; what nobody writes any more goes after [TTL]. A write under a lower
// generation than the partition's last is ignored, so that an owner of before
// cannot undo what the present one wrote.
package registry

import (
	"context"
	"sync"
	"time"

	"github.com/parley-chat/parley/shared/event"

	"github.com/parley-chat/parley/services/notifier/internal/presence"
)

// TTL is how long a user stays without being written.
const TTL = 10 * time.Minute

// Owner says which partition is spoken of, and under which generation it is held.
type Owner struct {
	Partition  int
	Generation uint64
}

// Memory is the registry of a single process. Safe for concurrent use.
type Memory struct {
	now func() time.Time

	mu    sync.Mutex
	users map[userKey]entry
	nodes map[int]counts
	swept time.Time
}

type userKey struct {
	partition int
	user      event.UserID
}

type entry struct {
	generation uint64
	sessions   []presence.Session
	until      time.Time
}

type counts struct {
	generation uint64
	sessions   map[event.NodeID]int
}

// NewMemory returns an empty registry. now is the clock: time.Now as a rule.
func NewMemory(now func() time.Time) *Memory {
	return &Memory{now: now, users: map[userKey]entry{}, nodes: map[int]counts{}}
}

// Replace makes the users' sessions what is given.
func (m *Memory) Replace(_ context.Context, o Owner, users []presence.User) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	m.sweep(now)
	for _, u := range users {
		k := userKey{o.Partition, u.ID}
		if m.users[k].generation <= o.Generation {
			m.users[k] = entry{o.Generation, u.Sessions, now.Add(TTL)}
		}
	}
	return nil
}

// Count makes the partition's sessions per node what is given.
func (m *Memory) Count(_ context.Context, o Owner, sessions map[event.NodeID]int) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.nodes[o.Partition].generation <= o.Generation {
		m.nodes[o.Partition] = counts{o.Generation, sessions}
	}
	return nil
}

// Find returns the sessions of each user, in the order asked.
func (m *Memory) Find(_ context.Context, partition int, users []event.UserID) ([][]presence.Session, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	found := make([][]presence.Session, len(users))
	for i, u := range users {
		if e := m.users[userKey{partition, u}]; now.Before(e.until) {
			found[i] = current(e.sessions, now.UnixMilli())
		}
	}
	return found, nil
}

// Nodes returns the sessions per node whose users lie in the partition.
func (m *Memory) Nodes(_ context.Context, partition int) (map[event.NodeID]int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.nodes[partition].sessions, nil
}

// Close does nothing.
func (m *Memory) Close() error { return nil }

// sweep removes, once a TTL, what nobody wrote for so long.
func (m *Memory) sweep(now time.Time) {
	if now.Sub(m.swept) < TTL {
		return
	}
	m.swept = now
	for k, e := range m.users {
		if !now.Before(e.until) {
			delete(m.users, k)
		}
	}
}

// current leaves out held rows whose hold is over.
func current(sessions []presence.Session, nowMS int64) []presence.Session {
	var out []presence.Session
	for _, s := range sessions {
		if s.Until == 0 || s.Until > nowMS {
			out = append(out, s)
		}
	}
	return out
}
