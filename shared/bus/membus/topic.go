package membus

import (
	"slices"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/parley-chat/parley/shared/bus"
)

// A topic without groups has no reader that could trim it (dead letters, a late
// publish to a dropped topic): it keeps this many of its newest bytes.
const unreadBytes = 16 << 20

// topic is a log of messages. Offsets count from 1 and stay.
type topic struct {
	mu      sync.Mutex
	entries []entry
	base    uint64 // offset of entries[0]
	bytes   int64
	groups  map[string]*group
	expires time.Time // zero: never
	gone    chan struct{}
}

type entry struct {
	uuid     string
	metadata message.Metadata
	payload  []byte
}

func (e entry) size() int64 { return int64(len(e.payload)) + 200 } // about 200 for the metadata

// group is how far the readers of one name are; guarded by the topic's mutex.
type group struct {
	next    uint64          // the first offset that nobody was given
	pending map[uint64]bool // given and not acknowledged; true: to be given again
	again   []uint64        // the pending ones to be given again, ascending
	more    chan struct{}   // closed and renewed when there is something to give
}

func newTopic() *topic {
	return &topic{base: 1, groups: map[string]*group{}, gone: make(chan struct{})}
}

func (t *topic) add(messages []*message.Message) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, msg := range messages {
		metadata := make(message.Metadata, len(msg.Metadata))
		for k, v := range msg.Metadata {
			metadata[k] = v
		}
		e := entry{uuid: msg.UUID, metadata: metadata, payload: msg.Payload}
		t.entries = append(t.entries, e)
		t.bytes += e.size()
	}
	for len(t.groups) == 0 && t.bytes > unreadBytes && len(t.entries) > 1 {
		t.removeFirst(1)
	}
	for _, g := range t.groups {
		g.wake()
	}
}

// group finds the group or makes it; a new one starts at the oldest message.
func (t *topic) group(name string) *group {
	t.mu.Lock()
	defer t.mu.Unlock()
	g := t.groups[name]
	if g == nil {
		g = &group{next: t.base, pending: map[uint64]bool{}, more: make(chan struct{})}
		t.groups[name] = g
	}
	return g
}

func (g *group) wake() {
	close(g.more)
	g.more = make(chan struct{})
}

// restart has everything pending given again, first and in order.
func (t *topic) restart(g *group) {
	t.mu.Lock()
	defer t.mu.Unlock()
	g.again = g.again[:0]
	for offset := range g.pending {
		g.pending[offset] = true
		g.again = append(g.again, offset)
	}
	slices.Sort(g.again)
	g.wake()
}

// give takes the next message for a reader, or returns what to wait for.
func (t *topic) give(g *group) (offset uint64, e entry, wait <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(g.again) > 0 {
		offset, g.again = g.again[0], g.again[1:]
		g.pending[offset] = false
		return offset, t.entries[offset-t.base], nil
	}
	if offset = g.next; offset < t.base+uint64(len(t.entries)) {
		g.next++
		g.pending[offset] = false
		return offset, t.entries[offset-t.base], nil
	}
	return 0, entry{}, g.more
}

func (t *topic) acknowledge(g *group, offset uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if again, ok := g.pending[offset]; ok && again {
		g.again = slices.DeleteFunc(g.again, func(o uint64) bool { return o == offset })
	}
	delete(g.pending, offset)
}

// giveBack has a message given again, unless it was given to another since.
func (t *topic) giveBack(g *group, offset uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if again, ok := g.pending[offset]; !ok || again {
		return
	}
	g.pending[offset] = true
	i, _ := slices.BinarySearch(g.again, offset)
	g.again = slices.Insert(g.again, i, offset)
	g.wake()
}

func (t *topic) trim(names []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	floor := t.base + uint64(len(t.entries))
	for _, name := range names {
		g := t.groups[name]
		if g == nil {
			return // it has read nothing yet
		}
		floor = min(floor, g.floor())
	}
	for _, g := range t.groups { // one that is not named loses what is trimmed
		g.next = max(g.next, floor)
		g.again = slices.DeleteFunc(g.again, func(o uint64) bool { return o < floor })
		for offset := range g.pending {
			if offset < floor {
				delete(g.pending, offset)
			}
		}
	}
	t.removeFirst(int(floor - t.base))
}

// floor is the lowest offset that is not acknowledged.
func (g *group) floor() uint64 {
	floor := g.next
	for offset := range g.pending {
		floor = min(floor, offset)
	}
	return floor
}

func (t *topic) removeFirst(n int) {
	for _, e := range t.entries[:n] {
		t.bytes -= e.size()
	}
	if t.entries = slices.Delete(t.entries, 0, n); len(t.entries) == 0 {
		t.entries = nil // a burst's capacity is not kept
	}
	t.base += uint64(n)
}

func (t *topic) depth(name string) bus.Depth {
	t.mu.Lock()
	defer t.mu.Unlock()
	next, pending := t.base, map[uint64]bool(nil)
	if g := t.groups[name]; g != nil {
		next, pending = g.next, g.pending
	}
	var d bus.Depth
	for _, e := range t.entries[next-t.base:] {
		d.Messages++
		d.Bytes += e.size()
	}
	for offset := range pending {
		d.Messages++
		d.Pending++
		d.Bytes += t.entries[offset-t.base].size()
	}
	return d
}

func (t *topic) expire(at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.expires = at
}

func (t *topic) expired(now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return !t.expires.IsZero() && now.After(t.expires)
}

// drop ends the topic's subscriptions.
func (t *topic) drop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	select {
	case <-t.gone:
	default:
		close(t.gone)
	}
}
