package chat

import (
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/parley-chat/parley/shared/event"
)

// counts are what chat tells status boards; they count up. Safe for concurrent use.
type counts struct {
	messages, appends, spent atomic.Uint64
}

func (c *counts) appended(entries int, took time.Duration) {
	c.messages.Add(uint64(entries))
	c.appends.Add(1)
	c.spent.Add(uint64(took.Microseconds()))
}

// waits notes whether a partition's log has failed and is not mended.
func (s *Service) waits(partition int, yes bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if yes {
		s.waiting[partition] = struct{}{}
	} else {
		delete(s.waiting, partition)
	}
}

// measure adds what chat has to say to its measures.
func (s *Service) measure(m *event.Measures) {
	s.mu.Lock()
	waiting := slices.Sorted(maps.Keys(s.waiting))
	s.mu.Unlock()
	m.Chat = &event.ChatMeasures{
		Messages: s.counts.messages.Load(), Appends: s.counts.appends.Load(), Spent: s.counts.spent.Load(), Waiting: waiting,
	}
}
