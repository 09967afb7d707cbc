package socket

import "sync"

// crewKept is how many goroutines of a crew wait for something to do at most. More than that rarely have it at a time.
const crewKept = 16

// crew has tasks done on goroutines that are kept, with the stacks that they have grown. What goes deep,
// but soon ends, is done so: on a goroutine of its own it would have that stack grown, in steps and by copying, each time; on one
// that lives long, as the reader of a connection, it would leave its stack behind. The zero crew is
// ready. Safe for concurrent use.
type crew struct {
	mu     sync.Mutex
	free   []chan task
	closed bool
}

// task is something to be done once.
type task interface{ do() }

// Go has the task done. It does not wait for it, nor for a goroutine to be free.
func (c *crew) Go(t task) {
	if hand := c.take(); hand != nil {
		hand <- t
		return
	}
	go c.work(t)
}

// take returns who was busy last, whose stack is still in the caches; nil: all are busy.
func (c *crew) take() (hand chan task) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if last := len(c.free) - 1; last >= 0 {
		hand, c.free = c.free[last], c.free[:last]
	}
	return hand
}

func (c *crew) work(t task) {
	hand := make(chan task)
	for ok := true; ok; t, ok = <-hand {
		t.do()
		if !c.wait(hand) {
			return
		}
	}
}

// wait has a goroutine wait for the next; false: it is not needed.
func (c *crew) wait(hand chan task) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || len(c.free) == crewKept {
		return false
	}
	c.free = append(c.free, hand)
	return true
}

// close has the goroutines end, those that are busy when they are done. Go may still be called.
func (c *crew) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for _, hand := range c.free {
		close(hand)
	}
	c.free = nil
}
