package notifier

import (
	"context"
	"time"

	"github.com/parley-chat/parley/shared/beat"
	"github.com/parley-chat/parley/shared/event"
	"github.com/parley-chat/parley/shared/topic"
)

const (
	lookEvery   = time.Second
	lookTimeout = 2 * time.Second
	// dropEvery and dropFor: a node that was cut off may be back just long enough to
	// make its topic anew, so it is dropped again for a while.
	dropEvery = 15 * time.Second
	dropFor   = 10 * time.Minute
)

// watcher looks which nodes are live, for all partitions of the process.
type watcher struct {
	*Service
	gone    map[event.NodeID]goneNode
	failing bool
}

type goneNode struct{ next, until time.Time }

// watch looks at the nodes once a second, and at once for a partition that was
// just taken over.
func (s *Service) watch(ctx context.Context) {
	w := &watcher{Service: s, gone: map[event.NodeID]goneNode{}}
	ticker := beat.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.opened:
			// Only for those without a look: three looks are to be two seconds apart.
			w.look(ctx, func(p *partition) bool { return !p.hasLooked() })
		case <-ticker.C:
			ticker.Again()
			if w.look(ctx, func(*partition) bool { return true }) {
				w.drop(ctx)
			}
		}
	}
}

// look has one look for the partitions chosen, and tells whether it succeeded.
func (w *watcher) look(ctx context.Context, chosen func(*partition) bool) bool {
	looking, cancel := context.WithTimeout(ctx, lookTimeout)
	names, err := w.bus.Members(looking, topic.Nodes)
	cancel()
	if ctx.Err() != nil {
		return false
	}
	w.say(err)
	live := make([]event.NodeID, len(names))
	for i, name := range names {
		live[i] = event.NodeID(name)
	}
	now := time.Now()
	for _, p := range w.owned() {
		switch {
		case !chosen(p):
		case err != nil:
			p.lookFailed()
		default:
			for _, id := range p.look(live) {
				w.off(now, id)
			}
		}
	}
	if err != nil {
		return false
	}
	for _, id := range live {
		delete(w.gone, id)
	}
	return true
}

// off notes a node whose topic is to be dropped.
func (w *watcher) off(now time.Time, id event.NodeID) {
	if _, known := w.gone[id]; !known {
		w.log.Info("node is off", "node", id)
		w.gone[id] = goneNode{next: now, until: now.Add(dropFor)}
	}
}

// drop removes the topics of nodes that are off.
func (w *watcher) drop(ctx context.Context) {
	now := time.Now()
	for id, g := range w.gone {
		if now.After(g.until) {
			delete(w.gone, id)
			continue
		}
		if now.Before(g.next) {
			continue
		}
		dropping, cancel := context.WithTimeout(ctx, lookTimeout)
		err := w.bus.Drop(dropping, topic.Deliveries(id).Name)
		cancel()
		if err != nil {
			w.log.Warn("dropping the topic of a node that is off", "node", id, "err", err)
			return // the rest with the next look
		}
		g.next = now.Add(dropEvery)
		w.gone[id] = g
	}
}

// say logs the first error of a row, and its end.
func (w *watcher) say(err error) {
	switch {
	case err != nil && !w.failing:
		w.log.Warn("the nodes cannot be looked at: all count as they were", "err", err)
	case err == nil && w.failing:
		w.log.Info("the nodes can be looked at again")
	}
	w.failing = err != nil
}
