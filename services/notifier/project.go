package notifier

import (
	"context"
	"maps"
	"time"

	"github.com/parley-chat/parley/shared/beat"
	"github.com/parley-chat/parley/shared/event"

	"github.com/parley-chat/parley/services/notifier/internal/presence"
)

const (
	maxFinds     = 1024      // look-ups that may wait, per partition
	findBatch    = 64        // look-ups in one round trip
	writeBatch   = 256       // users in one round trip
	writeEvery   = tickEvery // changes of a user gather for so long
	countEvery   = 10 * time.Second
	recountEvery = 4 * time.Minute // counts that did not change are written again before they expire
	// findWait is how long look-ups wait for a rebuild to end; then they are answered
	// from what the owner before left in the registry.
	findWait       = 5 * time.Second
	registryWait   = 2 * time.Second
	registryPause  = 2 * time.Second // after an error
	registryAtLast = time.Second     // for what is left when the partition is given up
)

// find is a look-up of a user, and who asks.
type find struct {
	who     event.Who
	request uint64
	at      int64
	user    event.UserID
}

// projector is what project remembers.
type projector struct {
	*partition
	pausedTill time.Time
	counted    time.Time
	recounted  time.Time
	counts     map[event.NodeID]int
	failing    bool
}

// project keeps the registry up to date and answers from it, in a goroutine of
// its own: the store may be slow, routing is not to be. What could not be written
// is written later, as it is then.
func (p *partition) project(ctx context.Context) {
	defer close(p.done)
	w := &projector{partition: p}
	ticker := beat.NewTicker(writeEvery)
	defer ticker.Stop()
	for {
		finds := p.finds
		if w.mustWait() {
			finds = nil
		}
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.Background(), registryAtLast)
			defer cancel()
			w.write(last)
			return
		case f := <-finds:
			w.answer(ctx, p.more(f))
		case <-ticker.C:
			w.write(ctx)
			w.count(ctx)
			ticker.Again()
		}
	}
}

func (p *partition) mustWait() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	since, rebuilding := p.state.Rebuilding()
	return rebuilding && p.s.now()-since < findWait.Milliseconds()
}

// more returns the look-ups that wait, f the first.
func (p *partition) more(f find) []find {
	finds := []find{f}
	for len(finds) < findBatch {
		select {
		case f := <-p.finds:
			finds = append(finds, f)
		default:
			return finds
		}
	}
	return finds
}

// write writes the users that changed, until there are none left.
func (w *projector) write(ctx context.Context) {
	for time.Now().After(w.pausedTill) {
		w.mu.Lock()
		users := w.state.TakeDirty(writeBatch)
		w.mu.Unlock()
		if len(users) == 0 {
			return
		}
		ctx, cancel := context.WithTimeout(ctx, registryWait)
		err := w.s.registry.Replace(ctx, w.owner, users)
		cancel()
		if w.note(err) {
			continue
		}
		w.mu.Lock()
		w.state.Redo(users)
		w.mu.Unlock()
		return
	}
}

// count writes the sessions per node, when they changed or are about to expire.
func (w *projector) count(ctx context.Context) {
	now := time.Now()
	if now.Sub(w.counted) < countEvery || now.Before(w.pausedTill) {
		return
	}
	w.counted = now
	w.mu.Lock()
	counts := w.state.Sessions()
	w.mu.Unlock()
	if maps.Equal(counts, w.counts) && now.Sub(w.recounted) < recountEvery {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, registryWait)
	defer cancel()
	if w.note(w.s.registry.Count(ctx, w.owner, counts)) {
		w.counts, w.recounted = counts, now
	}
}

// answer looks users up. What changed is written before, so that whoever asks
// sees what happened before he did.
func (w *projector) answer(ctx context.Context, finds []find) {
	w.write(ctx)
	users := make([]event.UserID, len(finds))
	for i, f := range finds {
		users[i] = f.user
	}
	ctx, cancel := context.WithTimeout(ctx, registryWait)
	defer cancel()
	found, err := w.s.registry.Find(ctx, w.owner.Partition, users)
	w.note(err)

	w.mu.Lock()
	defer w.mu.Unlock()
	for i, f := range finds {
		d := event.Delivery{Refused: unavailable("the registry cannot be read")}
		if found != nil {
			d = event.Delivery{Found: w.found(f, found[i])}
		}
		w.reply(&event.Event{Who: f.who, Request: f.request, At: f.at}, d)
	}
	w.flush()
}

// found leaves out the sessions of nodes that are not live; the rows are for the
// user alone.
func (p *partition) found(f find, sessions []presence.Session) *event.UserFound {
	out := &event.UserFound{User: f.user}
	for _, s := range p.state.Known(f.user, sessions) {
		if !p.state.Live(s.Node) {
			continue
		}
		out.Count++
		if out.Since == 0 || s.Since < out.Since {
			out.Since = s.Since
		}
		if f.who.User == f.user {
			out.Rows = append(out.Rows, s.SessionRow)
		}
	}
	return out
}

// note counts an error, says it once, and has the writing pause; it tells
// whether there was none.
func (w *projector) note(err error) bool {
	log := w.s.log.With("partition", w.owner.Partition)
	if err == nil {
		if w.failing {
			log.Info("the registry works again")
		}
		w.failing = false
		return true
	}
	w.s.metrics.registryErrors.Inc()
	w.pausedTill = time.Now().Add(registryPause)
	if !w.failing {
		log.Warn("the registry does not work: what it is to show is kept and written later", "err", err)
	}
	w.failing = true
	return false
}
