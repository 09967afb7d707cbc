package ingress

import (
	"strings"
	"testing"
	"time"

	"github.com/parley-chat/parley/services/ingress/protocol"
	"github.com/parley-chat/parley/shared/bus"
	"github.com/parley-chat/parley/shared/event"
	"github.com/parley-chat/parley/shared/process"
	"github.com/parley-chat/parley/shared/topic"
)

// operator connects as a status board does.
func (e *edge) operator(token string) *client {
	e.Helper()
	c := e.dial()
	c.say(`{"type":"hello","id":1,"admin":%q}`, token)
	c.hear("welcome")
	return c
}

func (e *edge) deliver(d event.Delivery) {
	e.Helper()
	if err := bus.Publish(e.ctx, e.others.writer, topic.Deliveries(e.service.nodeID()), d); err != nil {
		e.Fatal(err)
	}
}

func TestBoardsAreTold(t *testing.T) {
	e := start(t)
	c := e.operator("anything: no token is set, and this is dev auth")
	c.join("~status")
	said := func(process string) *event.MeasuresSaid {
		return &event.MeasuresSaid{Samples: []event.Measures{{Process: process, Service: "chat", At: 5}}}
	}
	who := e.service.hub.all()[0].who
	now := time.Now().UnixMilli()
	e.deliver(event.Delivery{Room: "~status", At: now, Session: who.Session, Life: who.Life, Measured: said("before")})
	e.deliver(event.Delivery{Room: "~status", At: now - 2*event.VolatileMS, Measured: said("late")})
	e.deliver(event.Delivery{Room: "~status", At: now, Measured: said("now")})
	for _, want := range []string{"before", "now"} {
		if f := c.hear("status"); f.Room != "~status" || !strings.Contains(string(f.Raw), `"samples":[{"process":"`+want+`","service":"chat","at":5,`) {
			t.Errorf("heard %s, want %s", f.Raw, want)
		}
	}
	e.others.mu.Lock()
	defer e.others.mu.Unlock()
	for _, command := range e.others.heard {
		if command.OpenSession != nil {
			t.Errorf("an operator's session was announced: %+v", command)
		}
	}
}

func TestOperatorsNeedTheToken(t *testing.T) {
	for _, test := range []struct {
		auth, token, given string
		ok                 bool
	}{
		{"dev", "", "x", true},
		{"dev", "right", "right", true},
		{"dev", "right", "wrong", false},
		{"jwt", "", "x", false},
		{"jwt", "right", "wrong", false},
		{"jwt", "right", "right", true},
	} {
		s := &Service{}
		s.cfg.Auth, s.adminToken = test.auth, process.Secret(test.token)
		if refused := s.admit(test.given); (refused == nil) != test.ok || refused != nil && refused.Code != protocol.Unauthorized {
			t.Errorf("%s auth, token %q, given %q: %v, want ok %t", test.auth, test.token, test.given, refused, test.ok)
		}
	}
}

func TestWrongAdminTokenEndsTheConnection(t *testing.T) {
	e := start(t, "--auth=jwt", "--jwt-secret="+testSecret)
	c := e.dial()
	c.say(`{"type":"hello","id":1,"admin":"guess"}`)
	if f := c.hear("error"); f.Code != protocol.Unauthorized || f.ID != 1 {
		t.Errorf("heard %s", f.Raw)
	}
	if code := c.closed(); code != int(protocol.CloseUnauth) {
		t.Errorf("closed with %d", code)
	}
}

// What an edge says of itself is what clients went through.
func TestMeasuresOfAnEdge(t *testing.T) {
	e := start(t)
	a, b := e.user("alice"), e.user("bob")
	a.join("r")
	b.join("r")
	a.send("r", 3)
	b.room(3)
	var m event.Measures
	e.until("everything is counted", func() bool {
		e.service.measure(&m)
		return m.Ingress.Deliveries == 6
	})
	sends := uint64(0)
	for _, n := range m.Ingress.Latency {
		sends += n
	}
	if got := m.Ingress; sends != 3 || got.Connections != 2 || got.Rooms != 1 || got.Node != e.service.nodeID() || got.Draining {
		t.Errorf("measured %+v", got)
	}
}
