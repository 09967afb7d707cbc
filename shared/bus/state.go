package bus

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// State is how the bus stands as this process sees it, for a status board.
type State struct {
	Heard time.Time     // when the broker last gave back what Run sent itself; zero: never
	Trip  time.Duration // how long that took
	Lag   []Lag         // of the topics that this process reads or has written to, by name
	Held  []Held        // the partitions that this process owns
}

// Lag is how much of a topic a group has not acknowledged, sampled once a second while
// something moves, else every ten.
type Lag struct {
	Topic, Group string
	Depth
}

// Held is a partition that this process owns.
type Held struct {
	Topic, Group string
	Partition
}

// Name is the process's, as the bus knows it (Config.Name).
func (b *Bus) Name() string { return b.cfg.Name }

// State looks at what is known; it asks the broker nothing.
func (b *Bus) State() State {
	s := State{Trip: time.Duration(b.probe.trip.Load())}
	if back := b.probe.back.Load(); back != 0 {
		s.Heard = time.UnixMilli(back)
	}
	for topic, w := range b.depths.current(time.Now()) {
		if strings.HasPrefix(topic, "probe-") {
			continue
		}
		for group, depth := range w.all() {
			s.Lag = append(s.Lag, Lag{Topic: topic, Group: group, Depth: depth})
		}
	}
	slices.SortFunc(s.Lag, func(a, b Lag) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Group, b.Group))
	})
	b.mu.Lock()
	for h := range b.held {
		s.Held = append(s.Held, h)
	}
	b.mu.Unlock()
	slices.SortFunc(s.Held, func(a, b Held) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Group, b.Group), cmp.Compare(a.Number, b.Number))
	})
	return s
}

func (b *Bus) noteHeld(h Held, held bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if held {
		b.held[h] = struct{}{}
	} else {
		delete(b.held, h)
	}
}

func (o *owner) heldAs(h *holding) Held {
	return Held{Topic: o.topic, Group: o.group, Partition: h.partition}
}
