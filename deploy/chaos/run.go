package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/parley-chat/parley/deploy/cluster"
)

// Config says what a run is like.
type Config struct {
	Bin, Dir string        // folders of the binaries, and for logs, data and the history
	NATS     bool          // the bus is on NATS, and only faults that do not need Redis as the bus happen
	Clients  int           // 200
	Rooms    int           // a tenth of Clients
	Rate     int           // messages a second; 100
	Seed     uint64        // of the schedule and of all choices
	Only     []string      // ids of faults; empty: all
	For      time.Duration // faults follow each other for so long; 0: each once
	Full     bool          // faults in their long forms
	First    bool          // end as soon as something is broken for sure
	Patience int           // times are allowed so many times their bounds: 3 where the machine is shared; 1
	Logf     func(format string, args ...any)
}

// Happened is a fault that a run had.
type Happened struct {
	ID, About, Victim string
	Counted           bool // enough was acknowledged in the second before
	AckedBefore       int64
	InFlight          int
	Lasted, Healed    time.Duration // Healed: until the last room delivered again
	Err               error
}

// Result is what came out of a run.
type Result struct {
	Config     Config
	Faults     []Happened
	Verdicts   []Verdict
	Acked      int
	Delivered  int
	Refused    int
	Resets     int
	Conns      int
	Lag        time.Duration // p99 of the load's own scheduling
	Took       time.Duration
	Stopped    error // why the run ended early, if it did
	Incomplete error // what could not be looked at
}

// MostLag is the scheduling lag (p99) above which a run says nothing about times.
const MostLag = 50 * time.Millisecond

// Busy tells whether the machine was too busy for the run's times to count.
func (r *Result) Busy() bool { return r.Lag > MostLag }

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
	began := time.Now()
	w, err := newWorld(ctx, cfg)
	if err != nil {
		return nil, err
	}
	r := &Result{Config: cfg}
	if err := w.begin(ctx); err != nil {
		return nil, errors.Join(err, w.close(), w.endRecord())
	}
	r.Stopped = w.nemesis(ctx, chosen, r)
	r.Lag = w.load.P99()
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
	end := time.Now().Add(w.cfg.For)
	for round := 0; round == 0 || time.Now().Before(end); round++ {
		for _, i := range w.rand.Perm(len(chosen)) {
			h := w.happen(ctx, chosen[i])
			r.Faults = append(r.Faults, h)
			w.cfg.Logf("%-5s %s: %s; lasted %s, delivered again everywhere after %s; %d acknowledged the second before, %d in flight%s",
				h.ID, h.About, h.Victim, h.Lasted.Round(time.Millisecond), h.Healed.Round(time.Millisecond), h.AckedBefore, h.InFlight, because(h.Err))
			if h.Err != nil {
				return fmt.Errorf("%s, %s: %w", h.ID, h.About, h.Err)
			}
			if round > 0 && time.Now().After(end) {
				break
			}
		}
	}
	return nil
}

func because(err error) string {
	if err == nil {
		return ""
	}
	return ": " + err.Error()
}

// errIdle ends a run whose load does not flow any more.
var errIdle = errors.New("nothing was acknowledged for 30 s before it")

// errBroken ends a run that has shown already what it was to show.
var errBroken = errors.New("it is broken for sure")

// enough is what must have been acknowledged in the second before a fault.
const enough = 50

// happen has one fault happen to a load that flows, and measures how soon every
// room delivers again.
func (w *world) happen(ctx context.Context, f fault) Happened {
	h := Happened{ID: f.id, About: f.about}
	for range 300 { // what the fault before left behind is not to count for this one
		h.AckedBefore, h.InFlight = w.load.AckedLately(), w.load.Waiting()
		if h.AckedBefore >= min(enough, int64(w.cfg.Rate)*3/4) && h.InFlight <= w.cfg.Rate/2 {
			break
		}
		if h.Err = sleep(ctx, 100*time.Millisecond); h.Err != nil {
			return h
		}
	}
	if h.Counted = h.AckedBefore >= enough; h.AckedBefore == 0 {
		h.Err = errIdle
		return h
	}
	w.rec.Write(Line{Kind: Fault, Code: f.id, Text: f.about, Excuse: f.excuse})
	began := time.Now()
	victim, restore, err := f.run(ctx, w)
	h.Victim, h.Lasted = victim, time.Since(began)
	w.rec.Write(Line{Kind: Ended, Code: f.id, Text: victim})
	if err != nil {
		h.Err = err
		return h
	}
	if f.quiet {
		h.Err = restore(ctx)
		return h
	}
	bound := time.Duration(w.cfg.Patience) * (f.heal + healTime)
	for room, took := range w.load.Pulse(ctx, 2*bound) {
		w.rec.Write(Line{Kind: Healed, Code: f.id, Room: room, Took: took.Milliseconds(), Bound: bound.Milliseconds()})
		h.Healed = max(h.Healed, took)
	}
	if w.cfg.First && h.Healed > bound && w.load.P99() <= MostLag {
		h.Err = fmt.Errorf("not healed within %s: %w", bound, errBroken)
		return h
	}
	if restore != nil {
		h.Err = restore(ctx)
	}
	w.later.Wait() // the next fault is not to be counted for this one
	return h
}

// lookIntoLogs looks for panics and data races in what the services wrote.
func (w *world) lookIntoLogs() {
	for _, p := range w.Services() {
		text := ""
		if found, err := p.Faults(); err != nil {
			text = err.Error()
		} else if len(found) > 0 {
			text = p.Name + " wrote: " + found[0]
		}
		w.rec.Write(Line{Kind: Looked, Code: "I12", Text: text})
	}
}

// Build builds the binaries that a run needs into dir.
func Build(ctx context.Context, dir string, race bool) error { return cluster.Build(ctx, dir, race) }
