package bus

import (
	"errors"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics have names that begin with parley_bus_. Several buses of one process
// may share a registry, and then share them.
type metrics struct {
	registry prometheus.Registerer
	err      error // of registering

	shown map[lagKey]bool // only by the goroutine that samples

	publishedEvents, publishedBatches  *prometheus.CounterVec
	publishErrors, refused             *prometheus.CounterVec
	consumedEvents, consumedBatches    *prometheus.CounterVec
	retries, duplicates, holes, missed *prometheus.CounterVec
	deadLetters, leases                *prometheus.CounterVec
	batchSize, consumeSeconds          *prometheus.HistogramVec
	lagMessages, lagBytes, pending     *prometheus.GaugeVec
	owned                              *prometheus.GaugeVec
}

func newMetrics(registry prometheus.Registerer) (*metrics, error) {
	m := &metrics{registry: registry, shown: map[lagKey]bool{}}
	topic, group := []string{"topic"}, []string{"topic", "group"}
	m.publishedEvents = m.counter("published_events_total", "Events that the broker took.", topic)
	m.publishedBatches = m.counter("published_batches_total", "Bus messages that the broker took.", topic)
	m.publishErrors = m.counter("publish_errors_total", "Tries of a publish that failed; each is tried again until its time is over.", topic)
	m.refused = m.counter("publish_refused_total", "Publishes refused because a buffer was full or a topic over its mark.", topic)
	m.consumedEvents = m.counter("consumed_events_total", "Events that a consumer took.", group)
	m.consumedBatches = m.counter("consumed_batches_total", "Bus messages that a consumer took.", group)
	m.retries = m.counter("retries_total", "Times that a batch was tried again, because its consumer failed.", group)
	m.duplicates = m.counter("redeliveries_total", "Bus messages that came again or were overtaken by a newer writer, and were dropped.", group)
	m.holes = m.counter("holes_total", "Subscriptions made anew because a message's number was missing.", group)
	m.missed = m.counter("missed_total", "Holes that stayed: messages are gone for good, and the service was told.", group)
	m.deadLetters = m.counter("dead_letters_total", "Bus messages that could not be consumed and are in dead-letters now.", group)
	m.leases = m.counter("lease_changes_total", "Leases of partitions by change: taken, released, lost.", []string{"topic", "group", "change"})
	m.batchSize = m.histogram("publish_batch_events", "Events in a published bus message.", topic, prometheus.ExponentialBuckets(1, 2, 9))
	m.consumeSeconds = m.histogram("consume_seconds", "How long a consumer took for a batch.", group, prometheus.ExponentialBuckets(0.00005, 4, 9))
	m.owned = m.gauge("partitions_owned", "Partitions whose lease this process has.", group)
	m.lagMessages = m.gauge("lag_messages", "Bus messages that the group has not acknowledged, sampled once a second while something moves, else every 10 s.", group)
	m.lagBytes = m.gauge("lag_bytes", "Bytes that the group has not acknowledged.", group)
	m.pending = m.gauge("pending_messages", "Bus messages that a reader of the group was given and has not acknowledged; 0 on NATS, which keeps no list of them.", group)
	return m, m.err
}

// label keeps the number of time series bounded: topics that are named after a
// process have one label together.
func label(topic string) string {
	for _, one := range []string{"deliveries", "probe", "traces"} {
		if strings.HasPrefix(topic, one+"-") {
			return one
		}
	}
	return topic
}

func (m *metrics) published(topic string, events int) {
	topic = label(topic)
	m.publishedEvents.WithLabelValues(topic).Add(float64(events))
	m.publishedBatches.WithLabelValues(topic).Inc()
	m.batchSize.WithLabelValues(topic).Observe(float64(events))
}

func (m *metrics) consumed(topic, group string, run []piecework, took time.Duration) {
	topic = label(topic)
	events := 0
	for _, p := range run {
		events += p.count
	}
	m.consumedEvents.WithLabelValues(topic, group).Add(float64(events))
	m.consumedBatches.WithLabelValues(topic, group).Add(float64(len(run)))
	m.consumeSeconds.WithLabelValues(topic, group).Observe(took.Seconds())
}

type lagKey struct{ topic, group string }

// lag shows the present samples, and no longer those that are past.
func (m *metrics) lag(d *depths) {
	sums := map[lagKey]Depth{}
	for topic, w := range d.current(time.Now()) {
		for group, depth := range w.all() {
			k := lagKey{label(topic), group}
			sums[k] = sums[k].plus(depth)
		}
	}
	for k := range m.shown {
		if _, ok := sums[k]; !ok {
			m.lagMessages.DeleteLabelValues(k.topic, k.group)
			m.lagBytes.DeleteLabelValues(k.topic, k.group)
			m.pending.DeleteLabelValues(k.topic, k.group)
			delete(m.shown, k)
		}
	}
	for k, depth := range sums {
		if !m.shown[k] {
			m.begin(k)
		}
		m.lagMessages.WithLabelValues(k.topic, k.group).Set(float64(depth.Messages))
		m.lagBytes.WithLabelValues(k.topic, k.group).Set(float64(depth.Bytes))
		m.pending.WithLabelValues(k.topic, k.group).Set(float64(depth.Pending))
	}
}

// begin shows as 0 what alerts wait for: a counter that comes into being with its
// first event has not increased, to Prometheus.
func (m *metrics) begin(k lagKey) {
	m.shown[k] = true
	for _, c := range []*prometheus.CounterVec{m.missed, m.deadLetters, m.holes} {
		c.WithLabelValues(k.topic, k.group)
	}
	m.publishErrors.WithLabelValues(k.topic)
}

func (d Depth) plus(e Depth) Depth {
	return Depth{Messages: d.Messages + e.Messages, Pending: d.Pending + e.Pending, Bytes: d.Bytes + e.Bytes}
}

func (m *metrics) counter(name, help string, labels []string) *prometheus.CounterVec {
	return register(m, prometheus.NewCounterVec(prometheus.CounterOpts(options(name, help)), labels))
}

func (m *metrics) gauge(name, help string, labels []string) *prometheus.GaugeVec {
	return register(m, prometheus.NewGaugeVec(prometheus.GaugeOpts(options(name, help)), labels))
}

func (m *metrics) histogram(name, help string, labels []string, buckets []float64) *prometheus.HistogramVec {
	o := options(name, help)
	return register(m, prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: o.Namespace, Subsystem: o.Subsystem, Name: o.Name, Help: o.Help, Buckets: buckets,
	}, labels))
}

func options(name, help string) prometheus.Opts {
	return prometheus.Opts{Namespace: "parley", Subsystem: "bus", Name: name, Help: help}
}

// register shares what another bus of the process has registered.
func register[C prometheus.Collector](m *metrics, c C) C {
	if m.registry == nil {
		return c
	}
	err := m.registry.Register(c)
	var already prometheus.AlreadyRegisteredError
	if errors.As(err, &already) {
		if shared, ok := already.ExistingCollector.(C); ok {
			return shared
		}
	}
	m.err = errors.Join(m.err, err)
	return c
}
