package socket

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

const shake = "Host: chat.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

func (e *edge) tcp() (net.Conn, *bufio.Reader) {
	e.t.Helper()
	conn, err := net.Dial("tcp", e.http.Listener.Addr().String())
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	return conn, bufio.NewReader(conn)
}

// ask writes the request in pieces of so many bytes and returns the answer.
func ask(t *testing.T, conn net.Conn, in *bufio.Reader, request string, piece int) *http.Response {
	t.Helper()
	for text := []byte(request); len(text) > 0; {
		n := min(piece, len(text))
		_, _ = conn.Write(text[:n]) // it may be answered, and hung up on, before its end
		text = text[n:]
	}
	response, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	return response
}

func TestFrontUpgradesAndHandsOn(t *testing.T) {
	tests := []struct {
		name    string
		request string
		status  int
		passed  int64 // to the HTTP server
	}{
		{"a handshake", "GET /ws HTTP/1.1\r\n" + shake + "\r\n", 101, 0},
		{"with a query", "GET /ws?a=b HTTP/1.1\r\n" + shake + "\r\n", 101, 0},
		{"with a long head", "GET /ws HTTP/1.1\r\n" + shake + "Cookie: " + strings.Repeat("x", 6<<10) + "\r\n\r\n", 101, 1},
		{"a wrong version", "GET /ws HTTP/1.1\r\n" + strings.Replace(shake, "13", "12", 1) + "\r\n", 400, 0},
		{"no key", "GET /ws HTTP/1.1\r\n" + strings.Replace(shake, "-Key", "-Kex", 1) + "\r\n", 400, 0},
		{"no upgrade", "GET /ws HTTP/1.1\r\nHost: chat.example\r\n\r\n", 400, 1},
		{"another path", "GET /wsx HTTP/1.1\r\n" + shake + "\r\n", 101, 1},
		{"an escaped path", "GET /%77s HTTP/1.1\r\n" + shake + "\r\n", 101, 1},
		{"another method", "POST /ws HTTP/1.1\r\n" + shake + "\r\n", 405, 1},
		{"with a body", "GET /ws HTTP/1.1\r\nContent-Length: 1\r\n" + shake + "\r\n", 101, 1},
		{"HTTP/1.0", "GET /ws HTTP/1.0\r\n" + shake + "\r\n", 101, 1},
		{"no host", "GET /ws HTTP/1.1\r\n" + strings.Replace(shake, "Host", "Hast", 1) + "\r\n", 400, 0},
		{"a bad header", "GET /ws HTTP/1.1\r\n" + shake + "with space: x\r\n\r\n", 400, 0},
		{"a bad value", "GET /ws HTTP/1.1\r\n" + shake + "X: \x01\r\n\r\n", 400, 0},
		{"no HTTP", "hello\r\n\r\n", 400, 0},
	}
	for _, test := range tests {
		for _, piece := range []int{1 << 20, 1} {
			t.Run(test.name, func(t *testing.T) {
				e := newEdge(t, nil)
				conn, in := e.tcp()
				response := ask(t, conn, in, test.request, piece)
				if got := e.passed.Load(); response.StatusCode != test.status || got != test.passed {
					t.Fatalf("status %d, %d requests to the HTTP server; want %d, %d", response.StatusCode, got, test.status, test.passed)
				}
				if response.StatusCode == http.StatusSwitchingProtocols {
					checkEcho(t, conn, in)
				}
			})
		}
	}
}

// checkEcho sends a masked frame and reads what comes of it.
func checkEcho(t *testing.T, conn net.Conn, in *bufio.Reader) {
	t.Helper()
	if _, err := conn.Write([]byte{0x81, 0x82, 0, 0, 0, 0, 'h', 'i'}); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 4)
	if _, err := io.ReadFull(in, got); err != nil || !bytes.Equal(got, []byte{0x81, 2, 'h', 'i'}) {
		t.Errorf("echo % x, %v", got, err)
	}
}

// What the gate refuses looks like an answer of the HTTP server.
func TestFrontRefuses(t *testing.T) {
	e := newEdge(t, func(c *Config) { c.Gate.Connections = 1 })
	e.connect()
	var answers [2]string
	for i, request := range []string{"GET /ws HTTP/1.1\r\n" + shake + "\r\n", "GET /%77s HTTP/1.1\r\n" + shake + "\r\n"} {
		conn, in := e.tcp()
		response := ask(t, conn, in, request, 1<<20)
		text, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := in.ReadByte(); err != io.EOF {
			t.Errorf("after the answer: %v, want the end", err)
		}
		response.Header.Del("Date")
		var head strings.Builder
		_ = response.Header.Write(&head)
		answers[i] = response.Status + "\n" + head.String() + string(text)
	}
	if answers[0] != answers[1] || !strings.HasPrefix(answers[0], "503") {
		t.Errorf("the front says\n%s\nthe HTTP server\n%s", answers[0], answers[1])
	}
	if e.passed.Load() != 1 {
		t.Errorf("%d requests to the HTTP server", e.passed.Load())
	}
}

func TestFrontHangsUp(t *testing.T) {
	e := newEdge(t, func(c *Config) { c.MessageTimeout, c.Gate.Unadmitted = 200*time.Millisecond, 2 })
	for _, first := range []string{"", "GET /w", "POST "} {
		conn, in := e.tcp()
		_, _ = conn.Write([]byte(first))
		if first == "POST " { // the HTTP server's, which has a patience of its own
			_ = conn.Close()
			continue
		}
		if _, err := in.ReadByte(); err != io.EOF {
			t.Errorf("after %q and nothing more: %v, want the end", first, err)
		}
	}
}

// Connections that say nothing are bounded; those that became WebSockets, or ended, no longer count.
func TestFrontBoundsTheSilent(t *testing.T) {
	const limit = 2
	e := newEdge(t, func(c *Config) { c.Gate.Unadmitted = limit })
	open := func() int {
		e.front.mu.Lock()
		defer e.front.mu.Unlock()
		return e.front.open
	}
	await := func(want int) {
		t.Helper()
		for by := time.Now().Add(10 * time.Second); open() != want; time.Sleep(time.Millisecond) { // polls a condition
			if time.Now().After(by) {
				t.Fatalf("%d are open, want %d", open(), want)
			}
		}
	}
	one, _ := e.tcp()
	_, _ = e.tcp()
	await(limit)
	_, in := e.tcp()
	if _, err := in.ReadByte(); err != io.EOF {
		t.Errorf("one too many: %v, want the end", err)
	}
	_ = one.Close()
	await(limit - 1)
	ws, h := e.connect()
	if err := ws.WriteMessage(1, []byte("x")); err != nil {
		t.Fatal(err)
	}
	read(t, ws)
	await(limit - 1)
	_ = ws.Close()
	<-h.end
	response, err := http.Get(e.http.URL)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	await(limit - 1)
}

func TestFrontCloses(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{}
	f := s.Front(listener, "/ws", time.Minute, 0)
	ran := make(chan struct{})
	go func() {
		defer close(ran)
		f.Run()
	}()
	silent, err := net.Dial("tcp", f.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	other, err := net.Dial("tcp", f.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Close() }()
	if _, err := other.Write([]byte("POST /")); err != nil {
		t.Fatal(err)
	}
	handed, err := f.Accept()
	if err != nil {
		t.Fatal(err)
	}
	start := make([]byte, 6)
	if _, err := io.ReadFull(handed, start); err != nil || string(start) != "POST /" {
		t.Errorf("handed on with %q, %v", start, err)
	}
	_ = handed.Close()
	_ = f.Close()
	_ = f.Close()
	<-ran
	if _, err := f.Accept(); err != net.ErrClosed {
		t.Errorf("accepting after the end: %v", err)
	}
	if n, err := silent.Read(start); err == nil {
		t.Errorf("who said nothing reads %d bytes", n)
	}
}
