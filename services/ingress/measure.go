package ingress

import (
	"crypto/sha256"
	"crypto/subtle"
	"sync/atomic"
	"time"

	"github.com/parley-chat/parley/services/ingress/protocol"
	"github.com/parley-chat/parley/shared/event"
)

// counts are what the edge tells status boards; they count up. Safe for concurrent use.
type counts struct {
	deliveries atomic.Uint64
	latency    [event.LatencyBuckets]atomic.Uint64
}

// sent notes how long a send took: from its frame's reading until its answer, and
// in the same write the sender's own copy of the message, goes to the socket.
func (c *counts) sent(took time.Duration) { c.latency[event.LatencyBucket(took)].Add(1) }

// latencies is the histogram without the zeros at its end.
func (c *counts) latencies() []uint64 {
	all := make([]uint64, 0, event.LatencyBuckets)
	n := 0
	for i := range c.latency {
		all = append(all, c.latency[i].Load())
		if all[i] > 0 {
			n = i + 1
		}
	}
	return all[:n]
}

// measure adds what the edge has to say to its measures.
func (s *Service) measure(m *event.Measures) {
	rooms, _ := s.hub.sizes()
	if s.hub.room(event.StatusRoom) != nil {
		rooms--
	}
	m.Ingress = &event.EdgeMeasures{
		Node: s.nodeID(), Draining: s.draining.Load(), Connections: s.server.Open(), Stalled: s.server.Stalled(),
		Rooms: rooms, Deliveries: s.counts.deliveries.Load(), Latency: s.counts.latencies(),
	}
}

// onMeasured hands measures to boards: what is said now to all, what was said
// before to the one that has just come.
func (s *Service) onMeasured(d *event.Delivery, w *wakes) {
	if d.Session == "" {
		s.volatile(d, w, statusFrame(d))
		return
	}
	if ss := s.hub.session(d.Session, d.Life); ss != nil && ss.operator() && ss.out.offer(statusFrame(d)) {
		w.add(ss)
	}
}

// operator tells whether the session was opened with the admin token.
func (s *session) operator() bool { return s.who.User == event.Operator }

// admit checks a hello's admin token. Where none is set, dev auth believes that,
// too; else there are no operators.
func (s *Service) admit(token string) *protocol.Error {
	given, want := sha256.Sum256([]byte(token)), sha256.Sum256([]byte(s.adminToken))
	switch {
	case s.adminToken == "" && s.cfg.Auth == "dev":
		return nil
	case s.adminToken == "":
		return protocol.Errorf(protocol.Unauthorized, "this edge has no PARLEY_ADMIN_TOKEN, so nobody is an operator")
	case subtle.ConstantTimeCompare(given[:], want[:]) != 1:
		return protocol.Errorf(protocol.Unauthorized, "admin is not this edge's PARLEY_ADMIN_TOKEN")
	}
	return nil
}
