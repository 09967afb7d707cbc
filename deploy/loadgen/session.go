package loadgen

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/parley-chat/parley/deploy/loadgen/crowd"
)

// Session is a crowd at a target, for several loads in turn. One method at a time.
type Session struct {
	options  Options
	scenario Scenario
	fleet    *fleet
	watch    *watch
	progress *progress
	slow     *slowReaders // nil: there are none

	before  map[string]int64 // resident bytes without the users
	after   map[string]int64 // with them, at the end of the last pause
	arrival crowd.Arrival
	connect map[string]float64 // CPU-seconds of connecting
}

// Open prepares the crowd; Close ends it.
func Open(ctx context.Context, o Options) (*Session, error) {
	return open(ctx, o, o.Scenario.crowd(o.Target))
}

func open(ctx context.Context, o Options, cfg crowd.Config) (*Session, error) {
	cfg.Loops, cfg.Shares = cmp.Or(o.Loops, 2), o.Processes
	f, err := newFleet(ctx, cfg, o.Worker)
	if err != nil {
		return nil, err
	}
	w := newWatch(o.Target.Processes, f.pids)
	return &Session{options: o, scenario: o.Scenario, fleet: f, watch: w, before: w.resident()}, nil
}

// Close ends all connections.
func (s *Session) Close() error {
	if s.slow != nil {
		s.slow.close()
	}
	s.watch.stop()
	return s.fleet.close()
}

func closing(err error, s *Session) error { return errors.Join(err, s.Close()) }

// Connect connects everybody and waits until all have joined.
func (s *Session) Connect(ctx context.Context) error {
	cpu := s.watch.cpu()
	stop := s.show("connecting", func(at crowd.Status) (int64, int64) {
		return at.Joined, int64(s.fleet.config.Connections())
	})
	a, err := s.fleet.connect(ctx, cmp.Or(s.scenario.Opening, 512))
	stop()
	if err != nil {
		return err
	}
	s.arrival, s.connect = a, since(s.watch.cpu(), cpu)
	s.after = s.watch.resident()
	if n := s.fleet.config.Connections() * s.scenario.Slow / 100; n > 0 {
		s.slow, err = seat(ctx, s.fleet.config, n)
	}
	return err
}

// Load is one period of messages or pages.
type Load struct {
	Kind            crowd.Kind
	Rate            float64 // a second; 0: Window decides
	Window          int
	Count           int64 // at most so many; 0: until the end
	WarmUp, Measure time.Duration
	Drain           time.Duration
	Last            bool
}

func (s *Scenario) load() Load {
	l := Load{Kind: crowd.Sends, Rate: s.Rate, Window: s.Window, WarmUp: s.WarmUp, Measure: s.Measure, Drain: s.Drain, Last: s.Last}
	if s.Kind == Idle {
		l.Kind, l.WarmUp = crowd.Silence, 0
	}
	if s.Kind == History {
		l.Kind = crowd.Pages
	}
	return l
}

// Load drives the crowd and measures.
func (s *Session) Load(ctx context.Context, l Load) (Report, error) {
	if l.Kind != crowd.Silence && l.Rate <= 0 && l.Window <= 0 {
		return Report{}, errors.New("neither a rate nor a window is given: nothing would be sent")
	}
	start := time.Now().Add(50 * time.Millisecond) // all shares have begun by then
	from, to := start.Add(l.WarmUp), start.Add(l.WarmUp+l.Measure)
	s.watch.begin(start)
	if err := s.fleet.begin(crowd.Drive{
		Kind: l.Kind, Rate: l.Rate, Window: l.Window, Count: l.Count, Last: l.Last,
		Start: start.UnixNano(), From: from.UnixNano(), To: to.UnixNano(),
	}); err != nil {
		return Report{}, err
	}
	if err := s.pause(ctx, "warming up", time.Until(from)); err != nil {
		return Report{}, err
	}
	cpu, own, began := s.watch.cpu(), s.watch.own(), time.Now()
	if err := s.pause(ctx, "measuring", time.Until(to)); err != nil {
		return Report{}, err
	}
	took := time.Since(began)
	cpu, own = since(s.watch.cpu(), cpu), s.watch.own()-own
	s.after = s.watch.resident()
	if err := s.drain(ctx, l.Drain); err != nil {
		return Report{}, err
	}
	tally, err := s.fleet.finish()
	if err != nil {
		return Report{}, err
	}
	return s.report(l, tally, cpu, own, took), nil
}

// drain waits until all requests are answered and nothing more is delivered, or
// for so long.
func (s *Session) drain(ctx context.Context, most time.Duration) error {
	const quiet = 500 * time.Millisecond
	end, still := time.Now().Add(most), time.Now()
	last := s.fleet.status()
	for time.Now().Before(end) && (last.Unanswered > 0 || time.Since(still) < quiet) {
		if err := s.pause(ctx, "draining", 50*time.Millisecond); err != nil {
			return err
		}
		at := s.fleet.status()
		if at.Delivered != last.Delivered || at.Unanswered != last.Unanswered {
			still = time.Now()
		}
		last = at
	}
	return nil
}

// settle sends count messages with a window and waits until all are acknowledged.
func (s *Session) settle(ctx context.Context, what string, count int64, window int) error {
	was := s.fleet.status()
	start := time.Now()
	if err := s.fleet.begin(crowd.Drive{
		Kind: crowd.Sends, Window: window, Count: count,
		Start: start.UnixNano(), From: start.UnixNano(), To: start.Add(10 * time.Minute).UnixNano(),
	}); err != nil {
		return err
	}
	stop := s.show(what, func(at crowd.Status) (int64, int64) { return at.Acked - was.Acked, count })
	defer stop()
	for {
		at := s.fleet.status()
		if at.Acked-was.Acked >= count {
			return nil
		}
		if refused := at.Refused - was.Refused; refused > 0 && at.Sent-was.Sent >= count && at.Unanswered == 0 {
			tally, err := s.fleet.finish()
			return errors.Join(err, fmt.Errorf("%d of %d messages were refused: %v", refused, count, tally.Reasons))
		}
		if err := pause(ctx, 2*time.Millisecond); err != nil {
			return fmt.Errorf("%s, %d of %d messages: %w", what, at.Acked-was.Acked, count, err)
		}
	}
}

func (s *Session) idle(ctx context.Context) (Report, error) {
	if err := s.pause(ctx, "settling", s.scenario.Settle); err != nil {
		return Report{}, err
	}
	return s.Load(ctx, s.scenario.load())
}

// resumption drops everybody, has the writers send, and lets everybody come back.
func (s *Session) resumption(ctx context.Context) (Report, error) {
	if err := s.pause(ctx, "settling", s.scenario.Settle); err != nil {
		return Report{}, err
	}
	s.watch.begin(time.Now())
	cpu, own, began := s.watch.cpu(), s.watch.own(), time.Now()
	if err := s.fleet.drop(); err != nil {
		return Report{}, err
	}
	if n := int64(s.scenario.Missed * s.scenario.Rooms); n > 0 && s.fleet.resumes() {
		if err := s.settle(ctx, "sending what is missed", n, s.scenario.Rooms); err != nil {
			return Report{}, err
		}
	}
	stop := s.show("resuming", func(at crowd.Status) (int64, int64) {
		return at.Joined, int64(s.fleet.config.Connections())
	})
	a, err := s.fleet.connect(ctx, cmp.Or(s.scenario.Opening, 512))
	stop()
	if err != nil {
		return Report{}, err
	}
	took := time.Since(began)
	cpu, own = since(s.watch.cpu(), cpu), s.watch.own()-own
	s.after = s.watch.resident()
	tally, err := s.fleet.finish()
	if err != nil {
		return Report{}, err
	}
	r := s.report(s.scenario.load(), tally, cpu, own, took)
	r.Resumption = &Resumed{Connections: a.Connected, Retried: a.Retried, Seconds: a.Took.Seconds(), CPU: sum(cpu)}
	r.Expected = int64(s.scenario.Missed*s.scenario.Rooms) * int64(s.scenario.Members+1)
	r.Missing = max(0, r.Expected-r.Delivered)
	if !s.fleet.resumes() {
		r.Expected, r.Missing = 0, 0
	}
	return r, nil
}

func (s *Session) show(stage string, of func(crowd.Status) (done, all int64)) (stop func()) {
	return s.progress.show(stage, func() (int64, int64) { return of(s.fleet.status()) })
}

// pause lets time pass, and shows how much.
func (s *Session) pause(ctx context.Context, stage string, d time.Duration) error {
	began := time.Now()
	stop := s.progress.show(stage, func() (int64, int64) { return int64(time.Since(began)), int64(d) })
	defer stop()
	return pause(ctx, d)
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// since is what was used between two readings of CPU time.
func since(now, before map[string]float64) map[string]float64 {
	out := maps.Clone(now)
	for name := range out {
		out[name] -= before[name]
	}
	return out
}

func sum(of map[string]float64) float64 {
	var all float64
	for _, n := range of {
		all += n
	}
	return all
}
