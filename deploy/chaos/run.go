package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Config says what a run is like.
type Config struct {
	Bin, Dir string                           // folders of the binaries, and for logs, data and the history
	NATS     bool                             // the bus is on NATS, and only faults that do not need Redis as the bus happen
	Clients  int                              // 200
	Rooms    int                              // a tenth of Clients
	Rate     int                              // messages a second; 100
	Seed     uint64                           // of the schedule and of all choices
	Only     []string                         // ids of faults; empty: all
	For      time.Duration                    // faults follow each other for so long; 0: each once
	Limit    time.Duration                    // no fault begins later, even if not each has been there once; 0: no limit
	Full     bool                             // faults in their long forms
	First    bool                             // end as soon as something is broken for sure
	Probe    time.Duration                    // a machine that is too busy within so long ends the run with [ErrBusy]; 0: it does not
	Patience int                              // times are allowed so many times their bounds: 3 where the machine is shared; 1
	Commit   string                           // of the source, and
	Command  string                           // what was typed: for the report
	Logf     func(format string, args ...any) `json:"-"`
}

// Happened is a fault that a run had.
type Happened struct {
	ID, About, Victim string
	Counted           bool // it happened, and enough was acknowledged in the second before
	AckedBefore       int64
	InFlight          int
	Lasted, Healed    time.Duration // Healed: until the last room delivered again
	Redelivered       int64         // bus messages that came again and were dropped
	Dup               int64         // sends that were recognised as already stored
	Err               error         `json:"-"`
}

// made tells whether the fault happened at all: one that could not be done does not
// count although enough was acknowledged.
func (h Happened) made() bool { return h.Counted || h.AckedBefore < enough }

// Result is what came out of a run.
type Result struct {
	Config     Config
	Faults     []Happened
	LeftOut    []string // ids of faults for which there was no time
	Verdicts   []Verdict
	Acked      int
	Delivered  int
	Refused    int
	Resets     int
	Conns      int
	Lag        time.Duration // p99 of the load's own scheduling
	Stalled    time.Duration // for which the load had no processor at all
	Stolen     time.Duration // for which the host ran other guests, see [stolen]
	Slowed     bool          // the machine could not serve the rate, and it was lowered
	Took       time.Duration
	Stopped    error    `json:"-"` // why the run ended early, if it did
	Failed     error    `json:"-"` // faults that could not be done or taken back
	Incomplete error    `json:"-"` // what could not be looked at
	Troubles   []string // those three as text
	failures   int
}

// MostLag is the scheduling lag (p99) above which a run says nothing about times.
const MostLag = 50 * time.Millisecond

// Busy tells whether the machine was too busy for the run's times to count. A
// patient run, which is not there to measure, is sooner in doubt: half the lag will
// do, or that the machine could not serve the rate, or stood still for a twentieth of the time.
// What its host took is told, and excuses nothing.
func (r *Result) Busy() bool {
	if r.Config.Patience > 1 && (r.Slowed || r.Lag > MostLag/2 || r.Stalled > r.Took/20) {
		return true
	}
	return r.Lag > MostLag || errors.Is(r.Stopped, ErrBusy)
}

func (c Config) withDefaults() Config {
	if c.Clients == 0 {
		c.Clients = 200
	}
	if c.Rooms == 0 {
		c.Rooms = max(c.Clients/10, 8)
	}
	if c.Rate == 0 {
		c.Rate = 100
	}
	c.Patience = max(c.Patience, 1)
	if c.Logf == nil {
		c.Logf = func(string, ...any) {}
	}
	return c
}

// Run starts a cluster, lets the faults happen under load, and checks. An error
// means that there is no result; what is wrong with the product stands in the verdicts.
func Run(ctx context.Context, cfg Config) (*Result, error) {
	cfg = cfg.withDefaults()
	chosen, err := choose(cfg.Only, cfg.NATS)
	if err != nil {
		return nil, err
	}
	began, taken := time.Now(), stolen()
	w, err := newWorld(ctx, cfg)
	if err != nil {
		return nil, err
	}
	r := &Result{Config: cfg}
	if err := w.begin(ctx); err != nil {
		return nil, errors.Join(err, w.close(), w.endRecord())
	}
	r.Stopped = w.nemesis(ctx, chosen, r)
	r.Lag, r.Stalled, r.Stolen, r.Slowed = w.load.P99(), w.load.Stalled(), stolen()-taken, w.slowed
	poisoned := false
	for _, f := range chosen {
		poisoned = poisoned || f.poison
	}
	w.later.Wait()
	if r.Stopped == nil && cfg.First && w.broken.Load() {
		r.Stopped = errBroken
	}
	if r.Stopped == nil {
		r.Incomplete = w.settle(ctx, poisoned)
	}
	if err := w.close(); err != nil {
		r.Incomplete = errors.Join(r.Incomplete, err)
	}
	w.lookIntoLogs()
	r.Acked, r.Delivered, r.Refused = w.rec.Count(Acked), w.rec.Count(Delivered), w.rec.Count(Refused)
	r.Resets, r.Conns = w.rec.Count(Reset), w.rec.Count(Opened)
	if err := w.endRecord(); err != nil {
		return nil, err
	}
	history, err := os.Open(filepath.Join(cfg.Dir, "history.jsonl"))
	if err != nil {
		return nil, err
	}
	defer history.Close()
	checked, err := Check(history)
	if err != nil {
		return nil, err
	}
	r.Verdicts = checked.Verdicts()
	r.Took = time.Since(began)
	for _, err := range []error{r.Stopped, r.Failed, r.Incomplete} {
		if err != nil {
			r.Troubles = append(r.Troubles, err.Error())
		}
	}
	return r, nil
}

func (w *world) endRecord() error {
	if w.rec == nil {
		return nil
	}
	return w.rec.Close()
}

// nemesis has the faults happen, in an order that the seed gives, once or again and
// again until the time is over.
func (w *world) nemesis(ctx context.Context, chosen []fault, r *Result) error {
	began := time.Now()
	end := began.Add(w.cfg.For)
	if w.cfg.Full {
		for _, f := range chosen[:len(chosen):len(chosen)] {
			if f.quick {
				chosen = append(chosen, f)
			}
		}
	}
	for round := 0; round == 0 || time.Now().Before(end); round++ {
		for _, i := range w.rand.Perm(len(chosen)) {
			if w.cfg.Limit > 0 && time.Since(began) > w.cfg.Limit {
				r.LeftOut = append(r.LeftOut, chosen[i].id)
				continue
			}
			h := w.happen(ctx, chosen[i])
			if errors.Is(h.Err, ErrBusy) {
				return ErrBusy
			}
			r.Faults = append(r.Faults, h)
			w.cfg.Logf("%-5s %s: %s; lasted %s, delivered again everywhere after %s; %d acknowledged the second before, %d in flight%s",
				h.ID, h.About, h.Victim, h.Lasted.Round(time.Millisecond), h.Healed.Round(time.Millisecond), h.AckedBefore, h.InFlight, because(h.Err))
			if err := w.afterwards(ctx, h, r); err != nil {
				return err
			}
			if (round > 0 || w.cfg.Full && w.cfg.For > 0) && time.Now().After(end) {
				break
			}
		}
	}
	return nil
}

// mostFailed is how many faults may fail to be done before the run gives up.
const mostFailed = 5

// afterwards decides whether the run goes on after a fault: one that could not be
// done, or not be taken back, is no reason to do without all others.
func (w *world) afterwards(ctx context.Context, h Happened, r *Result) error {
	if h.Err == nil {
		return nil
	}
	err := fmt.Errorf("%s, %s: %w", h.ID, h.About, h.Err)
	if ctx.Err() != nil || w.cfg.First || errors.Is(err, errIdle) || r.failures >= mostFailed {
		return err
	}
	r.failures++
	r.Failed = errors.Join(r.Failed, err)
	if err := w.repair(ctx); err != nil {
		return fmt.Errorf("after %s: %w", h.ID, err)
	}
	return nil
}

func because(err error) string {
	if err == nil {
		return ""
	}
	return ": " + err.Error()
}

// ErrBusy ends a run that is better done with less load.
var ErrBusy = errors.New("the machine is too busy")

// errIdle ends a run whose load does not flow any more.
var errIdle = errors.New("nothing was acknowledged for a long time before it")

// errBroken ends a run that has shown already what it was to show.
var errBroken = errors.New("it is broken for sure")

// happen has one fault happen to a load that flows, and measures how soon every
// room delivers again.
func (w *world) happen(ctx context.Context, f fault) (h Happened) {
	h = Happened{ID: f.id, About: f.about}
	if h.AckedBefore, h.InFlight, h.Err = w.flow(ctx); h.Err != nil {
		return h
	}
	if h.Counted = h.AckedBefore >= enough; h.AckedBefore == 0 {
		h.Err = errIdle
		return h
	}
	defer w.countAgain(ctx, &h)()
	w.rec.Write(Line{Kind: Fault, Code: f.id, Text: f.about, Excuse: f.excuse})
	watch := w.allow(f.heal + healTime)
	began := time.Now()
	victim, restore, err := f.run(ctx, w)
	h.Victim, h.Lasted = victim, time.Since(began)
	w.rec.Write(Line{Kind: Ended, Code: f.id, Text: victim})
	if err != nil {
		h.Counted, h.Err = false, err
		return h
	}
	if f.quiet {
		h.Err = restore(ctx)
		return h
	}
	for room, took := range w.load.Pulse(ctx, 2*watch.bound) {
		w.rec.Write(Line{Kind: Healed, Timed: true, Code: f.id, Room: room, Took: took.Milliseconds(), Bound: watch.allowed().Milliseconds()})
		h.Healed = max(h.Healed, took)
	}
	if w.cfg.First && h.Healed > watch.allowed() && w.load.P99() <= MostLag {
		h.Err = fmt.Errorf("not healed within %s: %w", watch.allowed(), errBroken)
		return h
	}
	if restore != nil {
		h.Err = restore(ctx)
	}
	w.later.Wait() // the next fault is not to be counted for this one
	return h
}

// Build builds the services into dir, with the race detector or without.
func Build(ctx context.Context, dir string, race bool) error {
	return build(ctx, dir, "", race, services...)
}
