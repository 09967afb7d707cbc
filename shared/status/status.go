// Package status has a process say once a second how it is: its measures go as a
// volatile event of the room ~status to the notifier that owns the room's partition,
// and from there to whoever watches. Nobody asks and nobody answers; what gets lost
// is made good by the next one, because what is counted counts up.
package status

import (
	"context"
	"log/slog"
	"runtime/metrics"
	"strings"
	"time"

	"github.com/parley-chat/parley/shared/beat"
	"github.com/parley-chat/parley/shared/bus"
	"github.com/parley-chat/parley/shared/event"
	"github.com/parley-chat/parley/shared/topic"
)

// Config says who speaks. All fields but Logger are required.
type Config struct {
	Bus     *bus.Bus
	Service string                // ingress, chat, notifier
	Group   string                // the group whose leases are the service's; standalone has those of others on its bus
	Every   time.Duration         // 0: nothing is said
	Fill    func(*event.Measures) // adds the service's own; it must be quick
	Logger  *slog.Logger          // nil: silent
}

// scope is that of the writers that say measures.
const scope = "status-"

// Spoke tells whether a bus message of this scope was one of measures: a reader
// need not care about one that is missing.
func Spoke(s string) bool { return strings.HasPrefix(s, scope) }

// Run says measures until ctx ends.
func Run(ctx context.Context, c Config) {
	if c.Every <= 0 {
		return
	}
	began := time.Now()
	name := scope + c.Service + "-" + c.Bus.Name()
	w := c.Bus.Writer(name, 0, false)
	defer func() { w.Close() }()
	tick := beat.NewTicker(c.Every)
	defer tick.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			tick.Again()
		}
		e := event.Event{Room: event.StatusRoom, At: time.Now().UnixMilli(), Measured: c.measure(began)}
		if bus.Over(c.Bus, topic.Events(), e) {
			continue // volatile things go first
		}
		err := bus.Publish(ctx, w, topic.Events(), e)
		if err != nil && ctx.Err() == nil {
			// Its number may be missing. A new life begins with 1, and nobody looks for the old one's.
			w.Close()
			w = c.Bus.Writer(name, 0, false)
			if !failing && c.Logger != nil {
				c.Logger.Debug("measures are not published", "err", err)
			}
		}
		failing = err != nil
	}
}

func (c Config) measure(began time.Time) *event.Measures {
	m := &event.Measures{
		Process: c.Bus.Name(), Service: c.Service,
		At: time.Now().UnixMilli(), Since: began.UnixMilli(), Memory: memory(),
	}
	s := c.Bus.State()
	m.Bus = &event.BusMeasures{Trip: s.Trip.Microseconds()}
	if !s.Heard.IsZero() {
		m.Bus.Heard = s.Heard.UnixMilli()
	}
	for _, l := range s.Lag {
		m.Bus.Lag = append(m.Bus.Lag, event.TopicLag{Topic: l.Topic, Group: l.Group, Messages: l.Messages, Bytes: l.Bytes})
	}
	for _, h := range s.Held {
		if h.Group == c.Group {
			m.Bus.Leases = append(m.Bus.Leases, event.Lease{Topic: h.Topic, Group: h.Group, Partition: h.Number, Generation: h.Generation})
		}
	}
	c.Fill(m)
	return m
}

// memory is what the runtime has mapped less what it gave back.
func memory() uint64 {
	read := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(read)
	return read[0].Value.Uint64() - read[1].Value.Uint64()
}
