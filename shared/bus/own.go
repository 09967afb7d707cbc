package bus

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// registration is what Own or Handle asked for.
type registration struct {
	topic  string
	groups []string
	group  string
	keyed  bool
	open   func(context.Context, Partition) (consumer, error)
}

// set names the group's members.
func (r registration) set() string { return r.topic + "." + r.group }

// Own has this process share in the partitions of t as a member of the group:
// open is called when a partition is taken, and its consumer is closed when it is
// given up. While open fails it is called again, with backoff, as long as the
// lease is held; its context ends when the lease is lost. A topic without Key has
// one partition. To be called before Run; once per topic and group.
func Own[E any](b *Bus, t Topic[E], group string, open func(ctx context.Context, p Partition) (Consumer[E], error)) {
	b.register(registration{
		topic: t.Name, groups: t.Groups, group: group, keyed: t.Key != nil,
		open: func(ctx context.Context, p Partition) (consumer, error) {
			c, err := open(ctx, p)
			if err != nil {
				return nil, err
			}
			return typed[E]{c}, nil
		},
	})
}

// Handle is Own for a handler without a state of its own. fn may run for several
// partitions at once; what is missing is only counted.
func Handle[E any](b *Bus, t Topic[E], group string, fn func(context.Context, []E) error) {
	Own(b, t, group, func(context.Context, Partition) (Consumer[E], error) { return stateless[E](fn), nil })
}

func (b *Bus) register(r registration) {
	err := errors.Join(checkName("topic", r.topic), checkName("group", r.group))
	if !slices.Contains(r.groups, r.group) {
		err = errors.Join(err, fmt.Errorf("topic %s is read by the groups %v, not by %q: what it had not read would be trimmed", r.topic, r.groups, r.group))
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, other := range b.registrations {
		if other.set() == r.set() {
			err = errors.Join(err, fmt.Errorf("topic %s has two consumers for group %s in this process", r.topic, r.group))
		}
	}
	if b.running {
		b.log.Error("consumer registered after Run: it gets nothing", "topic", r.topic, "group", r.group)
	}
	b.misuse = errors.Join(b.misuse, err)
	b.registrations = append(b.registrations, r)
}

// consumer is a Consumer of any type.
type consumer interface {
	consume(ctx context.Context, run []piecework) error
	missed(ctx context.Context, scope string)
	close()
}

type typed[E any] struct{ c Consumer[E] }

func (t typed[E]) consume(ctx context.Context, run []piecework) error {
	total := 0
	for _, p := range run {
		total += p.count
	}
	events := make([]E, 0, min(total, 1<<16-1))
	for _, p := range run {
		decoded, err := decode[E](p.msg.Payload, p.count)
		if err != nil {
			return Permanent(err)
		}
		events = append(events, decoded...)
	}
	return t.c.Consume(ctx, events)
}

func (t typed[E]) missed(ctx context.Context, scope string) { t.c.Missed(ctx, scope) }
func (t typed[E]) close()                                   { t.c.Close() }

type stateless[E any] func(context.Context, []E) error

func (fn stateless[E]) Consume(ctx context.Context, batch []E) error { return fn(ctx, batch) }
func (stateless[E]) Missed(context.Context, string)                  {}
func (stateless[E]) Close()                                          {}
