package loadgen_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/parley-chat/parley/deploy/loadgen"
	"github.com/parley-chat/parley/deploy/standalone"
	"github.com/parley-chat/parley/shared/process"
)

// asWorker has this test program be a worker of the one that started it.
const asWorker = "LOADGEN_TEST_WORKER"

func TestMain(m *testing.M) {
	if os.Getenv(asWorker) != "" {
		if err := loadgen.Work(context.Background(), os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func patience(d time.Duration) time.Duration {
	if os.Getenv("CI") != "" {
		return 3 * d
	}
	return d
}

// parley is all three services in this process, in memory.
func parley(t *testing.T) loadgen.Target {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	var cfg standalone.Config
	if _, err = process.Load(standalone.Program(), &cfg, process.Source{
		Args:   []string{"--listen", address, "--admin", "off", "--rate", "0", "--address-rate", "0"},
		Getenv: func(string) string { return "" }, Stdout: &bytes.Buffer{}, Stderr: &bytes.Buffer{},
	}); err != nil {
		t.Fatal(err)
	}
	p := &process.Process{Log: process.NewLogger(&bytes.Buffer{}, "error", "text"), Health: &process.Health{}, Metrics: prometheus.NewRegistry()}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- standalone.Run(ctx, cfg, p, &bytes.Buffer{}) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("the server ended with %v", err)
		}
	})
	url := "http://" + address
	for end := time.Now().Add(patience(20 * time.Second)); ; time.Sleep(5 * time.Millisecond) {
		if res, err := http.Get(url + "/readyz"); err == nil {
			_ = res.Body.Close()
			if res.StatusCode == http.StatusOK {
				break
			}
		}
		if time.Now().After(end) {
			t.Fatal("the server is not ready")
		}
	}
	return loadgen.Target{URLs: []string{url}, Processes: func() map[string]int { return map[string]int{"standalone": os.Getpid()} }}
}

// small is a preset that takes a second.
func small(t *testing.T, name string) loadgen.Scenario {
	t.Helper()
	s, err := loadgen.Preset(name, true)
	if err != nil {
		t.Fatal(err)
	}
	s.Rooms, s.Members = min(s.Rooms, 6), min(s.Members, 10)
	s.Settle, s.WarmUp, s.Measure, s.Drain = 50*time.Millisecond, 100*time.Millisecond, 500*time.Millisecond, patience(10*time.Second)
	s.Slow *= 10 // of few members
	if s.Window = min(s.Window, 8); s.Rate > 0 {
		s.Rate = min(max(s.Rate, 40), 100)
	}
	return s
}

func run(t *testing.T, o loadgen.Options) loadgen.Report {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience(time.Minute))
	defer cancel()
	r, err := loadgen.Run(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestPresetsAreServedWhole runs the presets, small, against Parley as it is:
// nothing may be missing, out of order, or doubled. (B800, C1500 and E10 are others
// at another rate.)
func TestPresetsAreServedWhole(t *testing.T) {
	target := parley(t)
	for _, name := range []string{"A", "B", "Bslow", "C", "D", "E", "F", "quiet"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // what is timed here is not compared with anything
			s := small(t, name)
			r := run(t, loadgen.Options{Target: target, Scenario: s})
			if r.Missing+r.Skipped+r.Repeated+r.Closed+r.Refused+r.Unanswered+r.ShortPages > 0 {
				t.Errorf("%d missing, %d skipped, %d repeated, %d closed, %d refused, %d unanswered, %d short pages: %v",
					r.Missing, r.Skipped, r.Repeated, r.Closed, r.Refused, r.Unanswered, r.ShortPages, r.Reasons)
			}
			switch s.Kind {
			case loadgen.Idle:
				if r.Sent != 0 || r.Connections != 60 {
					t.Errorf("%d sent by %d idle connections", r.Sent, r.Connections)
				}
				return
			case loadgen.Resumption:
				if d := r.Resumption; d == nil || d.Connections != 60 || d.Seconds <= 0 || r.Expected != 6*5*11 {
					t.Errorf("resumed %+v, %d deliveries expected", d, r.Expected)
				}
			case loadgen.History:
				if r.Pages == 0 || r.Pages != r.Sent {
					t.Errorf("%d pages of %d", r.Pages, r.Sent)
				}
			default:
				if r.Acked == 0 || r.Delivered != r.Acked*int64(s.Members) || r.Delivery.Count != r.Delivered {
					t.Errorf("%d acknowledged, %d delivered to %d members, %d latencies", r.Acked, r.Delivered, s.Members, r.Delivery.Count)
				}
				if s.Last && r.Last.Count != r.Acked {
					t.Errorf("%d last deliveries of %d messages", r.Last.Count, r.Acked)
				}
			}
			if r.Delivery.P99 < r.Delivery.P50 || r.Ack.Max < r.Ack.P99 || len(r.Timeline) == 0 {
				t.Errorf("latencies %+v, %+v, %d seconds", r.Ack, r.Delivery, len(r.Timeline))
			}
			if r.CPU["standalone"] < 0 || r.Memory.After["standalone"] == 0 {
				t.Errorf("CPU %v, memory %v", r.CPU, r.Memory.After)
			}
		})
	}
}

// TestWorkers: a crowd over two processes is one crowd.
func TestWorkers(t *testing.T) {
	target := parley(t)
	t.Setenv(asWorker, "1") // for the children
	s := small(t, "C")
	r := run(t, loadgen.Options{Target: target, Scenario: s, Processes: 2, Worker: []string{os.Args[0]}})
	if r.Acked == 0 || r.Missing+r.Skipped+r.Repeated+r.Refused > 0 || r.Connections != 60 {
		t.Errorf("%d acknowledged by %d, %d missing, %d skipped, %d repeated, %d refused", r.Acked, r.Connections, r.Missing, r.Skipped, r.Repeated, r.Refused)
	}
	_, err := loadgen.Run(t.Context(), loadgen.Options{Target: target, Scenario: s, Processes: 2})
	if err == nil || !strings.Contains(err.Error(), "worker") {
		t.Errorf("two processes without a worker program: %v", err)
	}
}

func TestUnknownPresetNamesTheKnown(t *testing.T) {
	_, err := loadgen.Preset("Z", false)
	if err == nil || !strings.Contains(err.Error(), "quiet") {
		t.Errorf("got %v", err)
	}
}

func TestNothingToSendIsAnError(t *testing.T) {
	s := small(t, "B")
	s.Rate = 0
	_, err := loadgen.Run(t.Context(), loadgen.Options{Target: parley(t), Scenario: s})
	if err == nil || !strings.Contains(err.Error(), "window") {
		t.Errorf("neither rate nor window: %v", err)
	}
}
