package ingress

import (
	"fmt"
	"strconv"
	"time"

	"github.com/parley-chat/parley/services/ingress/protocol"
	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the edge's numbers, parley_ingress_….
type metrics struct {
	sessions   prometheus.Gauge
	handshakes *prometheus.CounterVec // result
	closes     *prometheus.CounterVec // code
	requests   *prometheus.CounterVec // type, result
	deliveries *prometheus.CounterVec // kind
	batches    prometheus.Counter
	dropped    *prometheus.CounterVec // kind
	hits       prometheus.Counter
	fetches    prometheus.Counter
	pages      *prometheus.CounterVec
	syncs      prometheus.Counter
	ack        *prometheus.HistogramVec // type
	latency    prometheus.Histogram

	all []prometheus.Collector
}

func newMetrics(s *Service) *metrics {
	const prefix = "parley_ingress_"
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: prefix + name, Help: help})
	}
	counters := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: prefix + name, Help: help}, labels)
	}
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: prefix + name, Help: help}, value)
	}
	seconds := prometheus.ExponentialBuckets(0.0005, 2, 16) // 0.5 ms to 16 s
	m := &metrics{
		sessions:   prometheus.NewGauge(prometheus.GaugeOpts{Name: prefix + "sessions", Help: "Connections that have said hello."}),
		handshakes: counters("handshakes_total", "Handshakes by result: ok, or why it was refused.", "result"),
		closes:     counters("closes_total", "Connections closed, by code; 1006 is a broken line.", "code"),
		requests:   counters("requests_total", "Requests answered, by type and result (ok or an error code).", "type", "result"),
		deliveries: counters("deliveries_total", "Deliveries read, by kind.", "kind"),
		batches:    counter("delivery_batches_total", "Bus messages that deliveries came in."),
		dropped:    counters("volatile_dropped_total", "Typing and signals dropped because they were old or the bus was full.", "kind"),
		hits:       counter("ring_hits_total", "Times that entries for a cursor were in its room's ring."),
		fetches:    counter("ring_pages_total", "Pages asked for, because a ring had not what a cursor needed."),
		pages:      counters("pages_total", "Pages of history answered: read by chat, the same as one kept here, or kept and known to be right without asking.", "how"),
		syncs:      counter("syncs_total", "Parts of syncs sent."),
		ack: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: prefix + "ack_seconds", Help: "From reading a request to its answer by the other services, by type; that of send is the acknowledgement.", Buckets: seconds}, []string{"type"}),
		latency: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: prefix + "delivery_seconds", Help: "From an entry's time (chat's clock) to its arrival here.", Buckets: seconds}),
	}
	m.all = []prometheus.Collector{
		m.sessions, m.handshakes, m.closes, m.requests, m.deliveries, m.batches, m.dropped, m.hits, m.fetches, m.pages, m.syncs, m.ack, m.latency,
		gauge("connections", "Open connections.", func() float64 { return float64(s.server.Open()) }),
		gauge("connections_stalled", "Connections whose client is slow to read.", func() float64 { return float64(s.server.Stalled()) }),
		gauge("rooms", "Rooms with subscribers here.", func() float64 { rooms, _ := s.hub.sizes(); return float64(rooms) }),
		gauge("ring_bytes", "Bytes of entries kept in memory.", func() float64 { return float64(s.hub.bytes.Load()) }),
		gauge("page_bytes", "Bytes of pages of history kept in memory.", func() float64 { return float64(s.pages.Bytes()) }),
		gauge("partitions_refusing", "Partitions whose sends are refused because a queue stands before chat (PARLEY_SEND_WAIT).", func() float64 { return float64(s.refusing()) }),
		gauge("dev_auth", "1 when everybody is believed (PARLEY_AUTH=dev).", func() float64 { return boolean(s.cfg.Auth == "dev") }),
	}
	return m
}

// register is called when all is made that the gauges ask: from then on somebody
// may read them.
func (m *metrics) register(r prometheus.Registerer) error {
	if r == nil {
		return nil
	}
	for _, c := range m.all {
		if err := r.Register(c); err != nil {
			return fmt.Errorf("register the edge's metrics: %w", err)
		}
	}
	return nil
}

func boolean(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// answered counts a request that was answered by the others.
func (m *metrics) answered(r *request, now time.Time) {
	m.requests.WithLabelValues(r.kind, "ok").Inc()
	m.ack.WithLabelValues(r.kind).Observe(now.Sub(r.at).Seconds())
	r.span.End(nil)
}

func (m *metrics) closed(code protocol.CloseCode) {
	m.closes.WithLabelValues(closeLabel(code)).Inc()
}

// closeLabel keeps the codes that clients make up from becoming labels.
func closeLabel(code protocol.CloseCode) string {
	if code.String() == "unknown" && code != 1002 {
		return "other"
	}
	return strconv.Itoa(int(code))
}
