package ingress

import (
	"context"
	"crypto/rand"
	"strings"
	"time"

	"github.com/parley-chat/parley/shared/bus"
	"github.com/parley-chat/parley/shared/event"
	"github.com/parley-chat/parley/shared/topic"
)

// node is one life of this edge: the name that replies come to, and the writer
// whose scope it is.
type node struct {
	id     event.NodeID
	writer *bus.Writer
}

// topicTTL is how long a node's topic outlives it where nobody drops it.
const topicTTL = time.Minute

// newNode begins a life; the boot tag makes its name one that never was.
func (s *Service) newNode() *node {
	id := event.NodeID(s.name + "-" + strings.ToLower(rand.Text()[:8]))
	return &node{id: id, writer: s.bus.Writer(string(id), 0, false)}
}

func (s *Service) nodeID() event.NodeID { return s.node.Load().id }

// runNode lives one life after the other until ctx ends. A life ends when its
// announcement had lapsed: the notifiers may have taken the node off by then, so it
// comes back under another name and says what it has. Sockets notice nothing.
func (s *Service) runNode(ctx context.Context) {
	for {
		n := s.node.Load()
		s.live(ctx, n)
		if ctx.Err() != nil {
			n.writer.Close()
			return
		}
		s.node.Store(s.newNode())
		s.log.Warn("the node had lapsed and goes by another name", "was", n.id, "is", s.nodeID())
		n.writer.Close()
		for _, p := range s.partitions {
			p.wantAll(0)
		}
	}
}

// live is one life: make the topic, then say that we are there; in the end the
// other way round.
func (s *Service) live(ctx context.Context, n *node) {
	ctx, lapse := context.WithCancel(ctx)
	defer lapse()
	ready := make(chan struct{})
	read := make(chan error, 1)
	reading, stopReading := context.WithCancel(context.WithoutCancel(ctx))
	defer stopReading()
	go func() {
		options := bus.ReadOptions{TTL: topicTTL, Drop: true, Ready: func() { close(ready) }}
		read <- bus.Read(reading, s.bus, topic.Deliveries(n.id), topic.Edge, options, deliveries{s, new(wakes)})
	}()
	select {
	case <-ready:
		s.present.Store(true)
		s.log.Info("node is up", "life", n.id)
		if err := s.bus.Announce(ctx, topic.Nodes, string(n.id), lapse); err != nil {
			s.log.Error("announce", "life", n.id, "err", err)
			pause(ctx, time.Second)
		}
		s.present.Store(false)
	case <-ctx.Done():
	case err := <-read:
		s.log.Error("read deliveries", "life", n.id, "err", err)
		pause(ctx, time.Second)
		return
	}
	stopReading()
	if err := <-read; err != nil {
		s.log.Error("read deliveries", "life", n.id, "err", err)
	}
}
