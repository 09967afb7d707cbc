package client

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/parley-chat/parley/services/ingress/protocol"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// scripted is our own side of the protocol, played by the test: each WebSocket
// that a client opens comes out of accept as a peer.
type scripted struct {
	t     *testing.T
	http  *httptest.Server
	peers chan *peer
}

func newScripted(t *testing.T) *scripted {
	s := &scripted{t: t, peers: make(chan *peer, 16)}
	up := websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }, Subprotocols: []string{protocol.Subprotocol}}
	s.http = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := up.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		s.peers <- &peer{t: t, ws: ws}
	}))
	t.Cleanup(s.http.Close)
	return s
}

func (s *scripted) url() string { return s.http.URL }

const patience = 10 * time.Second

func (s *scripted) accept() *peer {
	s.t.Helper()
	select {
	case p := <-s.peers:
		s.t.Cleanup(func() { p.ws.Close() })
		return p
	case <-time.After(patience):
		s.t.Fatal("no connection came")
		return nil
	}
}

// welcome accepts a connection and answers its hello.
func (s *scripted) welcome() (*peer, protocol.Request) {
	s.t.Helper()
	p := s.accept()
	hello := p.expect(protocol.TypeHello)
	p.send(protocol.AppendWelcome(nil, &protocol.Welcome{
		ID: hello.ID, Session: "s_1", Resume: "secret", User: "alice", Node: "n1", PingMS: 25000, Limits: protocol.DefaultLimits(),
	}))
	return p, hello
}

type peer struct {
	t       *testing.T
	ws      *websocket.Conn
	pending [][]byte
}

func (p *peer) next() (protocol.Request, error) {
	for len(p.pending) == 0 {
		p.ws.SetReadDeadline(time.Now().Add(patience))
		_, message, err := p.ws.ReadMessage()
		if err != nil {
			return protocol.Request{}, err
		}
		p.pending = bytes.Split(message, []byte{'\n'})
	}
	limits := protocol.DefaultLimits()
	r, perr := protocol.ParseRequest(p.pending[0], &limits)
	p.pending = p.pending[1:]
	if perr != nil {
		return r, perr
	}
	return r, nil
}

func (p *peer) expect(typ string) protocol.Request {
	p.t.Helper()
	r, err := p.next()
	if err != nil {
		p.t.Fatalf("waiting for %s: %v", typ, err)
	}
	if r.Type != typ {
		p.t.Fatalf("got %s, want %s", r.Type, typ)
	}
	return r
}

func (p *peer) send(frames ...[]byte) {
	p.t.Helper()
	p.ws.SetWriteDeadline(time.Now().Add(patience))
	if err := p.ws.WriteMessage(websocket.TextMessage, bytes.Join(frames, []byte{'\n'})); err != nil {
		p.t.Fatalf("server writes: %v", err)
	}
}

func (p *peer) joined(id uint64, room string, seq, after uint64) {
	p.t.Helper()
	p.send(protocol.AppendJoined(nil, &protocol.Joined{ID: id, Room: room, Epoch: "e1", Seq: seq, After: after, Floor: 1}))
}

func (p *peer) join(room string, seq uint64) {
	p.t.Helper()
	p.joined(p.expect(protocol.TypeJoin).ID, room, seq, seq)
}

func (p *peer) message(room string, seq uint64, from, cid string) {
	p.t.Helper()
	p.send(messageFrame(room, seq, from, cid))
}

func messageFrame(room string, seq uint64, from, cid string) []byte {
	return protocol.AppendMessage(nil, &protocol.Message{Room: room, Seq: seq, MID: "m", From: from, CID: cid, TS: int64(seq), Body: json.RawMessage(`{}`)})
}

func (p *peer) ok(r protocol.Request, seq uint64) {
	p.t.Helper()
	p.send(protocol.AppendOK(nil, &protocol.OK{ID: r.ID, Room: r.Room, Seq: seq, TS: int64(seq)}))
}

// close ends the connection the way an edge does.
func (p *peer) close(code protocol.CloseCode) {
	p.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(int(code), ""), time.Now().Add(time.Second))
	p.ws.Close()
}

// cut breaks the line.
func (p *peer) cut() { p.ws.NetConn().Close() }

// ends waits until the client has closed, and returns its code.
func (p *peer) ends() protocol.CloseCode {
	p.t.Helper()
	for {
		if _, err := p.next(); err != nil {
			return closeError(err).Code
		}
	}
}

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// dial starts a client while the test answers its hello.
func dial(t *testing.T, s *scripted, change func(*Config)) (*Client, *peer, protocol.Request) {
	t.Helper()
	cfg := Config{URLs: []string{s.url()}, User: "alice", Agent: "test", Backoff: Backoff{Base: time.Millisecond, Max: 10 * time.Millisecond}}
	if change != nil {
		change(&cfg)
	}
	var c *Client
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err = Dial(testContext(t), cfg)
	}()
	p, hello := s.welcome()
	<-done
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c, p, hello
}

// async runs one call of the client's while the test plays the server.
func async[T any](fn func() (T, error)) func(t *testing.T) (T, error) {
	var v T
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		v, err = fn()
	}()
	return func(t *testing.T) (T, error) {
		t.Helper()
		select {
		case <-done:
		case <-time.After(patience):
			t.Fatal("the call does not return")
		}
		return v, err
	}
}

func must[T any](t *testing.T) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func enter(t *testing.T, c *Client, p *peer, room string, seq uint64, o JoinOptions) *Room {
	t.Helper()
	join := async(func() (*Room, error) { return c.Join(testContext(t), room, o) })
	p.join(room, seq)
	return must[*Room](t)(join(t))
}

func contains(err error, text string) bool { return err != nil && strings.Contains(err.Error(), text) }
