package socket

import (
	"math"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"time"
)

// MemoryPressure returns a check for GateConfig.Pressed: true while the process
// has more than the share of its memory limit (GOMEMLIMIT), so that newcomers are
// shed before it is reached. Without a limit it is never true. It looks at most
// twice a second.
func MemoryPressure(share float64) func() bool {
	limit := debug.SetMemoryLimit(-1)
	if limit == math.MaxInt64 {
		return func() bool { return false }
	}
	var (
		mu      sync.Mutex
		looked  time.Time
		pressed bool
	)
	return func() bool {
		mu.Lock()
		defer mu.Unlock()
		if now := time.Now(); now.Sub(looked) > 500*time.Millisecond {
			looked, pressed = now, float64(used()) > share*float64(limit)
		}
		return pressed
	}
}

// used is what counts against the limit (package runtime/debug, SetMemoryLimit).
func used() uint64 {
	samples := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(samples)
	return samples[0].Value.Uint64() - samples[1].Value.Uint64()
}
