package chaos

import (
	"slices"
	"sync"
	"time"

	"github.com/prometheus/procfs"
)

// lags is how late the pacer was.
type lags struct {
	mu      sync.Mutex
	all     []time.Duration
	stalled time.Duration
}

// stall is a lag that nobody has who has a processor.
const stall = 100 * time.Millisecond

func (l *lags) add(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, d)
	if d >= stall {
		l.stalled += d
	}
}

func (l *lags) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = nil
}

// P99 is the load's own scheduling lag so far: more than 50 ms, and the machine is
// too busy for anything to be measured.
func (l *Load) P99() time.Duration {
	l.lag.mu.Lock()
	all := slices.Clone(l.lag.all)
	l.lag.mu.Unlock()
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[len(all)*99/100]
}

// Stalled is for how long, so far, the machine gave the load no processor at all.
// While it stands still so do the services, and their leases run out: what was to
// happen within a time has that much more, and the time for a takeover.
func (l *Load) Stalled() time.Duration {
	l.lag.mu.Lock()
	defer l.lag.mu.Unlock()
	return l.lag.stalled
}

// stolen is for how long, since it started, the machine was kept from running what was
// ready to run because its host ran other guests: the steal time of /proc/stat, of all
// processors on average. 0 where the system does not tell.
func stolen() time.Duration {
	fs, err := procfs.NewDefaultFS()
	if err != nil {
		return 0
	}
	stat, err := fs.Stat()
	if err != nil {
		return 0
	}
	average := stat.CPUTotal.Steal / float64(max(len(stat.CPU), 1)) // in seconds
	return time.Duration(average * float64(time.Second))
}
