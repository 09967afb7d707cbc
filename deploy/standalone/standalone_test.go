package standalone

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/parley-chat/parley/services/ingress/protocol"
	"github.com/parley-chat/parley/services/ingress/protocol/client"
	"github.com/parley-chat/parley/shared/process"
)

// TestNothingIsLeftAfterTheEnd starts all three services in this process, has a
// user chat, ends them, and looks for goroutines that stayed.
func TestNothingIsLeftAfterTheEnd(t *testing.T) {
	defer goleak.VerifyNone(t)
	defer http.DefaultClient.CloseIdleConnections()
	cfg, p := settings(t)
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	ended := make(chan error, 1)
	var greeted bytes.Buffer
	go func() { ended <- Run(ctx, cfg, p, &greeted) }()

	c, err := client.Dial(ctx, client.Config{URLs: []string{"http://" + cfg.Ingress.Listen}, User: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	room, err := c.Join(ctx, "general", client.JoinOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ack, err := room.Send(ctx, map[string]string{"text": "hello"})
	if err != nil || ack.Seq != 1 {
		t.Errorf("send: %+v, %v", ack, err)
	}
	f, err := room.Next(ctx)
	for err == nil && f.Type == protocol.TypePresence { // alice's own coming, told before or after
		f, err = room.Next(ctx)
	}
	if err != nil || f.Seq != 1 {
		t.Errorf("next: %+v, %v", f, err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("ended with %v", err)
	}
	if err := c.Close(); err != nil {
		t.Errorf("close the client: %v", err)
	}
	for _, words := range []string{"http://" + cfg.Ingress.Listen, "Dev auth", "memory"} {
		if !strings.Contains(greeted.String(), words) {
			t.Errorf("the greeting %q does not tell %q", greeted.String(), words)
		}
	}
}

// TestBusyPortIsOneLine: the error names the setting.
func TestBusyPortIsOneLine(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cfg, p := settings(t)
	cfg.Ingress.Listen = l.Addr().String()
	err = Run(t.Context(), cfg, p, &bytes.Buffer{})
	if err == nil || !strings.Contains(err.Error(), "PARLEY_LISTEN") || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v, want one line that names PARLEY_LISTEN", err)
	}
}

// settings are the defaults of the program, on a free port.
func settings(t *testing.T) (Config, *process.Process) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	var cfg Config
	_, err = process.Load(Program(), &cfg, process.Source{
		Args: []string{"--listen", address, "--admin", "off"}, Getenv: func(string) string { return "" },
		Stdout: &bytes.Buffer{}, Stderr: &bytes.Buffer{},
	})
	if err != nil {
		t.Fatal(err)
	}
	return cfg, &process.Process{Log: process.NewLogger(&bytes.Buffer{}, "error", "text"), Health: &process.Health{},
		Metrics: prometheus.NewRegistry()}
}
