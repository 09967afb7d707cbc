package notifier

import (
	"cmp"
	"slices"

	"github.com/parley-chat/parley/shared/event"
)

// What is kept of measures for boards that open later.
const (
	pastMS       = 10 * 60 * 1000
	pastEveryMS  = 5000 // one of a process in so long
	pastSamples  = 2048 // given to one board, about 400 KiB of JSON; of more processes fewer each
	pastTogether = 64   // in one delivery
)

// past is what processes said of themselves in the last ten minutes. What counts
// counts up, so nothing is lost by keeping one in five. Not safe for concurrent use.
type past struct {
	processes map[string][]event.Measures
}

// add keeps the measures, if it is time, without what only the present is worth.
func (p *past) add(m event.Measures) {
	if p.processes == nil {
		p.processes = map[string][]event.Measures{}
	}
	m.Bus = nil
	key := m.Service + " " + m.Process
	kept := p.processes[key]
	if n := len(kept); n > 0 && m.At/pastEveryMS == kept[n-1].At/pastEveryMS {
		return
	}
	p.processes[key] = append(kept, m)
	for key, kept := range p.processes {
		old := 0
		for old < len(kept) && kept[old].At < m.At-pastMS {
			old++
		}
		if kept = slices.Delete(kept, 0, old); len(kept) == 0 {
			delete(p.processes, key)
		} else {
			p.processes[key] = kept
		}
	}
}

// all is what is kept, the oldest first, and of very many processes every n-th.
func (p *past) all() []event.Measures {
	total := 0
	for _, kept := range p.processes {
		total += len(kept)
	}
	step := max((total+pastSamples-1)/pastSamples, 1)
	all := make([]event.Measures, 0, total/step+len(p.processes))
	for _, kept := range p.processes {
		for i := (len(kept) - 1) % step; i < len(kept); i += step {
			all = append(all, kept[i])
		}
	}
	slices.SortFunc(all, func(a, b event.Measures) int {
		return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Service, b.Service), cmp.Compare(a.Process, b.Process))
	})
	return all
}

// onMeasured keeps what a process says of itself, and delivers it to open boards.
func (p *partition) onMeasured(now int64, e *event.Event) {
	if e.Room != event.StatusRoom {
		p.onUnknown()
		return
	}
	if now-e.At <= event.VolatileMS {
		p.past.add(*e.Measured)
	}
	p.onVolatile(now, e, event.Delivery{Measured: &event.MeasuresSaid{Samples: []event.Measures{*e.Measured}}})
}

// showPast gives a board that opens the ten minutes.
func (p *partition) showPast(now int64, e *event.Event) {
	if !p.state.Reply(e.Node) {
		return
	}
	for some := range slices.Chunk(p.past.all(), pastTogether) {
		p.deliver(e.Node, event.Delivery{
			Room: e.Room, At: now, Session: e.Session, Life: e.Life, Measured: &event.MeasuresSaid{Samples: some},
		})
	}
}

// measure adds what the notifier has to say to its measures.
func (s *Service) measure(m *event.Measures) {
	stats := s.stats()
	m.Notifier = &event.NotifierMeasures{Rooms: stats.Rooms, Members: stats.Rows, Sessions: stats.Sessions, Nodes: stats.Nodes}
}
