package socket

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/parley-chat/parley/services/ingress/protocol"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func testConfig() Config {
	return Config{
		HelloBytes: 1 << 10, FrameBytes: 4 << 10,
		HelloTimeout: 5 * time.Second, MessageTimeout: 5 * time.Second, WriteStall: 5 * time.Second,
		Ping: time.Minute, Pong: time.Minute, CloseGrace: 300 * time.Millisecond,
		WriteBytes: 32 << 10, ControlRate: 10, ControlBurst: 30,
	}
}

// echo is a Handler that admits with its first message, sends all of them back,
// and whatever the test adds.
type echo struct {
	conn *Conn
	end  chan Ending

	mu     sync.Mutex
	frames [][]byte
	got    int
	stay   bool // never admit
}

func (e *echo) Receive(data []byte) {
	e.mu.Lock()
	stay := e.stay
	e.got++
	e.mu.Unlock()
	if !stay {
		e.conn.Admit()
	}
	e.say(bytes.Clone(data))
}

func (e *echo) say(frame []byte) {
	e.mu.Lock()
	e.frames = append(e.frames, frame)
	e.mu.Unlock()
	e.conn.Wake()
}

func (e *echo) Fill(buf []byte, limit int) []byte {
	e.mu.Lock()
	defer e.mu.Unlock()
	for len(e.frames) > 0 && len(buf) < limit {
		buf = append(append(buf, e.frames[0]...), '\n')
		e.frames = e.frames[1:]
	}
	return buf
}

func (e *echo) Ended(end Ending) { e.end <- end }

// edge is a server under test.
type edge struct {
	t       *testing.T
	server  *Server
	http    *httptest.Server
	front   *Front
	passed  atomic.Int64 // requests that the HTTP server got
	echoes  chan *echo
	closed  chan protocol.CloseCode
	results chan string
}

func newEdge(t *testing.T, change func(*Config)) *edge {
	t.Helper()
	cfg := testConfig()
	if change != nil {
		change(&cfg)
	}
	e := &edge{t: t, echoes: make(chan *echo, 64), closed: make(chan protocol.CloseCode, 64), results: make(chan string, 256)}
	wheel := NewWheel(5*time.Millisecond, time.Second)
	ctx, stop := context.WithCancel(context.Background())
	var turning sync.WaitGroup
	turning.Go(func() { wheel.Run(ctx) })
	observe := Observer{Handshake: func(r string) { e.results <- r }, Closed: func(c protocol.CloseCode) { e.closed <- c }}
	e.server = NewServer(cfg, wheel, slog.New(slog.DiscardHandler), observe, func(c *Conn, _ *http.Request) Handler {
		h := &echo{conn: c, end: make(chan Ending, 1)}
		e.echoes <- h
		return h
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e.front = e.server.Front(listener, "/ws", cfg.MessageTimeout, cfg.Gate.Unadmitted)
	turning.Go(e.front.Run)
	e.http = &httptest.Server{Listener: e.front, Config: &http.Server{ConnState: e.front.State, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e.passed.Add(1)
		e.server.ServeHTTP(w, r)
	})}}
	e.http.Start()
	t.Cleanup(func() {
		e.server.Drain()
		e.server.CloseAll(protocol.CloseRestart, "test over")
		ctxWait, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := e.server.Wait(ctxWait); err != nil {
			t.Errorf("connections stayed open: %v", err)
		}
		e.http.Close()
		stop()
		turning.Wait()
	})
	return e
}

func (e *edge) dial(header http.Header) (*websocket.Conn, *http.Response, error) {
	d := websocket.Dialer{HandshakeTimeout: 5 * time.Second}
	return d.Dial("ws"+strings.TrimPrefix(e.http.URL, "http")+"/ws", header)
}

func (e *edge) connect() (*websocket.Conn, *echo) {
	e.t.Helper()
	ws, _, err := e.dial(nil)
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() { _ = ws.Close() })
	_ = ws.SetReadDeadline(time.Now().Add(10 * time.Second))
	return ws, <-e.echoes
}

// raw opens a connection that the test writes bytes to itself.
func (e *edge) raw() (net.Conn, *echo) {
	e.t.Helper()
	ws, h := e.connect()
	return ws.NetConn(), h
}

// masked is a client's frame with a zero mask.
func masked(op byte, payload string) []byte {
	head := []byte{op}
	switch n := len(payload); {
	case n < 126:
		head = append(head, 0x80|byte(n))
	default:
		head = append(head, 0x80|126, byte(n>>8), byte(n))
	}
	return append(append(head, 0, 0, 0, 0), payload...)
}

func read(t *testing.T, ws *websocket.Conn) string {
	t.Helper()
	_, m, err := ws.ReadMessage()
	if err != nil {
		t.Fatal(err)
	}
	return string(m)
}

// closeCode reads until the connection ends and returns the code it was closed with.
func closeCode(t *testing.T, ws *websocket.Conn) int {
	t.Helper()
	for {
		_, _, err := ws.ReadMessage()
		var closed *websocket.CloseError
		if errors.As(err, &closed) {
			return closed.Code
		}
		if err != nil {
			t.Fatalf("no close frame: %v", err)
		}
	}
}

func TestEchoAndBatches(t *testing.T) {
	e := newEdge(t, nil)
	ws, h := e.connect()
	for _, n := range []int{1, 125, 126, 1000} {
		body := strings.Repeat("x", n)
		if err := ws.WriteMessage(websocket.TextMessage, []byte(body)); err != nil {
			t.Fatal(err)
		}
		if got := read(t, ws); got != body {
			t.Fatalf("sent %d bytes, got %d back", n, len(got))
		}
	}
	h.mu.Lock()
	h.frames = append(h.frames, []byte("a"), []byte("b"), bytes.Repeat([]byte("c"), 70<<10))
	h.mu.Unlock()
	h.conn.Wake()
	if got := read(t, ws); got != "a\nb\n"+strings.Repeat("c", 70<<10) {
		t.Fatalf("a batch came as %d bytes", len(got))
	}
	_ = ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(1000, ""), time.Now().Add(time.Second))
	if end := <-h.end; !end.Clean || end.Code != protocol.CloseNormal {
		t.Errorf("ended with %+v", end)
	}
	if code := closeCode(t, ws); code != 1000 {
		t.Errorf("the goodbye was answered with %d", code)
	}
}

func TestBadInputCloses(t *testing.T) {
	long := strings.Repeat("x", 2000)
	tests := []struct {
		name   string
		change func(*Config)
		send   func(*websocket.Conn)
		want   int
	}{
		{"binary", nil, func(ws *websocket.Conn) { _ = ws.WriteMessage(websocket.BinaryMessage, []byte("x")) }, 1003},
		{"not UTF-8", nil, func(ws *websocket.Conn) { _ = ws.WriteMessage(websocket.TextMessage, []byte{0xff, 0xfe}) }, 1007},
		{"over the limit before hello", nil, func(ws *websocket.Conn) { _ = ws.WriteMessage(websocket.TextMessage, []byte(long)) }, 1009},
		{"over the limit after hello", nil, func(ws *websocket.Conn) {
			_ = ws.WriteMessage(websocket.TextMessage, []byte("hello"))
			_ = ws.WriteMessage(websocket.TextMessage, []byte(long+long+long))
		}, 1009},
		{"over the limit in fragments", nil, func(ws *websocket.Conn) {
			for range 5 {
				_, _ = ws.NetConn().Write(masked(0x01, long[:500]))
				_, _ = ws.NetConn().Write(masked(0x00, long[:500]))
			}
		}, 1002}, // a second beginning inside a message
		{"continuations over the limit", nil, func(ws *websocket.Conn) {
			_, _ = ws.NetConn().Write(masked(0x01, long[:500]))
			for range 3 {
				_, _ = ws.NetConn().Write(masked(0x00, long[:500]))
			}
		}, 1009},
		{"ping flood", nil, func(ws *websocket.Conn) {
			for range 40 {
				_ = ws.WriteControl(websocket.PingMessage, nil, time.Now().Add(time.Second))
			}
		}, 1008},
		{"pong flood", nil, func(ws *websocket.Conn) {
			for range 40 {
				_ = ws.WriteControl(websocket.PongMessage, nil, time.Now().Add(time.Second))
			}
		}, 1008},
		{"reserved bit", nil, func(ws *websocket.Conn) { _, _ = ws.NetConn().Write(masked(0xc1, "x")) }, 1002},
		{"unknown opcode", nil, func(ws *websocket.Conn) { _, _ = ws.NetConn().Write(masked(0x83, "x")) }, 1002},
		{"not masked", nil, func(ws *websocket.Conn) { _, _ = ws.NetConn().Write([]byte{0x81, 1, 'x'}) }, 1002},
		{"long ping", nil, func(ws *websocket.Conn) { _, _ = ws.NetConn().Write(masked(0x89, long[:126])) }, 1002},
		{"no hello", func(c *Config) { c.HelloTimeout = 50 * time.Millisecond }, func(*websocket.Conn) {}, 4000},
		{"a slow hello", func(c *Config) { c.HelloTimeout = 50 * time.Millisecond }, func(ws *websocket.Conn) {
			_, _ = ws.NetConn().Write(masked(0x81, "hello")[:8])
		}, 4000},
		{"a message that never ends", func(c *Config) { c.MessageTimeout = 50 * time.Millisecond }, func(ws *websocket.Conn) {
			_ = ws.WriteMessage(websocket.TextMessage, []byte("hello"))
			_, _ = ws.NetConn().Write(masked(0x01, "part"))
		}, 1008},
		{"no answer to pings", func(c *Config) { c.Ping, c.Pong = 20*time.Millisecond, 20*time.Millisecond }, func(ws *websocket.Conn) {
			ws.SetPingHandler(func(string) error { return nil })
			_ = ws.WriteMessage(websocket.TextMessage, []byte("hello"))
		}, 4002},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			e := newEdge(t, test.change)
			ws, h := e.connect()
			test.send(ws)
			if code := closeCode(t, ws); code != test.want {
				t.Errorf("closed with %d, want %d", code, test.want)
			}
			if end := <-h.end; int(end.Code) != test.want || end.Clean {
				t.Errorf("ended with %+v", end)
			}
		})
	}
}

func TestPingsKeepAnAnsweringClient(t *testing.T) {
	e := newEdge(t, func(c *Config) { c.Ping, c.Pong = 30*time.Millisecond, 2*time.Second })
	ws, h := e.connect()
	pings := 0
	ws.SetPingHandler(func(string) error {
		pings++
		return ws.WriteControl(websocket.PongMessage, nil, time.Now().Add(time.Second))
	})
	_ = ws.WriteMessage(websocket.TextMessage, []byte("hello"))
	if got := read(t, ws); got != "hello" {
		t.Fatal(got)
	}
	for range 3 {
		if got := read(t, ws); got != `{"type":"ping"}` {
			t.Fatalf("got %q, want a ping", got)
		}
	}
	if pings < 3 {
		t.Errorf("%d WebSocket pings", pings)
	}
	select {
	case end := <-h.end:
		t.Errorf("ended with %+v", end)
	default:
	}
}

func TestPingIsAnswered(t *testing.T) {
	e := newEdge(t, nil)
	ws, _ := e.connect()
	pong := make(chan string, 1)
	ws.SetPongHandler(func(payload string) error { pong <- payload; return nil })
	_ = ws.WriteControl(websocket.PingMessage, []byte("are you there"), time.Now().Add(time.Second))
	_ = ws.WriteMessage(websocket.TextMessage, []byte("x"))
	read(t, ws)
	if got := <-pong; got != "are you there" {
		t.Errorf("pong %q", got)
	}
}

func TestSlowReader(t *testing.T) {
	t.Run("is written to as it reads", func(t *testing.T) {
		e := newEdge(t, func(c *Config) { c.SendBuffer = 4 << 10 })
		ws, h := e.connect()
		const n = 400
		for i := range n {
			h.say(fmt.Appendf(nil, "%06d%s", i, strings.Repeat("x", 10<<10)))
		}
		for i := 0; i < n; {
			for _, frame := range strings.Split(read(t, ws), "\n") {
				if frame[:6] != fmt.Sprintf("%06d", i) {
					t.Fatalf("frame %d begins with %q", i, frame[:6])
				}
				i++
			}
		}
	})
	t.Run("is closed when it never reads", func(t *testing.T) {
		e := newEdge(t, func(c *Config) { c.SendBuffer, c.WriteStall = 4<<10, 100*time.Millisecond })
		_, h := e.connect()
		for range 2000 {
			h.say(bytes.Repeat([]byte("x"), 10<<10))
		}
		if end := <-h.end; end.Code != protocol.CloseSlow {
			t.Errorf("ended with %+v", end)
		}
	})
	// The system has the socket written to again when a third of what it holds is gone, which
	// takes this reader longer than it may stall.
	t.Run("stays as long as it reads at all", func(t *testing.T) {
		const patience = time.Second // the reader may stall for so long, on a busy machine
		e := newEdge(t, func(c *Config) { c.SendBuffer, c.WriteStall = 512<<10, patience })
		ws, h := e.connect()
		_ = ws.NetConn().(*net.TCPConn).SetReadBuffer(4 << 10)
		for range 400 {
			h.say(bytes.Repeat([]byte("x"), 10<<10))
		}
		readsOn(t, ws, h, 1<<10, 25*time.Millisecond, 3*patience)
	})
	t.Run("is told so when it wakes up", func(t *testing.T) {
		e := newEdge(t, func(c *Config) {
			c.SendBuffer, c.WriteStall, c.SlowGrace = 4<<10, 100*time.Millisecond, 10*time.Second
		})
		ws, h := e.connect()
		for range 2000 {
			h.say(bytes.Repeat([]byte("x"), 10<<10))
		}
		<-h.end
		if code := closeCode(t, ws); code != int(protocol.CloseSlow) {
			t.Errorf("closed with %d", code)
		}
	})
}

func TestBrokenLine(t *testing.T) {
	e := newEdge(t, nil)
	nc, h := e.raw()
	_ = nc.Close()
	if end := <-h.end; end.Code != protocol.CloseAbnormal || end.Clean {
		t.Errorf("ended with %+v", end)
	}
}

func TestCloseFlushesFirst(t *testing.T) {
	e := newEdge(t, nil)
	ws, h := e.connect()
	h.mu.Lock()
	h.frames = append(h.frames, []byte("the last word"))
	h.mu.Unlock()
	h.conn.Close(protocol.CloseSuperseded, "replaced")
	if got := read(t, ws); got != "the last word" {
		t.Errorf("got %q", got)
	}
	if code := closeCode(t, ws); code != 4504 {
		t.Errorf("closed with %d", code)
	}
}

func TestMalformedHandshake(t *testing.T) {
	e := newEdge(t, nil)
	response, err := http.Get(e.http.URL)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, response.Body)
	_ = response.Body.Close()
	if response.StatusCode != http.StatusBadRequest {
		t.Errorf("a plain GET got %d", response.StatusCode)
	}
	if n := e.server.Open(); n != 0 {
		t.Errorf("%d connections are counted", n)
	}
}

// readsOn reads so many bytes at each pace, for as long as given, and fails when the
// connection ends meanwhile.
func readsOn(t *testing.T, ws *websocket.Conn, h *echo, bytes int, pace, long time.Duration) {
	t.Helper()
	tick := time.NewTicker(pace)
	defer tick.Stop()
	enough := time.After(long)
	for {
		select {
		case end := <-h.end:
			t.Fatalf("ended with %+v while it was reading", end)
		case <-enough:
			return
		case <-tick.C:
			_, _ = ws.NetConn().Read(make([]byte, bytes))
		}
	}
}

// A peer that reads slowly gets its ping late; as long as it reads, it stays. This
// one never answers a ping, and reads for three times as long as a pong may take.
func TestSlowReaderIsNotTakenForDead(t *testing.T) {
	const patience = time.Second // the reader may stall for so long, on a busy machine
	e := newEdge(t, func(c *Config) {
		c.SendBuffer, c.Ping, c.Pong = 4<<10, 30*time.Millisecond, patience
	})
	ws, h := e.connect()
	_ = ws.NetConn().(*net.TCPConn).SetReadBuffer(4 << 10)
	_ = ws.WriteMessage(websocket.TextMessage, []byte("hello"))
	for range 400 {
		h.say(bytes.Repeat([]byte("x"), 4<<10))
	}
	readsOn(t, ws, h, 4<<10, 10*time.Millisecond, 3*patience)
}

// Who ends a server waits for a connection that is in its handshake as well.
func TestWaitForAHandshake(t *testing.T) {
	wheel := NewWheel(5*time.Millisecond, time.Second)
	begun, release := make(chan struct{}), make(chan struct{})
	s := NewServer(testConfig(), wheel, slog.New(slog.DiscardHandler), Observer{}, func(c *Conn, _ *http.Request) Handler {
		close(begun)
		<-release
		return &echo{conn: c, end: make(chan Ending, 1)}
	})
	front := httptest.NewServer(s)
	defer front.Close()
	ws, _, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(front.URL, "http")+"/ws", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ws.Close() }()
	<-begun
	s.CloseAll(protocol.CloseRestart, "over")
	waited := make(chan error, 1)
	go func() { waited <- s.Wait(context.Background()) }()
	select {
	case <-waited:
		t.Error("it did not wait")
	case <-time.After(20 * time.Millisecond):
	}
	close(release)
	if code := closeCode(t, ws); code != int(protocol.CloseRestart) {
		t.Errorf("closed with %d", code)
	}
	if err := <-waited; err != nil {
		t.Error(err)
	}
}
