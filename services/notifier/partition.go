package notifier

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/parley-chat/parley/shared/bus"
	"github.com/parley-chat/parley/shared/event"
	"github.com/parley-chat/parley/shared/status"
	"github.com/parley-chat/parley/shared/topic"

	"github.com/parley-chat/parley/services/notifier/internal/presence"
	"github.com/parley-chat/parley/services/notifier/internal/registry"
)

// partition is one owned partition. Consume comes from the bus, looks and ticks
// from the service: the mutex has them take turns, and because what they say is
// enqueued before it is let go, every node hears it in the order it was decided.
type partition struct {
	s      *Service
	owner  registry.Owner
	writer *bus.Writer
	finds  chan find
	stop   context.CancelFunc // ends project
	done   chan struct{}      // project has ended
	closed chan struct{}

	mu          sync.Mutex
	state       *presence.Partition
	looked      bool
	ports       map[event.NodeID]*port
	touched     []*port        // with something pending
	nodes       []event.NodeID // reused
	unknownSaid time.Time
	past        past
}

// port is the way to one node.
type port struct {
	topic   bus.Topic[event.Delivery]
	pending []event.Delivery
}

// open takes a partition over.
func (s *Service) open(_ context.Context, bp bus.Partition) (bus.Consumer[event.Event], error) {
	ctx, stop := context.WithCancel(context.Background())
	p := &partition{
		s:      s,
		owner:  registry.Owner{Partition: bp.Number, Generation: bp.Generation},
		writer: s.bus.Writer(fmt.Sprintf("%s-%02d", topic.Notifier, bp.Number), bp.Generation, true),
		finds:  make(chan find, maxFinds),
		stop:   stop,
		done:   make(chan struct{}),
		closed: make(chan struct{}),
		state: presence.New(presence.Config{
			Partition:    bp.Number,
			Generation:   bp.Generation,
			Hold:         s.cfg.PresenceHold,
			Large:        s.cfg.PresenceLarge,
			UserSessions: s.cfg.UserSessions,
		}, s.now()),
		ports: map[event.NodeID]*port{},
	}
	s.mu.Lock()
	s.partitions[bp.Number] = p
	s.mu.Unlock()
	go p.project(ctx)
	select {
	case s.opened <- struct{}{}:
	default:
	}
	return p, nil
}

// Close gives the partition up.
func (p *partition) Close() {
	p.stop()
	<-p.done
	p.s.mu.Lock()
	if p.s.partitions[p.owner.Partition] == p {
		delete(p.s.partitions, p.owner.Partition)
	}
	p.s.mu.Unlock()
	p.writer.Close()
	close(p.closed)
}

// Missed is told that events are gone for good: every node says anew what it has.
// Measures that are gone are no loss.
func (p *partition) Missed(_ context.Context, scope string) {
	if status.Spoke(scope) {
		return // the next one says more
	}
	p.s.log.Warn("events are missing: all nodes are asked to sync", "partition", p.owner.Partition, "scope", scope)
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.s.now()
	p.state.Missed(now)
	p.state.Tick(now)
	p.drain()
	p.flush()
}

func (p *partition) tick() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state.Tick(p.s.now())
	p.drain()
	p.flush()
}

// look passes on what a look at the nodes found, and returns the nodes that are
// off now.
func (p *partition) look(live []event.NodeID) []event.NodeID {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.looked = true
	now := p.s.now()
	p.state.Look(now, live)
	offs := p.state.TakeOff()
	for _, id := range offs {
		if port := p.ports[id]; port != nil {
			p.writer.Forget(port.topic.Name) // or its repeats would make the topic anew
			delete(p.ports, id)
		}
	}
	p.state.Tick(now)
	p.drain()
	p.flush()
	return offs
}

func (p *partition) lookFailed() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state.LookFailed()
}

func (p *partition) hasLooked() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.looked
}

func (p *partition) stats() presence.Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state.Stats()
}

// drain delivers what the state wants to be sent.
func (p *partition) drain() {
	for _, send := range p.state.Take() {
		if send.Delivery.Presence != nil {
			p.s.metrics.presence.Inc()
		}
		if send.Delivery.SyncAsk != nil {
			p.s.metrics.asked.Inc()
		}
		p.deliver(send.Node, send.Delivery)
	}
}

// deliver puts a delivery in the node's place of the order; flush sends it.
func (p *partition) deliver(node event.NodeID, d event.Delivery) {
	to := p.ports[node]
	if to == nil {
		to = &port{topic: topic.Deliveries(node)}
		p.ports[node] = to
	}
	volatile := d.Typing != nil || d.Signal != nil || d.Measured != nil
	if volatile && bus.Over(p.s.bus, to.topic, d) {
		p.s.metrics.skipped.WithLabelValues("overloaded").Inc()
		return
	}
	if len(to.pending) == 0 {
		p.touched = append(p.touched, to)
	}
	to.pending = append(to.pending, d)
}

// flush enqueues what is pending. It waits for nobody: what a node's topic does
// not take is skipped, and the numbers tell the edge to sync.
func (p *partition) flush() {
	for _, to := range p.touched {
		err := bus.Enqueue(p.writer, to.topic, p.s.metrics.published, to.pending...)
		switch {
		case err == nil:
			p.s.metrics.count(to.pending)
		case errors.Is(err, bus.ErrOverloaded):
			p.s.metrics.skipped.WithLabelValues("overloaded").Add(float64(len(to.pending)))
		default:
			p.s.metrics.skipped.WithLabelValues("failed").Add(float64(len(to.pending)))
			p.s.log.Error("deliveries are lost", "topic", to.topic.Name, "count", len(to.pending), "err", err)
		}
		clear(to.pending)
		to.pending = to.pending[:0]
		if cap(to.pending) > 1024 {
			to.pending = nil
		}
	}
	p.touched = slices.Delete(p.touched, 0, len(p.touched))
}
