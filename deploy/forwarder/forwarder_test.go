package forwarder

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// fakeEdge says its name and, on a WebSocket, repeats what it hears with it, until it hears
// "end".
type fakeEdge struct {
	*httptest.Server
	red atomic.Bool
}

func newFakeEdge(t *testing.T, name string) *fakeEdge {
	e := &fakeEdge{}
	mux := http.NewServeMux()
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) {
		if e.red.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, name+" "+r.Host)
	})
	mux.HandleFunc("/ws", func(w http.ResponseWriter, r *http.Request) {
		ws, err := (&websocket.Upgrader{}).Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer ws.Close()
		for {
			kind, data, err := ws.ReadMessage()
			if err != nil || string(data) == "end" || ws.WriteMessage(kind, append([]byte(name+" "), data...)) != nil {
				return
			}
		}
	})
	e.Server = httptest.NewServer(mux)
	t.Cleanup(e.Close)
	return e
}

func serve(t *testing.T, edges ...*fakeEdge) string {
	cfg := Config{Every: 5 * time.Millisecond}
	for _, e := range edges {
		cfg.Edges = append(cfg.Edges, e.URL)
	}
	f, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- f.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return l.Addr().String()
}

func dial(t *testing.T, address string) (*websocket.Conn, string) {
	t.Helper()
	ws, _, err := websocket.DefaultDialer.Dial("ws://"+address+"/ws", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ws.Close() })
	return ws, echo(t, ws)
}

func echo(t *testing.T, ws *websocket.Conn) string {
	t.Helper()
	if err := ws.WriteMessage(websocket.TextMessage, []byte("hi")); err != nil {
		t.Fatal(err)
	}
	_, data, err := ws.ReadMessage()
	if err != nil {
		t.Fatal(err)
	}
	name, _, _ := strings.Cut(string(data), " ")
	return name
}

func get(t *testing.T, address string) (int, string) {
	t.Helper()
	res, err := http.Get("http://" + address + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

func TestSocketsAreSpreadAndARedEdgeGetsNoMore(t *testing.T) {
	a, b := newFakeEdge(t, "a"), newFakeEdge(t, "b")
	address := serve(t, a, b)
	first, one := dial(t, address)
	_, two := dial(t, address)
	if one != "a" || two != "b" {
		t.Fatalf("two sockets went to %s and %s", one, two)
	}
	a.red.Store(true)
	eventually(t, "a gets nothing more", func() bool { _, body := get(t, address); return body == "b "+address })
	if _, name := dial(t, address); name != "b" {
		t.Errorf("a socket went to %s, which is not ready", name)
	}
	if name := echo(t, first); name != "a" {
		t.Errorf("the socket at a is at %s now", name)
	}
}

func TestNobodyReady(t *testing.T) {
	a := newFakeEdge(t, "a")
	address := serve(t, a)
	a.red.Store(true)
	eventually(t, "503", func() bool { status, _ := get(t, address); return status == http.StatusServiceUnavailable })
	a.red.Store(false)
	eventually(t, "200", func() bool { status, _ := get(t, address); return status == http.StatusOK })
}

func TestAnEdgeThatEndsEndsItsSockets(t *testing.T) {
	a := newFakeEdge(t, "a")
	ws, _ := dial(t, serve(t, a))
	if err := ws.WriteMessage(websocket.TextMessage, []byte("end")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := ws.ReadMessage(); err == nil {
		t.Error("the socket lives on without its edge")
	}
}

func TestEdgesAreChecked(t *testing.T) {
	for _, edges := range [][]string{nil, {"127.0.0.1:80"}, {"ftp://a"}} {
		if _, err := New(Config{Edges: edges}); err == nil {
			t.Errorf("edges %q were accepted", edges)
		}
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("never: %s", what)
		}
	}
}
