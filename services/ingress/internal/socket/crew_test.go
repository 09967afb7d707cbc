package socket

import (
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

type call func()

func (f call) do() { f() }

func TestCrew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c crew
		kept := func() int {
			synctest.Wait()
			c.mu.Lock()
			defer c.mu.Unlock()
			return len(c.free)
		}
		var calls atomic.Int64
		for range 3 {
			c.Go(call(func() { calls.Add(1) }))
			if n := kept(); n != 1 {
				t.Errorf("%d wait after calls one after another", n)
			}
		}
		release := make(chan struct{})
		for range 3 * crewKept {
			c.Go(call(func() {
				calls.Add(1)
				<-release
			}))
		}
		if n := kept(); n != 0 {
			t.Errorf("%d wait while all are busy", n)
		}
		close(release)
		if n := kept(); n != crewKept {
			t.Errorf("%d wait, want %d", n, crewKept)
		}
		c.close()
		if n := kept(); n != 0 {
			t.Errorf("%d wait after the end", n)
		}
		var late sync.WaitGroup
		late.Add(1)
		c.Go(call(late.Done))
		late.Wait()
		if n := kept(); n != 0 || calls.Load() != 3+3*crewKept {
			t.Errorf("%d wait, %d calls", n, calls.Load())
		}
	})
}
