package chaos

import (
	"context"
	"time"
)

const (
	// enough is what must have been acknowledged in the second before a fault.
	enough = 50
	// fewWaiting sends without an answer are always few.
	fewWaiting = 20
	// slowest is the rate, in messages a second, below which nothing is under load.
	slowest = 10
	// patienceTime is how long the load is given to flow, and then again at half the rate.
	patienceTime = 20 * time.Second
	// leastProbe is how long it takes to know how busy a machine is.
	leastProbe = 10 * time.Second
)

// flow waits until the load flows: what the fault before left behind is not to
// count for the next one. A patient run lowers the rate where the machine cannot
// serve it, and one that is still to probe the machine ends where that is too busy.
func (w *world) flow(ctx context.Context) (acked int64, waiting int, err error) {
	since := time.Now()
	for range 300 * w.cfg.Patience {
		if time.Since(w.began) < w.cfg.Probe && time.Since(w.began) > leastProbe && w.load.P99() > MostLag {
			return 0, 0, ErrBusy
		}
		acked, waiting = w.load.AckedLately(), w.load.Waiting()
		if acked >= min(enough, int64(w.rate)*3/4) && waiting <= max(w.rate/2, fewWaiting) {
			return acked, waiting, nil
		}
		if w.cfg.Patience > 1 && time.Since(since) > patienceTime && w.rate/2 >= slowest {
			w.rate, w.slowed = w.rate/2, true
			w.load.SetRate(w.rate)
			w.cfg.Logf("the load does not flow: %d acknowledged in a second, %d in flight; %d messages/s from now on", acked, waiting, w.rate)
			since = time.Now()
		}
		if err := sleep(ctx, 100*time.Millisecond); err != nil {
			return acked, waiting, err
		}
	}
	return acked, waiting, nil
}
