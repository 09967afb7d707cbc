package membus

import (
	"context"
	"slices"
	"time"

	"github.com/parley-chat/parley/shared/bus"
)

type lease struct {
	holder     string
	generation uint64
	expires    time.Time
}

// Lease takes or renews the lease.
func (b *Backend) Lease(_ context.Context, name, holder string, ttl time.Duration) (bus.Lease, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	l := b.leases[name]
	switch {
	case l == nil || now.After(l.expires):
		b.last = max(b.last+1, uint64(now.UnixMilli()))
		l = &lease{holder: holder, generation: b.last}
		b.leases[name] = l
	case l.holder != holder:
		return bus.Lease{}, nil
	}
	l.expires = now.Add(ttl)
	return bus.Lease{Held: true, Generation: l.generation}, nil
}

// Release gives the lease up.
func (b *Backend) Release(_ context.Context, name, holder string, generation uint64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if l := b.leases[name]; l != nil && l.holder == holder && l.generation == generation {
		delete(b.leases, name)
	}
	return nil
}

// Announce adds or renews the member.
func (b *Backend) Announce(_ context.Context, set, member string, ttl time.Duration) (lapsed bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.sets[set] == nil {
		b.sets[set] = map[string]time.Time{}
	}
	now := time.Now()
	lapses, was := b.sets[set][member]
	b.sets[set][member] = now.Add(ttl)
	return !was || now.After(lapses), nil
}

// Withdraw removes the member.
func (b *Backend) Withdraw(_ context.Context, set, member string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.sets[set], member)
	return nil
}

// Members lists the live members.
func (b *Backend) Members(_ context.Context, set string) ([]string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	var members []string
	for member, lapses := range b.sets[set] {
		if now.After(lapses) {
			delete(b.sets[set], member)
			continue
		}
		members = append(members, member)
	}
	slices.Sort(members)
	return members, nil
}
