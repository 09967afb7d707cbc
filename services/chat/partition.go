package chat

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/parley-chat/parley/services/chat/internal/store"
	"github.com/parley-chat/parley/shared/beat"
	"github.com/parley-chat/parley/shared/bus"
	"github.com/parley-chat/parley/shared/event"
	"github.com/parley-chat/parley/shared/topic"
)

// partition is one partition while this process owns it. The bus's Consume and
// the watch take turns; page workers run beside them and touch neither log nor rooms,
// unless they take the turn, too.
type partition struct {
	s      *Service
	number int
	label  string
	slog   *slog.Logger

	turn     chan struct{} // holds one token; whoever has it has log, rooms and the fields up to mu
	log      *store.Log
	rooms    *rooms
	gone     []event.RoomID       // rooms not in memory whose logs turned out to be gone
	ill      bool                 // the log's last failure is reported and not over
	oddities map[string]time.Time // when a skipped command was logged last, by reason
	sweepAt  time.Time            // when to look for old entries next

	mu      sync.Mutex
	writer  *bus.Writer
	spoken  voice
	suspect bool // a page showed less than was appended

	pages  chan pageJob
	cancel context.CancelFunc
	ended  sync.WaitGroup
}

// voice is under what a partition speaks.
type voice struct {
	generation uint64
	epoch      event.Epoch
}

const (
	watchEvery   = time.Second
	watchTimeout = 5 * time.Second
	sweepRooms   = 8 // looked at for old entries, each time; commands wait so long
	sweepPause   = 10 * time.Second
)

// open takes a partition over; earlier owners are fenced from then on.
func (s *Service) open(ctx context.Context, owned bus.Partition) (*partition, error) {
	select {
	case <-s.settled:
	case <-s.over:
	case <-ctx.Done():
		return nil, fmt.Errorf("open partition %d: %w", owned.Number, context.Cause(ctx))
	}
	if !s.hold() {
		return nil, errors.New("chat is ending")
	}
	log, err := s.store.Open(ctx, owned.Number, owned.Generation)
	if err != nil {
		s.holding.Done()
		return nil, err
	}
	n := s.bus.Partitions()
	p := &partition{
		s: s, number: owned.Number, label: strconv.Itoa(owned.Number), log: log,
		slog:     s.log.With("partition", owned.Number),
		turn:     make(chan struct{}, 1),
		rooms:    newRooms(max(s.cfg.RoomsCached/n, 1), max(s.cfg.RoomsBytes/int64(n), 1<<16)),
		oddities: map[string]time.Time{},
		pages:    make(chan pageJob, s.cfg.PageQueue),
	}
	p.turn <- struct{}{}
	p.speak()
	p.slog.Info("partition opened", "generation", log.Generation(), "epoch", log.Epoch(), "new_epoch", log.Untold())
	s.metrics.healthy.WithLabelValues(p.label).Set(1)

	// The workers outlive ctx, which is of this call; Close ends them.
	working, cancel := context.WithCancel(context.WithoutCancel(ctx))
	p.cancel = cancel
	p.ended.Go(func() { p.watch(working) })
	for range s.cfg.PageWorkers {
		p.ended.Go(func() { p.readPages(working) })
	}
	return p, nil
}

// Missed is told of commands that are gone; their edge has answered them
// unavailable already.
func (p *partition) Missed(_ context.Context, scope string) {
	p.slog.Warn("commands were lost", "scope", scope)
}

// Close gives the partition up.
func (p *partition) Close() {
	p.cancel()
	p.ended.Wait()
	p.writer.Close()
	p.s.metrics.rooms.DeleteLabelValues(p.label)
	p.s.metrics.healthy.DeleteLabelValues(p.label)
	p.s.waits(p.number, false)
	p.s.holding.Done()
}

// take waits for the turn.
func (p *partition) take(ctx context.Context) error {
	select {
	case <-p.turn:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for partition %d: %w", p.number, context.Cause(ctx))
	}
}

func (p *partition) give() { p.turn <- struct{}{} }

// watch looks after a partition even when nobody writes: a store that was emptied
// is noticed, an epoch is told, old entries go.
func (p *partition) watch(ctx context.Context) {
	tick := beat.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if p.take(ctx) != nil {
			return
		}
		limited, cancel := context.WithTimeout(ctx, watchTimeout)
		p.report(p.tend(limited))
		cancel()
		p.give()
		tick.Again()
	}
}

func (p *partition) tend(ctx context.Context) error {
	err := p.log.Check(ctx)
	if err == nil && p.suspected() {
		err = p.lookForGone(ctx)
	}
	if now := time.Now(); err == nil && !now.Before(p.sweepAt) {
		err = p.sweep(ctx, now)
	}
	if err != nil {
		return p.mend(ctx, err)
	}
	p.speak()
	return p.announce(ctx)
}

// sweep removes old entries, some at a time; where there are none it looks again later.
func (p *partition) sweep(ctx context.Context, now time.Time) error {
	trimmed, err := p.log.Sweep(ctx, now, p.s.cfg.RetentionAge, sweepRooms)
	if err == nil && len(trimmed) == 0 {
		p.sweepAt = now.Add(min(p.s.cfg.RetentionAge/100, sweepPause))
	}
	for _, t := range trimmed {
		p.s.metrics.trimmed.Inc()
		if r := p.rooms.peek(t.Room); r != nil {
			r.Floor = max(r.Floor, t.Floor)
		}
	}
	return err
}

// lookForGone compares the rooms in memory with their logs, after a page showed
// less than was appended.
func (p *partition) lookForGone(ctx context.Context) error {
	ids := make([]event.RoomID, 0, len(p.rooms.byID))
	for id := range p.rooms.byID {
		ids = append(ids, id)
	}
	heads, err := p.s.store.Heads(ctx, p.number, ids)
	if err != nil {
		p.suspectLoss()
		return err
	}
	for i, h := range heads {
		if h.Gone || h.Head < p.rooms.peek(ids[i]).Head {
			return fmt.Errorf("room %s: %w", ids[i], store.ErrLost)
		}
	}
	return nil
}

func (p *partition) suspectLoss() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.suspect = true
}

func (p *partition) suspected() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	was := p.suspect
	p.suspect = false
	return was
}

// mend drops what was decided on a log that failed. nil: it is mended, and what
// was to be done can be tried again. (What could only not be published stays: the
// rooms know that it was not told.)
func (p *partition) mend(ctx context.Context, err error) error {
	if errors.Is(err, bus.ErrUnavailable) {
		return err
	}
	suspects := p.gone
	for id := range p.rooms.byID {
		suspects = append(suspects, id)
	}
	p.gone = nil
	p.rooms.clear()
	if !errors.Is(err, store.ErrLost) {
		return err
	}
	if renewErr := p.log.Renew(ctx); renewErr != nil {
		return errors.Join(err, renewErr)
	}
	p.s.metrics.epochs.Inc()
	p.slog.Warn("the log lost entries and goes by a new epoch", "epoch", p.log.Epoch(), "generation", p.log.Generation(), "err", err)
	p.speak()
	if err := p.forget(ctx, suspects); err != nil {
		return err
	}
	if err := p.s.store.Settle(ctx, p.s.bus.Partitions()); err != nil { // an emptied store has forgotten it
		return err
	}
	return p.announce(ctx)
}

// forget has the rooms whose logs are gone begin anew.
func (p *partition) forget(ctx context.Context, suspects []event.RoomID) error {
	heads, err := p.s.store.Heads(ctx, p.number, suspects)
	if err != nil {
		return err
	}
	var gone []event.RoomID
	for i, h := range heads {
		if h.Gone {
			gone = append(gone, suspects[i])
		}
	}
	return p.log.Forget(ctx, gone)
}

// speak follows the log: another generation is another writer, so that readers
// drop what an overtaken owner still says.
func (p *partition) speak() {
	now := voice{p.log.Generation(), p.log.Epoch()}
	p.mu.Lock()
	defer p.mu.Unlock()
	if old := p.writer; p.spoken.generation != now.generation {
		p.writer = p.s.bus.Writer(fmt.Sprintf("chat-%02d", p.number), now.generation, true)
		if old != nil {
			p.ended.Go(old.Close) // waits for what it still has
		}
	}
	p.spoken = now
}

// voice returns the present writer and what it speaks under.
func (p *partition) voice() (*bus.Writer, voice) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.writer, p.spoken
}

func (p *partition) publish(ctx context.Context, events ...event.Event) error {
	if len(events) == 0 {
		return nil
	}
	w, _ := p.voice()
	return bus.Publish(ctx, w, topic.Events(), events...)
}

// announce publishes an epoch that was not told yet; before anything else is said
// under it.
func (p *partition) announce(ctx context.Context) error {
	if !p.log.Untold() {
		return nil
	}
	changed := event.Event{At: time.Now().UnixMilli(), Epoch: &event.EpochChanged{Partition: p.number, Epoch: p.log.Epoch()}}
	if err := p.publish(ctx, changed); err != nil {
		return err
	}
	return p.log.Told(ctx)
}

// report logs where a failure begins and ends, and turns it into what the bus
// knows: whatever passes by itself is tried again without limit.
func (p *partition) report(err error) error {
	switch {
	case err == nil && p.ill:
		p.ill = false
		p.slog.Info("partition works again")
		p.s.metrics.healthy.WithLabelValues(p.label).Set(1)
		p.s.waits(p.number, false)
	case err != nil && !p.ill:
		p.ill = true
		p.slog.Warn("partition waits", "err", err)
		p.s.metrics.healthy.WithLabelValues(p.label).Set(0)
		p.s.waits(p.number, true)
	}
	if errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrFenced) || errors.Is(err, store.ErrLost) {
		return fmt.Errorf("%w: %w", bus.ErrUnavailable, err)
	}
	return err
}
