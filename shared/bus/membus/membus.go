// Package membus is a bus backend in memory, for one process: standalone and
// tests. It carries encoded bytes, so that what works here works on a broker, and
// keeps the promises of [bus.Backend] but durability. Its memory is bounded by the
// publishers, who look at the high-water mark, and by trimming.
package membus

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/parley-chat/parley/shared/bus"
)

// Backend is the broker. Several buses may share it.
type Backend struct {
	mu      sync.Mutex
	closed  bool
	topics  map[string]*topic
	leases  map[string]*lease
	sets    map[string]map[string]time.Time // set → member → when it lapses
	settled map[string]string
	last    uint64 // generation given
}

var _ bus.Backend = (*Backend)(nil)

// New makes an empty broker.
func New() *Backend {
	return &Backend{
		topics:  map[string]*topic{},
		leases:  map[string]*lease{},
		sets:    map[string]map[string]time.Time{},
		settled: map[string]string{},
	}
}

// Publisher is the backend itself; closing it does nothing.
func (b *Backend) Publisher() message.Publisher { return publisher{b} }

type publisher struct{ b *Backend }

func (publisher) Close() error { return nil }

// Publish keeps the messages' payloads: they must not be changed afterwards.
func (p publisher) Publish(name string, messages ...*message.Message) error {
	if len(messages) == 0 {
		return nil
	}
	for _, msg := range messages {
		if err := msg.Context().Err(); err != nil {
			return fmt.Errorf("publish to %s: %w: %w", name, bus.ErrUnavailable, err)
		}
	}
	t, err := p.b.topic(name, !bus.OnlyIfThere(messages[0].Context()))
	if err != nil {
		return err
	}
	t.add(messages)
	return nil
}

// EnsureTopic makes the topic and its groups.
func (b *Backend) EnsureTopic(_ context.Context, name string, groups []string, ttl time.Duration) error {
	t, err := b.topic(name, true)
	if err != nil {
		return err
	}
	for _, group := range groups {
		t.group(group)
	}
	if ttl > 0 {
		t.expire(time.Now().Add(ttl))
	}
	b.sweep(time.Now())
	return nil
}

// DropTopic removes the topic; its subscriptions end.
func (b *Backend) DropTopic(_ context.Context, name string) error {
	b.mu.Lock()
	t := b.topics[name]
	delete(b.topics, name)
	b.mu.Unlock()
	if t != nil {
		t.drop()
	}
	return nil
}

// Trim removes what the groups have acknowledged.
func (b *Backend) Trim(_ context.Context, name string, groups []string) error {
	if t := b.existing(name); t != nil {
		t.trim(groups)
	}
	return nil
}

// Depth is exact here.
func (b *Backend) Depth(_ context.Context, name, group string) (bus.Depth, error) {
	if t := b.existing(name); t != nil {
		return t.depth(group), nil
	}
	return bus.Depth{}, nil
}

// Settle keeps the first value.
func (b *Backend) Settle(_ context.Context, name, value string) (string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if have, ok := b.settled[name]; ok {
		return have, nil
	}
	b.settled[name] = value
	return value, nil
}

// Durable is false: nothing outlives the process.
func (b *Backend) Durable() bool { return false }

// Close ends all subscriptions.
func (b *Backend) Close() error {
	b.mu.Lock()
	topics := b.topics
	b.topics = map[string]*topic{}
	b.closed = true
	b.mu.Unlock()
	for _, t := range topics {
		t.drop()
	}
	return nil
}

// topic finds the topic, or makes it where it may.
func (b *Backend) topic(name string, makes bool) (*topic, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil, fmt.Errorf("topic %s: the in-memory bus is closed: %w", name, bus.ErrUnavailable)
	}
	t := b.topics[name]
	if t == nil && !makes {
		return nil, fmt.Errorf("topic %s: %w", name, bus.ErrNoTopic)
	}
	if t == nil {
		t = newTopic()
		b.topics[name] = t
	}
	return t, nil
}

func (b *Backend) existing(name string) *topic {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.topics[name]
}

// sweep drops the topics that nobody has ensured for their TTL.
func (b *Backend) sweep(now time.Time) {
	b.mu.Lock()
	var expired []*topic
	for name, t := range b.topics {
		if t.expired(now) {
			expired = append(expired, t)
			delete(b.topics, name)
		}
	}
	b.mu.Unlock()
	for _, t := range expired {
		t.drop()
	}
}
