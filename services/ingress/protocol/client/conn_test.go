package client

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/parley-chat/parley/services/ingress/protocol"
)

func TestConn(t *testing.T) {
	s := newScripted(t)
	ctx := testContext(t)
	c := must[*Conn](t)(Connect(ctx, s.url(), ConnConfig{}))
	p := s.accept()
	if err := c.Send(protocol.Request{Type: protocol.TypeHello, ID: 1, User: "a"}, protocol.Request{Type: protocol.TypePong}); err != nil {
		t.Fatal(err)
	}
	p.expect(protocol.TypeHello)
	p.expect(protocol.TypePong)
	if err := c.SendText(`{"type":"pong"}`); err != nil {
		t.Fatal(err)
	}
	p.expect(protocol.TypePong)

	given, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := c.Receive(given); !errors.Is(err, context.Canceled) {
		t.Errorf("Receive given up: %v", err)
	}
	p.send(protocol.AppendPing(nil), []byte(`{"type":"later","room":"g","seq":4}`)) // the connection is whole still
	if f := must[protocol.Frame](t)(c.Receive(ctx)); f.Type != protocol.TypePing {
		t.Errorf("got %s", f.Type)
	}
	if f := must[protocol.Frame](t)(c.Receive(ctx)); f.Type != "later" || f.Seq != 4 {
		t.Errorf("got %s", f.Raw)
	}
	p.close(protocol.CloseSlow)
	for range 2 {
		var ce *CloseError
		if _, err := c.Receive(ctx); !errors.As(err, &ce) || ce.Code != protocol.CloseSlow {
			t.Errorf("Receive at the end: %v", err)
		}
	}
	c.Close(protocol.CloseNormal, "")
}

func TestConnCloses(t *testing.T) {
	s := newScripted(t)
	ctx := testContext(t)
	c := must[*Conn](t)(Connect(ctx, s.url(), ConnConfig{}))
	p := s.accept()
	p.send(protocol.AppendPing(nil), protocol.AppendPing(nil)) // nobody receives them
	closing := async(func() (any, error) { return nil, c.Close(protocol.CloseGoingAway, "bye") })
	if code := p.ends(); code != protocol.CloseGoingAway {
		t.Errorf("closed with %d", code)
	}
	closing(t)

	c = must[*Conn](t)(Connect(ctx, s.url(), ConnConfig{}))
	p = s.accept()
	c.Cut()
	if code := p.ends(); code != protocol.CloseAbnormal {
		t.Errorf("cut: %d", code)
	}
}

func TestHandshakeError(t *testing.T) {
	busy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer busy.Close()
	_, err := Connect(testContext(t), busy.URL, ConnConfig{Dialer: &websocket.Dialer{}})
	var he *HandshakeError
	if !errors.As(err, &he) || he.Status != 503 || he.RetryAfter != 7*time.Second {
		t.Errorf("got %v", err)
	}
}
