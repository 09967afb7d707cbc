// Package beat has what a process does from time to time happen at the same times: at the multiples
// of its period since the process began. A process that has little else to do wakes up once for all
// that is due, and waking up costs more than most of what is done then. Processes are not in step
// with each other.
package beat

import "time"

var began = time.Now()

// Next is the time until the next multiple of every: above 0, and every at most.
func Next(every time.Duration) time.Duration { return until(time.Since(began), every) }

func until(now, every time.Duration) time.Duration { return every - now%every }

// Ticker is like a time.Ticker that is in step. After each tick whoever receives it calls Again; beats that
// pass meanwhile are left out. One goroutine uses it.
type Ticker struct {
	C     <-chan time.Time
	timer *time.Timer
	every time.Duration
}

// NewTicker returns a ticker whose first tick comes within every.
func NewTicker(every time.Duration) *Ticker {
	timer := time.NewTimer(Next(every))
	return &Ticker{C: timer.C, timer: timer, every: every}
}

// Again has it tick with the next beat.
func (t *Ticker) Again() { t.timer.Reset(Next(t.every)) }

// Stop ends it.
func (t *Ticker) Stop() { t.timer.Stop() }
