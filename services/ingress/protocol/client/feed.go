package client

import "sync"

// statusFeed hands statuses to the user's callback in order, without making
// the loop wait for it.
type statusFeed struct {
	fn   func(Status)
	wake chan struct{}
	done sync.WaitGroup

	mu    sync.Mutex
	last  Status
	queue []Status // at most statusQueue
	over  bool
}

const statusQueue = 64

func newStatusFeed(fn func(Status)) *statusFeed {
	f := &statusFeed{fn: fn, wake: make(chan struct{}, 1), last: Status{State: Connecting}}
	if fn != nil {
		f.done.Go(f.run)
	}
	return f
}

func (f *statusFeed) latest() Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.last
}

func (f *statusFeed) put(s Status) {
	f.mu.Lock()
	f.last = s
	if f.fn != nil {
		if len(f.queue) == statusQueue {
			f.queue = f.queue[1:]
		}
		f.queue = append(f.queue, s)
	}
	f.mu.Unlock()
	f.poke()
}

func (f *statusFeed) poke() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// close returns when the callback has had the last status.
func (f *statusFeed) close() {
	f.mu.Lock()
	f.over = true
	f.mu.Unlock()
	f.poke()
	f.done.Wait()
}

func (f *statusFeed) run() {
	for range f.wake {
		for {
			f.mu.Lock()
			over := f.over
			if len(f.queue) == 0 {
				f.mu.Unlock()
				if over {
					return
				}
				break
			}
			s := f.queue[0]
			f.queue = f.queue[1:]
			f.mu.Unlock()
			f.fn(s)
		}
	}
}
