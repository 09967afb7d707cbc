package loadgen

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// meter gathers what all users see. Latencies count from the time a message was
// due, not from when it was really sent, so that a generator or a server that
// stalls cannot hide it (coordinated omission).
type meter struct {
	due sync.Map // key → time.Time of sends without an answer

	acks, deliveries, refusals, closes atomic.Int64

	mu       sync.Mutex
	ack      *hdrhistogram.Histogram // µs
	delivery *hdrhistogram.Histogram // µs
}

type key struct {
	u  *user
	id uint64
}

func newMeter() *meter {
	return &meter{ack: histogram(), delivery: histogram()}
}

// histogram holds 1 µs to 2 min with three digits.
func histogram() *hdrhistogram.Histogram { return hdrhistogram.New(1, 120_000_000, 3) }

func (m *meter) acked(now time.Time, k key) {
	due, ok := m.due.LoadAndDelete(k)
	if !ok {
		return // the answer to a join
	}
	m.acks.Add(1)
	m.record(m.ack, now.Sub(due.(time.Time)))
}

func (m *meter) refused(k key) {
	m.due.Delete(k)
	m.refusals.Add(1)
}

func (m *meter) delivered(now time.Time, due int64) {
	m.deliveries.Add(1)
	m.record(m.delivery, now.Sub(time.Unix(0, due)))
}

func (m *meter) closed(error) { m.closes.Add(1) }

func (m *meter) record(h *hdrhistogram.Histogram, d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	_ = h.RecordValue(min(max(d.Microseconds(), 1), 120_000_000))
}

// reset forgets the latencies and counts so far: the warm-up ends.
func (m *meter) reset() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ack.Reset()
	m.delivery.Reset()
	for _, n := range []*atomic.Int64{&m.acks, &m.deliveries, &m.refusals} {
		n.Store(0)
	}
}

// Latency is a distribution in ms.
type Latency struct {
	P50, P99, Max float64
	Count         int64
}

func (m *meter) latency(h *hdrhistogram.Histogram) Latency {
	m.mu.Lock()
	defer m.mu.Unlock()
	ms := func(us int64) float64 { return float64(us) / 1000 }
	return Latency{P50: ms(h.ValueAtQuantile(50)), P99: ms(h.ValueAtQuantile(99)), Max: ms(h.Max()), Count: h.TotalCount()}
}
