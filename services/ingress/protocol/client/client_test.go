package client

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/parley-chat/parley/services/ingress/protocol"
)

func TestConversation(t *testing.T) {
	s := newScripted(t)
	c, p, hello := dial(t, s, nil)
	if hello.User != "alice" || hello.Agent != "test" {
		t.Errorf("hello %+v", hello)
	}
	ctx := testContext(t)
	r := enter(t, c, p, "general", 41, JoinOptions{})
	if j := r.Joined(); j.Seq != 41 || r.Cursor() != (protocol.Cursor{Epoch: "e1", Seq: 41}) {
		t.Errorf("joined %+v, cursor %+v", j, r.Cursor())
	}

	send := async(func() (Ack, error) { return r.Send(ctx, map[string]string{"text": "<hi>"}) })
	req := p.expect(protocol.TypeSend)
	if string(req.Body) != `{"text":"<hi>"}` || req.CID == "" || req.Since != nil {
		t.Errorf("send %+v", req)
	}
	p.send(messageFrame("general", 42, "alice", req.CID), protocol.AppendOK(nil, &protocol.OK{ID: req.ID, Room: "general", Seq: 42, TS: 42}))
	if ack := must[Ack](t)(send(t)); ack.Seq != 42 || ack.CID != req.CID {
		t.Errorf("ack %+v", ack)
	}
	if f := must[protocol.Frame](t)(r.Next(ctx)); f.Seq != 42 || r.Cursor().Seq != 42 {
		t.Errorf("event %+v", f)
	}

	history := async(func() (Page, error) { return c.History(ctx, "general", HistoryQuery{After: new(uint64(40)), Limit: 2}) })
	req = p.expect(protocol.TypeHistory)
	if *req.After != 40 || req.Limit != 2 {
		t.Errorf("history %+v", req)
	}
	p.send(protocol.AppendPage(nil, &protocol.Page{ID: req.ID, Entries: []protocol.Message{{Seq: 41, From: "bob"}}, Head: 42, Floor: 1, Epoch: "e1"}))
	if page := must[Page](t)(history(t)); len(page.Entries) != 1 || page.Entries[0].Room != "general" || page.Head != 42 {
		t.Errorf("page %+v", page)
	}

	presence := async(func() (protocol.Presence, error) { return c.PresenceUser(ctx, "alice") })
	req = p.expect(protocol.TypePresence)
	p.send(protocol.AppendPresence(nil, &protocol.Presence{ID: req.ID, Count: 1, Sessions: []protocol.SessionInfo{{Session: "s_1"}}}))
	if got := must[protocol.Presence](t)(presence(t)); got.Count != 1 || got.User != "alice" || req.User != "alice" {
		t.Errorf("presence %+v", got)
	}

	for _, call := range []struct {
		typ string
		fn  func() error
	}{
		{protocol.TypeTyping, func() error { return r.Typing(ctx) }},
		{protocol.TypeSignal, func() error { return r.Signal(ctx, 5) }},
		{protocol.TypeAuth, func() error { return c.Auth(ctx, "t") }},
		{protocol.TypeLeave, func() error { return r.Leave(ctx) }},
	} {
		done := async(func() (any, error) { return nil, call.fn() })
		req := p.expect(call.typ)
		p.send(protocol.AppendOK(nil, &protocol.OK{ID: req.ID}))
		if _, err := done(t); err != nil {
			t.Errorf("%s: %v", call.typ, err)
		}
	}
	if _, err := r.Next(ctx); !errors.Is(err, ErrLeft) {
		t.Errorf("Next after Leave: %v", err)
	}
	if _, err := r.Send(ctx, 1); !contains(err, "forbidden") {
		t.Errorf("Send after Leave: %v", err)
	}

	p.send(protocol.AppendPing(nil))
	p.expect(protocol.TypePong)
	closed := async(func() (any, error) { return nil, c.Close() })
	if code := p.ends(); code != protocol.CloseNormal {
		t.Errorf("closed with %d", code)
	}
	closed(t)
	if _, err := c.Join(ctx, "other", JoinOptions{}); !errors.Is(err, ErrClosed) {
		t.Errorf("Join after Close: %v", err)
	}
}

func TestServerErrors(t *testing.T) {
	s := newScripted(t)
	c, p, _ := dial(t, s, nil)
	ctx := testContext(t)
	join := async(func() (*Room, error) { return c.Join(ctx, "secret", JoinOptions{}) })
	p.send(protocol.AppendError(nil, &protocol.Error{ID: p.expect(protocol.TypeJoin).ID, Code: protocol.Forbidden, Message: "no"}))
	var perr *protocol.Error
	if _, err := join(t); !errors.As(err, &perr) || perr.Code != protocol.Forbidden {
		t.Errorf("Join: %v", err)
	}
	if _, err := c.Join(ctx, "a b", JoinOptions{}); !contains(err, "room name") {
		t.Errorf("Join of a bad name: %v", err)
	}
	r := enter(t, c, p, "general", 1, JoinOptions{})
	if _, err := r.Send(ctx, strings.Repeat("x", 40<<10)); !errors.As(err, &perr) || perr.Code != protocol.TooLarge {
		t.Errorf("Send of 40 KiB: %v", err)
	}
	if _, err := r.Send(ctx, make(chan int)); err == nil {
		t.Error("a channel was sent")
	}
	short, cancel := context.WithCancel(ctx)
	send := async(func() (Ack, error) { return r.Send(short, 1) })
	p.expect(protocol.TypeSend)
	cancel()
	if _, err := send(t); !errors.Is(err, context.Canceled) {
		t.Errorf("Send given up: %v", err)
	}
	p.send(protocol.AppendError(nil, &protocol.Error{Room: "general", Code: protocol.Forbidden, Message: "removed"}))
	if _, err := r.Next(ctx); !errors.As(err, &perr) || perr.Message != "removed" {
		t.Errorf("Next after removal: %v", err)
	}
}

func TestReconnectResumesAndResends(t *testing.T) {
	s := newScripted(t)
	c, p, _ := dial(t, s, nil)
	ctx := testContext(t)
	r := enter(t, c, p, "general", 10, JoinOptions{})
	p.message("general", 11, "bob", "b1")
	must[protocol.Frame](t)(r.Next(ctx))
	send := async(func() (Ack, error) { return r.Send(ctx, 1, WithCID("c1")) })
	first := p.expect(protocol.TypeSend)
	p.cut()

	p, hello := s.welcome()
	if hello.Resume != "secret" || hello.Rooms["general"] != (protocol.Cursor{Epoch: "e1", Seq: 11}) {
		t.Errorf("hello %+v", hello)
	}
	p.joined(0, "general", 12, 11)
	p.message("general", 12, "bob", "b2")
	again := p.expect(protocol.TypeSend)
	if again.CID != "c1" || again.ID != first.ID || again.Since == nil || *again.Since != (protocol.Cursor{Epoch: "e1", Seq: 11}) {
		t.Errorf("resend %+v", again)
	}
	p.ok(again, 13)
	if ack := must[Ack](t)(send(t)); ack.Seq != 13 {
		t.Errorf("ack %+v", ack)
	}
	if f := must[protocol.Frame](t)(r.Next(ctx)); f.Seq != 12 {
		t.Errorf("event %+v", f)
	}
	if st := c.Status(); st.State != Open || st.Session != "s_1" {
		t.Errorf("status %+v", st)
	}
}

func TestMigrate(t *testing.T) {
	s, other := newScripted(t), newScripted(t)
	states := make(chan State, 16)
	c, p, _ := dial(t, s, func(cfg *Config) { cfg.OnStatus = func(st Status) { states <- st.State } })
	ctx := testContext(t)
	r := enter(t, c, p, "general", 10, JoinOptions{})
	send := async(func() (Ack, error) { return r.Send(ctx, 1, WithCID("c1")) })
	p.expect(protocol.TypeSend)
	p.send(protocol.AppendMigrate(nil, &protocol.Migrate{ByMS: 20000, URL: other.url()}))
	q, _ := other.welcome()
	p.message("general", 11, "bob", "b1") // the old one serves on
	if f := must[protocol.Frame](t)(r.Next(ctx)); f.Seq != 11 {
		t.Errorf("event %+v", f)
	}
	q.joined(0, "general", 12, 10)
	q.send(messageFrame("general", 11, "bob", "b1"), messageFrame("general", 12, "alice", "c1"))
	if code := p.ends(); code != protocol.CloseNormal {
		t.Errorf("the old connection ended with %d", code)
	}
	if ack := must[Ack](t)(send(t)); ack.Seq != 12 {
		t.Errorf("ack %+v", ack)
	}
	if f := must[protocol.Frame](t)(r.Next(ctx)); f.Seq != 12 {
		t.Errorf("event %+v", f)
	}
	for _, want := range []State{Connecting, Open, Moved} {
		if got := <-states; got != want {
			t.Errorf("status %s, want %s", got, want)
		}
	}
}

func TestSlowReaderLosesNothing(t *testing.T) {
	s := newScripted(t)
	c, p, _ := dial(t, s, func(cfg *Config) { cfg.Events = 4 })
	ctx := testContext(t)
	r := enter(t, c, p, "general", 0, JoinOptions{})
	const n = 20
	for seq := uint64(1); seq <= n; seq++ {
		p.message("general", seq, "bob", "")
	}
	p.send(protocol.AppendPing(nil))
	p.expect(protocol.TypePong) // all of them have been read
	served := make(chan struct{})
	go func() { // from now on the server answers each rejoin with what follows
		defer close(served)
		for {
			j, err := p.next()
			if err != nil || j.Type != protocol.TypeJoin {
				return
			}
			joined := protocol.AppendJoined(nil, &protocol.Joined{ID: j.ID, Room: "general", Epoch: "e1", Seq: n, After: j.Since.Seq, Floor: 1})
			err = p.ws.WriteMessage(websocket.TextMessage, joined)
			for seq := j.Since.Seq + 1; seq <= n && err == nil; seq++ {
				err = p.ws.WriteMessage(websocket.TextMessage, messageFrame("general", seq, "bob", ""))
			}
		}
	}()
	for seq := uint64(1); seq <= n; seq++ {
		if f := must[protocol.Frame](t)(r.Next(ctx)); f.Seq != seq {
			t.Fatalf("got %d, want %d", f.Seq, seq)
		}
	}
	c.Close()
	<-served
}

func TestOnEventMaySend(t *testing.T) {
	s := newScripted(t)
	c, p, _ := dial(t, s, nil)
	ctx := testContext(t)
	acks := make(chan Ack, 1)
	var room atomic.Pointer[Room]
	ready := make(chan struct{})
	room.Store(enter(t, c, p, "general", 0, JoinOptions{OnEvent: func(f protocol.Frame) {
		<-ready
		ack, err := room.Load().Send(ctx, "pong")
		if err == nil {
			acks <- ack
		}
	}}))
	close(ready)
	p.message("general", 1, "bob", "b1")
	p.ok(p.expect(protocol.TypeSend), 2)
	if ack := <-acks; ack.Seq != 2 {
		t.Errorf("ack %+v", ack)
	}
}

func TestStopCodeEndsEverything(t *testing.T) {
	s := newScripted(t)
	c, p, _ := dial(t, s, nil)
	ctx := testContext(t)
	r := enter(t, c, p, "general", 0, JoinOptions{})
	send := async(func() (Ack, error) { return r.Send(ctx, 1) })
	p.expect(protocol.TypeSend)
	p.close(protocol.CloseBanned)
	var ce *ClosedError
	if _, err := send(t); !errors.As(err, &ce) || ce.Code != protocol.CloseBanned {
		t.Errorf("Send: %v", err)
	}
	if _, err := r.Next(ctx); !errors.Is(err, ErrClosed) {
		t.Errorf("Next: %v", err)
	}
	c.Close()
	if st := c.Status(); st.State != Closed || st.Code != protocol.CloseBanned {
		t.Errorf("status %+v", st)
	}
}

func TestDialFails(t *testing.T) {
	ctx := testContext(t)
	for _, cfg := range []Config{
		{}, {URLs: []string{"ftp://x"}, User: "a"}, {URLs: []string{"ws://"}, User: "a"}, {URLs: []string{"ws://x"}},
	} {
		if _, err := Dial(ctx, cfg); err == nil {
			t.Errorf("%+v: no error", cfg)
		}
	}

	s := newScripted(t)
	refused := async(func() (*Client, error) { return Dial(ctx, Config{URLs: []string{s.url()}, User: "alice"}) })
	p := s.accept()
	hello := p.expect(protocol.TypeHello)
	p.send(protocol.AppendError(nil, &protocol.Error{ID: hello.ID, Code: protocol.Unauthorized, Message: "bad token"}))
	p.close(protocol.CloseUnauth)
	if _, err := refused(t); !errors.Is(err, ErrClosed) || !contains(err, "bad token") {
		t.Errorf("refused: %v", err)
	}

	forbidden := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	defer forbidden.Close()
	if _, err := Dial(ctx, Config{URLs: []string{forbidden.URL}, User: "alice"}); !contains(err, "HTTP 403") {
		t.Errorf("HTTP 403: %v", err)
	}

	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody.Close()
	short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	_, err = Dial(short, Config{URLs: []string{"ws://" + nobody.Addr().String()}, User: "alice", Backoff: Backoff{Base: time.Millisecond}})
	if !errors.Is(err, context.DeadlineExceeded) || !contains(err, "last attempt") {
		t.Errorf("nobody there: %v", err)
	}
}

func TestTokenIsFreshForEveryConnection(t *testing.T) {
	s := newScripted(t)
	var n atomic.Int32
	_, p, hello := dial(t, s, func(cfg *Config) {
		cfg.User = ""
		cfg.Token = func(context.Context) (string, error) {
			switch n.Add(1) {
			case 1:
				return "t1", nil
			case 2:
				return "", errors.New("the identity provider is away") // another attempt follows
			default:
				return "t3", nil
			}
		}
	})
	if hello.Token != "t1" {
		t.Errorf("token %q", hello.Token)
	}
	p.close(protocol.CloseRestart)
	if _, hello := s.welcome(); hello.Token != "t3" {
		t.Errorf("token %q", hello.Token)
	}
}

func TestServerThatBreaksTheProtocol(t *testing.T) {
	s := newScripted(t)
	_, p, _ := dial(t, s, nil)
	p.send([]byte(`{"type":"message","seq":"x"}`))
	if code := p.ends(); code != protocol.ClosePolicy {
		t.Errorf("closed with %d", code)
	}
	s.welcome() // and tries again
}
