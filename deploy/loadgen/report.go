package loadgen

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/parley-chat/parley/deploy/loadgen/crowd"
)

// Report is what a load measured. Counts are of the messages that were due while
// measuring, rates of what happened in that time.
type Report struct {
	Scenario    string    `json:"scenario"`
	About       string    `json:"about"`
	Target      string    `json:"target"`
	Began       time.Time `json:"began"`
	Servers     int       `json:"servers"`
	Connections int       `json:"connections"`
	Rooms       int       `json:"rooms"`
	Members     int       `json:"members"`
	Body        int       `json:"body_bytes"`
	Rate        float64   `json:"rate,omitempty"`   // offered a second
	Window      int       `json:"window,omitempty"` // or unanswered at a time
	Seconds     float64   `json:"seconds"`

	Sent       int64            `json:"sent"`
	Acked      int64            `json:"acked"`
	Refused    int64            `json:"refused"`
	Unanswered int64            `json:"unanswered"`
	Delivered  int64            `json:"delivered"`
	Expected   int64            `json:"expected"` // deliveries of what was acknowledged
	Missing    int64            `json:"missing"`
	Skipped    int64            `json:"skipped"`  // entries missed in the order of a room
	Repeated   int64            `json:"repeated"` // or delivered twice
	Pages      int64            `json:"pages,omitempty"`
	ShortPages int64            `json:"short_pages,omitempty"`
	Closed     int64            `json:"closed"` // connections the servers closed
	Reasons    map[string]int64 `json:"reasons,omitempty"`

	AckedPerSecond     float64 `json:"acked_per_second"`
	RefusedPerSecond   float64 `json:"refused_per_second"`
	DeliveredPerSecond float64 `json:"delivered_per_second"`
	PagesPerSecond     float64 `json:"pages_per_second,omitempty"`

	Ack      Latency `json:"ack"` // or of a page
	Delivery Latency `json:"delivery"`
	Refusal  Latency `json:"refusal"`
	Last     Latency `json:"last_delivery"` // of each message, if it was asked for

	CPU              map[string]float64 `json:"cpu_seconds,omitempty"` // by process, while measuring
	Cores            float64            `json:"cores"`                 // all processes
	DeliveriesPerCPU float64            `json:"deliveries_per_cpu_second"`
	ServiceMicros    float64            `json:"service_us_per_message"` // CPU, or per page
	RedisMicros      float64            `json:"redis_us_per_message"`

	Memory     Memory    `json:"memory"`
	Connecting Connected `json:"connecting"`
	Resumption *Resumed  `json:"resumption,omitempty"`
	Generator  Generator `json:"generator"`
	Warnings   []string  `json:"warnings,omitempty"`

	Timeline []Second `json:"timeline,omitempty"` // from the warm-up's start
	Samples  []Sample `json:"samples,omitempty"`
	WarmUp   float64  `json:"warm_up_seconds"`
}

// Latency is a distribution in ms.
type Latency struct {
	P50, P90, P99, P999, Max float64
	Count                    int64
}

// Memory is what connections cost. Edges are the processes that clients connect to.
type Memory struct {
	Before  map[string]int64 `json:"before,omitempty"` // resident bytes by process, without the users
	After   map[string]int64 `json:"after,omitempty"`
	EdgeKiB float64          `json:"edge_kib_per_connection"`
	AllKiB  float64          `json:"all_kib_per_connection"` // without brokers
	Peak    int64            `json:"peak_bytes"`             // of all processes but brokers, while loaded
}

// Connected is how connecting went.
type Connected struct {
	Seconds    float64 `json:"seconds"`
	Retried    int     `json:"retried"`
	EdgeMicros float64 `json:"edge_us_per_connection"` // CPU
	AllMicros  float64 `json:"all_us_per_connection"`
}

// Resumed is how all came back after they were dropped.
type Resumed struct {
	Connections int     `json:"connections"`
	Retried     int     `json:"retried"`
	Seconds     float64 `json:"seconds"`     // until the last had all it had missed
	CPU         float64 `json:"cpu_seconds"` // of all processes, from the drop on
}

// Generator is what the load generator itself took: when it is late or its loops
// are busy, it is what limits.
type Generator struct {
	Cores float64 `json:"cores"`
	Busy  float64 `json:"busy"` // share of time of its busiest event loop
	Lag   Latency `json:"lag"`  // from when a message was due to when it was sent
	Turn  Latency `json:"turn"` // how long a loop was away from its sockets
}

// Second is one second of the load. Latencies are of what was due in it, in ms.
type Second struct {
	Sent, Acked, Refused, Delivered int64
	Ack, Delivery                   Latency
}

func latency(h crowd.Histogram) Latency {
	if h.Histogram == nil || h.TotalCount() == 0 {
		return Latency{}
	}
	ms := func(us int64) float64 { return float64(us) / 1000 }
	at := func(q float64) float64 { return ms(h.ValueAtQuantile(q)) }
	return Latency{P50: at(50), P90: at(90), P99: at(99), P999: at(99.9), Max: ms(h.Max()), Count: h.TotalCount()}
}

func (s *Session) report(l Load, t crowd.Tally, cpu map[string]float64, own float64, took time.Duration) Report {
	sc, cfg := s.scenario, s.fleet.config
	seconds := took.Seconds()
	r := Report{
		Scenario: sc.Name, About: sc.About, Target: cmp.Or(s.options.Target.Name, "parley"), Began: time.Now().Add(-took).UTC(),
		Servers: len(cfg.URLs), Connections: cfg.Connections(), Rooms: cfg.Rooms, Members: cfg.Members, Body: cfg.Body,
		Seconds: seconds, WarmUp: l.WarmUp.Seconds(),
		Sent: t.Sent, Acked: t.Acked, Refused: t.Refused, Unanswered: max(0, t.Sent-t.Acked-t.Refused-t.Pages),
		Delivered: t.Delivered, Skipped: t.Skipped, Repeated: t.Repeated, Pages: t.Pages, ShortPages: t.Short,
		Closed: t.Closed, Reasons: t.Reasons,
		AckedPerSecond: float64(t.AckedWithin) / seconds, RefusedPerSecond: float64(t.RefusedWithin) / seconds,
		DeliveredPerSecond: float64(t.DeliveredWithin) / seconds, PagesPerSecond: float64(t.PagesWithin) / seconds,
		Ack: latency(t.Ack), Delivery: latency(t.Delivery), Refusal: latency(t.Refusal),
		CPU: cpu, Cores: sum(cpu) / seconds,
		Generator: Generator{Cores: own / seconds, Busy: t.Busy, Lag: latency(t.Lag), Turn: latency(t.Turn)},
		Samples:   s.watch.taken(),
	}
	if l.Kind != crowd.Silence {
		r.Rate, r.Window = l.Rate, l.Window
	}
	if l.Kind == crowd.Sends {
		r.Expected = t.Acked * int64(s.fleet.perRoom())
		r.Missing = max(0, r.Expected-t.Delivered)
	}
	if l.Last {
		r.Last = latency(t.LastLatency(s.fleet.perRoom()))
	}
	if all := sum(cpu); all > 0 {
		r.DeliveriesPerCPU = float64(t.DeliveredWithin) / all
		if n := float64(t.AckedWithin + t.PagesWithin); n > 0 {
			broker := ofKind(cpu, isBroker)
			r.ServiceMicros, r.RedisMicros = (all-broker)/n*1e6, broker/n*1e6
		}
	}
	for _, slice := range t.Slices {
		r.Timeline = append(r.Timeline, Second{
			Sent: slice.Sent, Acked: slice.Acked, Refused: slice.Refused, Delivered: slice.Delivered,
			Ack: latency(slice.Ack), Delivery: latency(slice.Delivery),
		})
	}
	s.cost(&r)
	r.warn()
	return r
}

// cost fills in what connections cost.
func (s *Session) cost(r *Report) {
	n := float64(r.Connections)
	grown := map[string]float64{}
	for name, after := range s.after {
		grown[name] = float64(after - s.before[name])
	}
	services := func(name string) bool { return !isBroker(name) }
	r.Memory = Memory{
		Before: s.before, After: s.after,
		EdgeKiB: ofKind(grown, isEdge) / 1024 / n, AllKiB: ofKind(grown, services) / 1024 / n,
	}
	for _, sample := range r.Samples {
		var all int64
		for name, bytes := range sample.RSS {
			if services(name) {
				all += bytes
			}
		}
		r.Memory.Peak = max(r.Memory.Peak, all)
	}
	r.Connecting = Connected{
		Seconds: s.arrival.Took.Seconds(), Retried: s.arrival.Retried,
		EdgeMicros: ofKind(s.connect, isEdge) / n * 1e6, AllMicros: sum(s.connect) / n * 1e6,
	}
}

func isBroker(name string) bool { return kindOf(name) == "redis" || kindOf(name) == "nats" }

// isEdge tells the processes that clients connect to.
func isEdge(name string) bool {
	switch kindOf(name) {
	case "ingress", "standalone", "baseline":
		return true
	}
	return false
}

// kindOf is the name without its number.
func kindOf(name string) string {
	kind, _, _ := strings.Cut(name, "-")
	return kind
}

func ofKind(of map[string]float64, is func(name string) bool) float64 {
	var all float64
	for name, n := range of {
		if is(name) {
			all += n
		}
	}
	return all
}

// warn says what makes the figures doubtful.
func (r *Report) warn() {
	add := func(format string, args ...any) { r.Warnings = append(r.Warnings, fmt.Sprintf(format, args...)) }
	const busy, late = 0.8, 1 // share of time; ms
	if g := r.Generator; g.Busy > busy {
		add("the generator's busiest event loop was at work (or waiting for a core) %.0f %% of the time: it may be what limits", g.Busy*100)
	} else if g.Lag.P99 > late && g.Lag.P99 > r.Delivery.P99/4 {
		add("the generator sent late: 1 %% of the messages by more than %.1f ms, which counts as latency", g.Lag.P99)
	}
	if r.Rate > 0 && float64(r.Acked+r.Pages) < 0.99*float64(r.Sent) {
		add("not all that was offered was served: %d of %d", r.Acked+r.Pages, r.Sent)
	}
	if r.Missing+r.Skipped > 0 {
		add("%d deliveries are missing, %d entries were skipped", r.Missing, r.Skipped)
	}
	if r.Repeated > 0 {
		add("%d deliveries came again", r.Repeated)
	}
	if r.ShortPages > 0 {
		add("%d pages had fewer entries than asked for", r.ShortPages)
	}
	if r.Closed > 0 {
		add("%d connections were closed by the servers", r.Closed)
	}
}
