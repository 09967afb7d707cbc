package socket

import (
	"context"
	"sync"
	"time"
)

// Wheel is one timer for very many coarse deadlines: an idle connection costs a
// slot entry, not a runtime timer. Its resolution is a tick. Safe for
// concurrent use.
type Wheel struct {
	tick time.Duration

	mu    sync.Mutex
	slots [][]spoke
	now   int // index of the slot that is due next
}

type spoke struct {
	turns int // whole turns of the wheel still to wait
	due   func(now time.Time) (again time.Duration)
}

// NewWheel returns a wheel with slots for turn; longer delays go round more than
// once.
func NewWheel(tick, turn time.Duration) *Wheel {
	return &Wheel{tick: tick, slots: make([][]spoke, max(int(turn/tick), 2))}
}

// After calls due once the delay is over, at most a tick early or late, from the
// wheel's goroutine: it must not block. What due returns is the delay to the
// next call; 0 or less ends it.
func (w *Wheel) After(delay time.Duration, due func(now time.Time) (again time.Duration)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.add(delay, due)
}

func (w *Wheel) add(delay time.Duration, due func(time.Time) time.Duration) {
	ticks := max(int((delay+w.tick-1)/w.tick), 1) - 1
	slot := (w.now + ticks) % len(w.slots)
	w.slots[slot] = append(w.slots[slot], spoke{turns: ticks / len(w.slots), due: due})
}

// Run turns the wheel until ctx ends.
func (w *Wheel) Run(ctx context.Context) {
	ticker := time.NewTicker(w.tick)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			w.turn(now)
		}
	}
}

// turn takes the spokes that are due out under the lock and calls them outside.
func (w *Wheel) turn(now time.Time) {
	w.mu.Lock()
	var due, later []spoke
	for _, s := range w.slots[w.now] {
		if s.turns > 0 {
			s.turns--
			later = append(later, s)
			continue
		}
		due = append(due, s)
	}
	w.slots[w.now] = later
	w.now = (w.now + 1) % len(w.slots)
	w.mu.Unlock()
	for _, s := range due {
		if again := s.due(now); again > 0 {
			w.After(again, s.due)
		}
	}
}
