package chaos

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/parley-chat/parley/deploy/cluster"
	"github.com/parley-chat/parley/services/ingress/protocol"
	"github.com/parley-chat/parley/services/ingress/protocol/client"
)

// What docs/guarantees.md promises in times.
const (
	redTime   = 10 * time.Second // until /readyz says that the store or the bus is away
	cleanTime = 2 * time.Second  // until the others are told of somebody who left
	crashTime = 15 * time.Second // until they are told of somebody whose edge was killed
	stormTime = 30 * time.Second // until everybody is back after all lines broke at once
)

// measured writes down how much something was, and may be at most.
func (w *world) measured(invariant, what string, was, bound int64) {
	w.write(Line{Kind: Measured, Code: invariant, Text: what, Took: was, Bound: bound})
}

func (w *world) write(l Line) {
	if l.Took > l.Bound {
		w.broken.Store(true)
	}
	w.rec.Write(l)
}

// stopwatch measures something that may take so long.
type stopwatch struct {
	w       *world
	bound   time.Duration
	stalled time.Duration // at the beginning
}

// allow begins to measure what may take so long, or as many times that as the run
// is patient.
func (w *world) allow(bound time.Duration) stopwatch {
	return stopwatch{w, time.Duration(w.cfg.Patience) * bound, w.load.Stalled()}
}

// allowed is the bound, and what the machine stood still meanwhile three times: a
// lease that ran out has to be taken over, too.
func (s stopwatch) allowed() time.Duration { return s.bound + 3*(s.w.load.Stalled()-s.stalled) }

// took writes down how long it was.
func (s stopwatch) took(invariant, what string, d time.Duration) {
	s.w.write(Line{Kind: Measured, Timed: true, Code: invariant, Text: "ms until " + what, Took: d.Milliseconds(), Bound: s.allowed().Milliseconds()})
}

// red watches, during an outage of so long, that the processes say that they are
// not ready. The returned function waits for them; an outage that is over sooner
// than it has to be noticed, or hardly later on a machine that is shared, is not
// watched.
func (w *world) red(ctx context.Context, outage time.Duration, processes ...*cluster.Process) (wait func()) {
	watch := w.allow(redTime)
	watch.bound = min(watch.bound, outage-time.Second)
	if watch.bound < redTime || w.cfg.Patience > 1 && watch.bound < 2*redTime {
		return func() {}
	}
	var watching sync.WaitGroup
	for _, p := range processes {
		watching.Go(func() {
			took := until(ctx, watch.bound+500*time.Millisecond, func(ctx context.Context) bool { return !isReady(ctx, p) })
			watch.took("I10", "/readyz of "+p.Name+" is red", took)
		})
	}
	return watching.Wait
}

func isReady(ctx context.Context, p *cluster.Process) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.Admin+"/readyz", nil)
	if err != nil {
		return true
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil { // no answer at all is another matter
		return true
	}
	_ = res.Body.Close()
	return res.StatusCode == http.StatusOK
}

// until asks again and again, and returns how long it took; atMost where it does
// not come true before.
func until(ctx context.Context, atMost time.Duration, holds func(context.Context) bool) time.Duration {
	ctx, cancel := context.WithTimeout(ctx, atMost)
	defer cancel()
	began := time.Now()
	for !holds(ctx) {
		if sleep(ctx, 50*time.Millisecond) != nil {
			return atMost
		}
	}
	return min(time.Since(began), atMost)
}

// gone measures how long the members of a crowd are still shown in any of the rooms
// by an edge that runs.
func (w *world) gone(ctx context.Context, what string, bound time.Duration, rooms ...string) {
	watch := w.allow(bound)
	var mu sync.Mutex
	var longest time.Duration
	var asking sync.WaitGroup
	for some := range slices.Chunk(rooms, atOnce) {
		asking.Go(func() {
			took, left := w.goneFrom(ctx, watch.bound+time.Second, some)
			mu.Lock()
			defer mu.Unlock()
			if longest = max(longest, took); len(left) > 0 {
				what += " of " + left[0]
			}
		})
	}
	asking.Wait()
	watch.took("I9", what, longest)
}

// atOnce is how many rooms one observer asks for: a session may ask so much at once.
const atOnce = 40

// goneFrom waits until nobody of a crowd is shown in the rooms any more, and returns
// where somebody is still.
func (w *world) goneFrom(ctx context.Context, atMost time.Duration, rooms []string) (took time.Duration, left []string) {
	var r *reader
	defer func() {
		if r != nil {
			r.conn.Cut()
		}
	}()
	took = until(ctx, atMost, func(ctx context.Context) bool {
		if r == nil {
			r = w.observer(ctx)
		}
		if r == nil {
			return false
		}
		for len(rooms) > 0 {
			f, err := r.ask(ctx, protocol.Request{Type: protocol.TypePresence, Room: rooms[0]})
			if err != nil {
				r.conn.Cut()
				r = nil
				return false
			}
			if slices.ContainsFunc(f.Users, func(u protocol.UserPresence) bool { return strings.HasPrefix(u.User, "crowd") }) {
				return false
			}
			rooms = rooms[1:]
		}
		return true
	})
	return took, rooms
}

// observer is connected to an edge that runs; nil: there is none now.
func (w *world) observer(ctx context.Context) *reader {
	for _, e := range w.Edges {
		if !e.Running() {
			continue
		}
		conn, err := client.Connect(ctx, e.URL, client.ConnConfig{})
		if err != nil {
			continue
		}
		r := &reader{conn: conn}
		if _, err := r.ask(ctx, protocol.Request{Type: protocol.TypeHello, User: "observer"}); err == nil {
			return r
		}
		conn.Cut()
	}
	return nil
}
