package loadgen

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/parley-chat/parley/deploy/cluster"
)

// scenario is a named Load of the benchmark.
type scenario struct {
	name, about string
	load        Load
}

// scenarios are what docs/performance.md reports: rooms of ten on two edges.
func scenarios(quick bool) []scenario {
	warm, measure := 5*time.Second, 20*time.Second
	if quick {
		warm, measure = time.Second, 3*time.Second
	}
	rooms := func(n int, rate float64, window int) Load {
		return Load{Rooms: n, Members: 10, Rate: rate, Window: window, Body: 128, WarmUp: warm, Measure: measure}
	}
	idle := 10_000
	if quick {
		idle = 1000
	}
	return []scenario{
		{"quiet", "100 messages/s into 100 rooms of 10", rooms(100, 100, 0)},
		{"busy", "1,000 messages/s into 100 rooms of 10", rooms(100, 1000, 0)},
		{"saturation", "100 rooms of 10, 16 sends of each room unanswered", rooms(100, 0, 16)},
		{"idle", fmt.Sprintf("%d connections in rooms of 100, nobody sends", idle),
			Load{Rooms: idle / 100, Members: 100, WarmUp: warm, Measure: measure}},
	}
}

// Bench runs every scenario, each on a fresh cluster (Redis with appendfsync
// always, two of each service), and writes the report as Markdown.
func Bench(ctx context.Context, w io.Writer, cfg cluster.Config, quick bool, only string) error {
	fmt.Fprintf(w, "| scenario | users | acked/s | deliveries/s | send → ack p50 / p99 ms | send → delivery p50 / p99 ms | CPU µs a message: edges, chats, notifiers, Redis | refused, lost |\n")
	fmt.Fprintf(w, "|---|---|---|---|---|---|---|---|\n")
	var memory string
	for _, s := range scenarios(quick) {
		if only != "" && !strings.Contains(only, s.name) {
			continue
		}
		r, err := s.run(ctx, cfg)
		if err != nil {
			return fmt.Errorf("scenario %s: %w", s.name, err)
		}
		fmt.Fprintln(w, s.row(r))
		if s.name == "idle" {
			memory = r.memory()
		}
	}
	_, err := fmt.Fprintf(w, "\n%s", memory)
	return err
}

func (s scenario) run(ctx context.Context, cfg cluster.Config) (r Result, err error) {
	c, err := cluster.New(cfg)
	if err != nil {
		return r, err
	}
	defer func() {
		stopping, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if stopErr := c.Stop(stopping); err == nil {
			err = stopErr
		}
	}()
	starting, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	if err := c.Start(starting); err != nil {
		return r, err
	}
	s.load.PIDs = map[string]int{}
	for _, p := range c.All() {
		s.load.PIDs[p.Name] = p.PID()
	}
	for _, p := range c.Edges {
		s.load.URLs = append(s.load.URLs, p.URL)
	}
	return s.load.Run(ctx)
}

func (s scenario) row(r Result) string {
	per := func(kind string) string {
		if r.Acked == 0 {
			return "–"
		}
		return fmt.Sprintf("%.0f", r.cpu(kind)/float64(r.Acked)*1e6)
	}
	if r.Acked == 0 {
		return fmt.Sprintf("| %s: %s | %d | – | – | – | – | %.3f cores in all | %d, %d |",
			s.name, s.about, r.Users, r.cpu("")/r.Seconds, r.Refused, r.Closed)
	}
	return fmt.Sprintf("| %s: %s | %d | %.0f | %.0f | %.2f / %.2f | %.2f / %.2f | %s, %s, %s, %s | %d, %d |",
		s.name, s.about, r.Users, float64(r.Acked)/r.Seconds, float64(r.Delivered)/r.Seconds,
		r.Ack.P50, r.Ack.P99, r.Delivery.P50, r.Delivery.P99,
		per("ingress"), per("chat"), per("notifier"), per("redis"), r.Refused, r.Closed)
}

// cpu sums the CPU-seconds of the processes whose name begins with kind.
func (r Result) cpu(kind string) float64 {
	var sum float64
	for name, seconds := range r.CPU {
		if strings.HasPrefix(name, kind) {
			sum += seconds
		}
	}
	return sum
}

// memory says what a connection costs at the edge and at the others.
func (r Result) memory() string {
	var edge, others int64
	for name, after := range r.After {
		grown := after - r.Before[name]
		if strings.HasPrefix(name, "ingress") {
			edge += grown
		} else if name != "redis" {
			others += grown
		}
	}
	kib := func(bytes int64) float64 { return float64(bytes) / 1024 / float64(r.Users) }
	return fmt.Sprintf("Resident memory per idle connection (%d connections): %.1f KiB at the edges, %.1f KiB with chats and notifiers counted in.\n",
		r.Users, kib(edge), kib(edge+others))
}
