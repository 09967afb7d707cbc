package bus

import (
	"runtime"
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bubble runs f on a clock of its own, one goroutine at a time. With more threads the race detector
// itself crashes now and then (CHECK failed in tsan_rtl.cpp, or SIGSEGV; Go 1.26): two goroutines of a
// bubble that take the tick of timers which are due share one race context.
func bubble(t *testing.T, f func(*testing.T)) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	synctest.Test(t, f)
}
