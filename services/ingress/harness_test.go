package ingress

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/parley-chat/parley/services/ingress/protocol"
	"github.com/parley-chat/parley/shared/bus"
	"github.com/parley-chat/parley/shared/bus/membus"
	"github.com/parley-chat/parley/shared/process"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testSecret = "0123456789abcdef0123456789abcdef"

// edge is a running service with the others behind it.
type edge struct {
	*testing.T
	ctx     context.Context
	service *Service
	others  *others
	backend *membus.Backend
	stop    func() // ends the service and waits for it
}

// settings are the defaults but for flags, read as programs read them.
func settings(flags ...string) (Config, error) {
	var cfg struct {
		process.Common
		Ingress Config `embed:""`
	}
	program := process.Program{Name: "test", Memory: true, Defaults: map[string]string{
		"bus": "memory://", "auth": "dev", "drain": "0s", "listen": "127.0.0.1:0"}}
	source := process.Source{Args: flags, Getenv: func(string) string { return "" }, Stdout: io.Discard, Stderr: io.Discard}
	_, err := process.Load(program, &cfg, source)
	return cfg.Ingress, err
}

func start(t *testing.T, flags ...string) *edge {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	backend := membus.New()
	b, err := bus.New(backend, bus.Config{Partitions: 2, Name: "test", LeaseTTL: 300 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	o := newOthers(b)
	cfg, err := settings(flags...)
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(cfg, b, Options{Node: "edge", Registry: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	running, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(running) }()
	stopped := false
	e := &edge{T: t, ctx: ctx, service: s, others: o, backend: backend}
	e.stop = func() {
		if stopped {
			return
		}
		stopped = true
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
	t.Cleanup(func() {
		e.stop()
		_ = b.Close()
		_ = backend.Close()
		cancel()
	})
	e.until("the node is up", func() bool { return s.present.Load() })
	return e
}

func (e *edge) until(what string, condition func() bool) {
	e.Helper()
	for !condition() {
		if e.ctx.Err() != nil {
			e.Fatalf("waited in vain until %s", what)
		}
		time.Sleep(2 * time.Millisecond) // polls a condition
	}
}

// client is a connection that speaks frames.
type client struct {
	*edge
	ws     *websocket.Conn
	frames []protocol.Frame
}

func (e *edge) dial() *client {
	e.Helper()
	ws, _, err := websocket.DefaultDialer.DialContext(e.ctx, "ws://"+e.service.Addr().String()+"/ws", nil)
	if err != nil {
		e.Fatal(err)
	}
	e.Cleanup(func() { _ = ws.Close() })
	deadline, _ := e.ctx.Deadline()
	_ = ws.SetReadDeadline(deadline)
	return &client{edge: e, ws: ws}
}

// user connects and says hello.
func (e *edge) user(name string) *client {
	e.Helper()
	c := e.dial()
	c.say(`{"type":"hello","user":%q}`, name)
	c.hear("welcome")
	return c
}

func (c *client) say(format string, args ...any) {
	c.Helper()
	if err := c.ws.WriteMessage(websocket.TextMessage, fmt.Appendf(nil, format, args...)); err != nil {
		c.Fatal(err)
	}
}

// next is the next frame, whatever it is.
func (c *client) next() (protocol.Frame, error) {
	for len(c.frames) == 0 {
		_, data, err := c.ws.ReadMessage()
		if err != nil {
			return protocol.Frame{}, err
		}
		for _, line := range strings.Split(string(data), "\n") {
			f, err := protocol.ParseFrame([]byte(line))
			if err != nil {
				return f, fmt.Errorf("frame %q: %w", line, err)
			}
			c.frames = append(c.frames, f)
		}
	}
	f := c.frames[0]
	c.frames = c.frames[1:]
	return f, nil
}

// hear returns the next frame of the type, passing over others.
func (c *client) hear(kind string) protocol.Frame {
	c.Helper()
	for {
		f, err := c.next()
		if err != nil {
			c.Fatalf("waiting for %s: %v", kind, err)
		}
		if f.Type == kind {
			return f
		}
	}
}

// room reads what comes of a room until its entry with the seq: "joined 2 3 reset@1 2".
func (c *client) room(seq uint64) string {
	c.Helper()
	var words []string
	for {
		f, err := c.next()
		if err != nil {
			c.Fatalf("after %v: %v", words, err)
		}
		switch f.Type {
		case "joined":
			words = append(words, "joined")
		case "message":
			words = append(words, fmt.Sprint(f.Seq))
			if f.Seq == seq {
				return strings.Join(words, " ")
			}
		case "reset":
			words = append(words, fmt.Sprintf("reset@%d", f.Seq))
		case "gap":
			var g struct{ From, To uint64 }
			_ = json.Unmarshal(f.Raw, &g)
			words = append(words, fmt.Sprintf("gap%d-%d", g.From, g.To))
		}
	}
}

// closed reads until the end and returns the close code.
func (c *client) closed() int {
	c.Helper()
	for {
		_, err := c.next()
		var closed *websocket.CloseError
		if errors.As(err, &closed) {
			return closed.Code
		}
		if err != nil {
			c.Fatalf("no close frame: %v", err)
		}
	}
}

func (c *client) join(room string) protocol.Frame {
	c.Helper()
	c.say(`{"type":"join","id":1,"room":%q}`, room)
	return c.hear("joined")
}

func (c *client) send(room string, n int) {
	c.Helper()
	for range n {
		c.say(`{"type":"send","id":7,"room":%q,"body":"x"}`, room)
		if f := c.hear("ok"); f.Seq == 0 {
			c.Fatalf("ok without seq: %s", f.Raw)
		}
	}
}
