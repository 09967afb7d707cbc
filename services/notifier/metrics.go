package notifier

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/parley-chat/parley/shared/event"

	"github.com/parley-chat/parley/services/notifier/internal/presence"
)

// metrics are what the notifier counts. Safe for concurrent use.
type metrics struct {
	deliveries     *prometheus.CounterVec
	skipped        *prometheus.CounterVec
	presence       prometheus.Counter
	asked          prometheus.Counter
	synced         prometheus.Counter
	registryErrors prometheus.Counter
}

// newMetrics registers with r; nil: they are counted for nobody.
func newMetrics(r prometheus.Registerer, stats func() presence.Stats) *metrics {
	f := promauto.With(r)
	counter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Name: "parley_notifier_" + name, Help: help})
	}
	gauge := func(name, help string, value func(presence.Stats) int) {
		f.NewGaugeFunc(prometheus.GaugeOpts{Name: "parley_notifier_" + name, Help: help},
			func() float64 { return float64(value(stats())) })
	}
	gauge("nodes", "Edges that are not off.", func(s presence.Stats) int { return s.Nodes })
	gauge("rooms", "Rooms with somebody in them, of the partitions owned here.", func(s presence.Stats) int { return s.Rooms })
	gauge("rows", "Sessions in rooms, held ones included.", func(s presence.Stats) int { return s.Rows })
	gauge("sessions", "Sessions of users, held ones included.", func(s presence.Stats) int { return s.Sessions })
	return &metrics{
		deliveries: f.NewCounterVec(prometheus.CounterOpts{
			Name: "parley_notifier_deliveries_total", Help: "Deliveries given to the bus, one per node.",
		}, []string{"kind"}),
		skipped: f.NewCounterVec(prometheus.CounterOpts{
			Name: "parley_notifier_skipped_total", Help: "What was not delivered: old (volatile), off (its node), overloaded (the node's topic), failed, unknown (its kind).",
		}, []string{"reason"}),
		presence:       counter("presence_changes_total", "Presence changes told, one per node."),
		asked:          counter("syncs_asked_total", "Syncs asked of nodes."),
		synced:         counter("syncs_answered_total", "Parts of syncs taken over."),
		registryErrors: counter("registry_errors_total", "Reads and writes of the registry that failed."),
	}
}

func (m *metrics) count(sent []event.Delivery) {
	for i := range sent {
		m.deliveries.WithLabelValues(sent[i].Kind()).Inc()
	}
}

// published is told how a publish ended. A failed one needs nothing more: its
// number is missing, and the edge syncs.
func (m *metrics) published(err error) {
	if err != nil {
		m.skipped.WithLabelValues("failed").Inc()
	}
}
