package chat

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/parley-chat/parley/services/chat/internal/room"
	"github.com/parley-chat/parley/services/chat/internal/store"
	"github.com/parley-chat/parley/shared/bus"
	"github.com/parley-chat/parley/shared/event"
	"github.com/parley-chat/parley/shared/topic"
)

const (
	overPoll  = 50 * time.Millisecond
	tailReads = 4 // rooms whose tails are read at once
	mendTries = 3 // of one batch, when the log had to be mended under it
	logOddity = time.Minute
)

// Consume handles one batch of commands: those of rooms in memory first, then
// those of rooms that have to be read from the log. Commands of one room keep
// their order, and a sync keeps its place among all.
func (p *partition) Consume(ctx context.Context, batch []event.Command) error {
	if err := p.waitForReaders(ctx); err != nil {
		return err
	}
	if err := p.take(ctx); err != nil {
		return err
	}
	defer p.give()
	err := p.announce(ctx)
	for len(batch) > 0 && err == nil {
		n := untilSync(batch)
		err = p.attempt(ctx, batch[:n])
		batch = batch[n:]
	}
	p.rooms.shrink()
	p.s.metrics.rooms.WithLabelValues(p.label).Set(float64(len(p.rooms.byID)))
	return p.report(err)
}

// waitForReaders is the back-pressure: nothing is decided while the events are
// not read.
func (p *partition) waitForReaders(ctx context.Context) error {
	mark := event.Event{Epoch: &event.EpochChanged{Partition: p.number}}
	for bus.Over(p.s.bus, topic.Events(), mark) {
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the events to be read: %w", context.Cause(ctx))
		case <-time.After(overPoll):
		}
	}
	return nil
}

// untilSync is how many commands of the batch are handled together: a sync is
// handled alone, because it must not overtake a join or be overtaken.
func untilSync(batch []event.Command) int {
	for i, c := range batch {
		if c.Sync != nil {
			return max(i, 1)
		}
	}
	return len(batch)
}

// attempt handles commands, again when the log had to be mended meanwhile: what
// was done the first time is recognised.
func (p *partition) attempt(ctx context.Context, commands []event.Command) (err error) {
	for range mendTries {
		if commands[0].Sync != nil {
			err = p.sync(ctx, commands[0])
		} else {
			err = p.handle(ctx, commands)
		}
		if err == nil {
			return nil
		}
		if mendErr := p.mend(ctx, err); mendErr != nil {
			return mendErr
		}
	}
	return err
}

func (p *partition) handle(ctx context.Context, commands []event.Command) error {
	now := time.Now().UnixMilli()
	ready, cold := p.divide(commands, now)
	if err := p.decideAll(ctx, ready); err != nil || len(cold) == 0 {
		return err
	}
	if err := p.load(ctx, cold, now); err != nil {
		return err
	}
	return p.decideAll(ctx, cold)
}

// divide leaves out what is not handled, and sets apart all commands of rooms
// that one of the commands needs and that are not in memory.
func (p *partition) divide(commands []event.Command, now int64) (ready, cold []event.Command) {
	missing := map[event.RoomID]bool{}
	valid := make([]event.Command, 0, len(commands))
	for _, c := range commands {
		if why := p.skip(c, now); why != "" {
			p.skipped(why, c)
			continue
		}
		valid = append(valid, c)
		if r := p.rooms.peek(c.Room); needsRoom(c) && (r == nil || c.Post != nil && !r.Ready()) {
			missing[c.Room] = true
		}
	}
	for _, c := range valid {
		if missing[c.Room] {
			cold = append(cold, c)
		} else {
			ready = append(ready, c)
		}
	}
	return ready, cold
}

func needsRoom(c event.Command) bool {
	return (c.Join != nil || c.Post != nil) && room.ValidName(c.Room)
}

// skip tells why a command is not handled and not answered either; empty: it is.
func (p *partition) skip(c event.Command, now int64) string {
	switch {
	case c.Kind() == "":
		return "unknown"
	case event.PartitionFor(c.Key(), p.s.bus.Partitions()) != p.number:
		return "misrouted"
	case c.Volatile() && now-c.At > event.VolatileMS:
		return "stale"
	case c.OpenSession != nil && !room.ValidUser(c.OpenSession.Row.User), c.CloseSession != nil && !room.ValidUser(c.User):
		return "nameless"
	}
	return ""
}

// skipped counts, and logs each reason once a minute.
func (p *partition) skipped(why string, c event.Command) {
	p.s.metrics.skipped.WithLabelValues(why).Inc()
	if now := time.Now(); why != "stale" && now.Sub(p.oddities[why]) >= logOddity {
		p.oddities[why] = now
		p.slog.Warn("command skipped", "why", why, "kind", c.Kind(), "node", c.Node)
	}
}

// load reads rooms into memory: where their logs end, and of those that somebody
// sends to the tail.
func (p *partition) load(ctx context.Context, commands []event.Command, now int64) error {
	var unknown []event.RoomID
	wanted := map[event.RoomID]bool{} // with its tail?
	for _, c := range commands {
		if !needsRoom(c) {
			continue
		}
		if _, seen := wanted[c.Room]; !seen && p.rooms.peek(c.Room) == nil {
			unknown = append(unknown, c.Room)
		}
		wanted[c.Room] = wanted[c.Room] || c.Post != nil
	}
	heads, err := p.s.store.Heads(ctx, p.number, unknown)
	if err != nil {
		return err
	}
	for i, h := range heads {
		if h.Gone {
			p.gone = append(p.gone, unknown[i])
			return fmt.Errorf("the log of room %s: %w", unknown[i], store.ErrLost)
		}
		p.rooms.put(room.New(unknown[i], p.log.Epoch(), h.Head, h.Floor, p.s.limits))
		p.s.metrics.loaded.Inc()
	}
	reads, ctx := errgroup.WithContext(ctx)
	reads.SetLimit(tailReads)
	for id, tail := range wanted {
		if r := p.rooms.use(id); tail && !r.Ready() {
			reads.Go(func() error { return r.Recall(now, p.s.store.Tail(ctx, p.number, id, r.Head)) })
		}
	}
	err = reads.Wait()
	for id := range wanted {
		p.rooms.weigh(id)
	}
	return err
}

// decideAll decides commands, appends what they make, and publishes what became
// of them.
func (p *partition) decideAll(ctx context.Context, commands []event.Command) (err error) {
	if len(commands) == 0 {
		return nil
	}
	spans := p.follow(commands)
	defer func() { endAll(spans, err) }()
	if err := p.checkCursors(ctx, commands); err != nil {
		return err
	}
	o := newOutcome()
	for _, c := range commands {
		p.decide(o, c)
	}
	// Also without writes: what an earlier batch wrote and nobody confirmed must be
	// certain before a repeat of it is acknowledged.
	started := time.Now()
	if err := p.append(ctx, o.writes, spans); err != nil {
		return err
	}
	if len(o.writes) > 0 {
		took := time.Since(started)
		p.s.metrics.append.Observe(took.Seconds())
		p.s.counts.appended(o.entries, took)
		p.s.metrics.batch.Observe(float64(o.entries))
		for _, w := range o.writes {
			p.rooms.peek(w.Room).Appended()
		}
		p.speak() // an append may have had to retake the log
	}
	if err := p.recallAgain(ctx, o); err != nil {
		return err
	}
	if err := p.publish(ctx, o.events...); err != nil {
		return err
	}
	for _, w := range o.writes {
		p.rooms.peek(w.Room).Told()
		p.rooms.weigh(w.Room)
	}
	return nil
}

// checkCursors looks at the store when a client shows a cursor that its room has
// not reached: either the client is wrong, or the log lost what the client saw.
// Where nobody can say which, the log did.
func (p *partition) checkCursors(ctx context.Context, commands []event.Command) error {
	for _, c := range commands {
		r, since := p.rooms.peek(c.Room), since(c)
		if r == nil || !r.Beyond(since) {
			continue
		}
		if !p.log.Sure() {
			return fmt.Errorf("a client saw entry %d of room %s: %w", since.Seq, c.Room, store.ErrLost)
		}
		return p.log.Check(ctx)
	}
	return nil
}

func since(c event.Command) *event.Cursor {
	switch {
	case c.Join != nil:
		return c.Join.Since
	case c.Post != nil:
		return c.Post.Since
	}
	return nil
}

// recallAgain reads the entries whose events are due once more, in their places
// among the events. One that retention has removed meanwhile is left out.
func (p *partition) recallAgain(ctx context.Context, o *outcome) error {
	for _, a := range o.again {
		entries, err := p.s.store.Between(ctx, p.number, a.room, a.seq, a.seq, 1)
		if err != nil {
			return err
		}
		if len(entries) > 0 {
			o.events[a.place] = event.Event{Room: a.room, At: entries[0].At,
				Posted: &event.MessagePosted{Entry: entries[0], Epoch: p.log.Epoch(), Again: true}}
		}
	}
	o.close()
	return nil
}

// sync answers an edge with the heads of its rooms. An edge that holds an entry
// above a head was shown it by chat: the log lost it.
func (p *partition) sync(ctx context.Context, c event.Command) error {
	if c.Sync.Partition != p.number {
		p.skipped("misrouted", c)
		return nil
	}
	heads := make([]event.RoomHead, len(c.Sync.Rooms))
	var cold []event.RoomID
	var places []int
	for i, s := range c.Sync.Rooms {
		heads[i] = event.RoomHead{Room: s.Room, Epoch: p.log.Epoch(), Floor: 1}
		if r := p.rooms.peek(s.Room); r != nil {
			heads[i].Head, heads[i].Floor = r.Head, r.Floor
		} else if room.ValidName(s.Room) {
			cold, places = append(cold, s.Room), append(places, i)
		}
	}
	read, err := p.s.store.Heads(ctx, p.number, cold)
	if err != nil {
		return err
	}
	for i, h := range read {
		if h.Gone {
			p.gone = append(p.gone, cold[i])
			return fmt.Errorf("the log of room %s: %w", cold[i], store.ErrLost)
		}
		heads[places[i]].Head, heads[places[i]].Floor = h.Head, max(h.Floor, 1)
	}
	for i, s := range c.Sync.Rooms {
		if s.Cursor.Epoch == p.log.Epoch() && s.Cursor.Seq > heads[i].Head {
			return fmt.Errorf("node %s has entry %d of room %s: %w", c.Node, s.Cursor.Seq, s.Room, store.ErrLost)
		}
	}
	e := reply(c)
	e.Synced = &event.NodeSynced{Sync: *c.Sync, Heads: heads}
	return p.publish(ctx, e)
}
