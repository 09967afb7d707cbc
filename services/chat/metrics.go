package chat

import (
	"github.com/prometheus/client_golang/prometheus"
)

// metrics are chat's, all named parley_chat_….
type metrics struct {
	registry   prometheus.Registerer
	collectors []prometheus.Collector

	sends   *prometheus.CounterVec
	skipped *prometheus.CounterVec
	pages   *prometheus.CounterVec
	refused *prometheus.CounterVec
	batch   prometheus.Histogram
	append  prometheus.Histogram
	rooms   *prometheus.GaugeVec
	loaded  prometheus.Counter
	epochs  prometheus.Counter
	trimmed prometheus.Counter
	healthy *prometheus.GaugeVec
}

func newMetrics(registry prometheus.Registerer) (*metrics, error) {
	m := &metrics{registry: registry}
	m.sends = m.counters("appends_total", "Sends by result: ok (appended), dup (recognised), again (recognised, and published once more), conflict (same cid, another body), refused (anything else).", "result")
	m.skipped = m.counters("skipped_total", "Commands that were not handled, by reason: unknown (kind), misrouted (partition), stale (volatile and old), nameless (bad user).", "reason")
	m.pages = m.counters("pages_total", "Pages of history by result: ok, error, busy (queue full).", "result")
	m.refused = m.counters("refusals_total", "Requests refused, by error code.", "code")
	m.rooms = m.gauges("rooms", "Rooms in memory, by partition.", "partition")
	m.healthy = m.gauges("partition_healthy", "1 while the partition's log is whole and reachable, for partitions owned here.", "partition")
	m.batch = m.histogram("append_entries", "Entries in one append.", prometheus.ExponentialBuckets(1, 2, 9))
	m.append = m.histogram("append_seconds", "Duration of one append.", prometheus.ExponentialBuckets(0.0001, 2.5, 12))
	m.loaded = m.counter("rooms_loaded_total", "Rooms read from the log into memory.")
	m.epochs = m.counter("epoch_changes_total", "Partitions that go by a new epoch because their log may have lost entries.")
	m.trimmed = m.counter("rooms_trimmed_total", "Rooms trimmed by age.")
	if registry == nil {
		return m, nil
	}
	for _, c := range m.collectors {
		if err := registry.Register(c); err != nil {
			m.unregister()
			return nil, err
		}
	}
	return m, nil
}

func (m *metrics) unregister() {
	if m.registry == nil {
		return
	}
	for _, c := range m.collectors {
		m.registry.Unregister(c)
	}
}

const (
	namespace = "parley"
	subsystem = "chat"
)

func keep[C prometheus.Collector](m *metrics, c C) C {
	m.collectors = append(m.collectors, c)
	return c
}

func (m *metrics) counter(name, help string) prometheus.Counter {
	return keep(m, prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Subsystem: subsystem, Name: name, Help: help}))
}

func (m *metrics) counters(name, help, label string) *prometheus.CounterVec {
	return keep(m, prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Subsystem: subsystem, Name: name, Help: help}, []string{label}))
}

func (m *metrics) gauges(name, help, label string) *prometheus.GaugeVec {
	return keep(m, prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: namespace, Subsystem: subsystem, Name: name, Help: help}, []string{label}))
}

func (m *metrics) histogram(name, help string, buckets []float64) prometheus.Histogram {
	return keep(m, prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: namespace, Subsystem: subsystem, Name: name, Help: help, Buckets: buckets}))
}
