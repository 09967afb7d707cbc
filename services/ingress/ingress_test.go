package ingress

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/gorilla/websocket"
	"github.com/parley-chat/parley/services/ingress/protocol"
	"github.com/parley-chat/parley/shared/event"
	"github.com/parley-chat/parley/shared/topic"
)

func TestConversation(t *testing.T) {
	e := start(t)
	alice, bob := e.user("alice"), e.user("bob")
	if f := alice.join("general"); f.Epoch != "e1" || f.Seq != 0 || f.ID != 1 {
		t.Errorf("joined: %s", f.Raw)
	}
	bob.join("general")
	alice.say(`{"type":"send","id":3,"room":"general","cid":"c1","body":{"text":"hi"}}`)
	for _, c := range []*client{alice, bob} {
		f := c.hear("message")
		if f.Room != "general" || f.Seq != 1 || f.From != "alice" || f.CID != "c1" || string(f.Body) != `{"text":"hi"}` {
			t.Errorf("message: %s", f.Raw)
		}
	}
	bob.say(`{"type":"history","id":4,"room":"general"}`)
	if f := bob.hear("page"); len(f.Entries) != 1 || f.ID != 4 || f.Head != 1 {
		t.Errorf("page: %s", f.Raw)
	}
	bob.say(`{"type":"presence","id":5,"room":"general"}`)
	if f := bob.hear("presence"); f.Count != 2 || f.ID != 5 {
		t.Errorf("presence: %s", f.Raw)
	}
	bob.say(`{"type":"typing","id":6,"room":"general"}`)
	if f := alice.hear("typing"); f.From != "bob" {
		t.Errorf("typing: %s", f.Raw)
	}
	bob.say(`{"type":"signal","room":"general","body":[1]}`)
	if f := alice.hear("signal"); f.From != "bob" || string(f.Body) != "[1]" {
		t.Errorf("signal: %s", f.Raw)
	}
	alice.say(`{"type":"leave","id":8,"room":"general"}`)
	if f := alice.hear("ok"); f.ID != 8 {
		// the ok of the send comes first
		if f = alice.hear("ok"); f.ID != 8 {
			t.Errorf("ok: %s", f.Raw)
		}
	}
	alice.say(`{"type":"send","id":9,"room":"general","cid":"c2","body":1}`)
	if f := alice.hear("error"); f.Code != protocol.Forbidden || f.ID != 9 || f.CID != "c2" {
		t.Errorf("send after leave: %s", f.Raw)
	}
	if rooms, sessions := e.service.hub.sizes(); rooms != 1 || sessions != 2 {
		t.Errorf("%d rooms, %d sessions", rooms, sessions)
	}
}

func TestRefusals(t *testing.T) {
	e := start(t)
	c := e.user("alice")
	c.join("r")
	for _, test := range []struct {
		send string
		want protocol.Code
		id   uint64
		cid  string
	}{
		{`{"type":"send","id":1,"cid":"a","room":"r","body":"refuse"}`, protocol.Conflict, 1, "a"},
		{`{"type":"send","cid":"b","room":"r","body":"refuse"}`, protocol.Conflict, 0, "b"},
		{`{"type":"hello","id":2,"user":"alice"}`, protocol.BadRequest, 2, ""},
		{`{"type":"dance","id":3}`, protocol.BadRequest, 3, ""},
		{`not json`, protocol.BadRequest, 0, ""},
		{`{"type":"typing","id":4,"room":"other"}`, protocol.Forbidden, 4, ""},
		{`{"type":"signal","id":5,"room":"other","body":1}`, protocol.Forbidden, 5, ""},
		{`{"type":"history","id":6,"room":"r","before":0}`, protocol.BadRequest, 6, ""},
		{`{"type":"join","id":7,"room":"a b"}`, protocol.BadRequest, 7, ""},
	} {
		c.say("%s", test.send)
		if f := c.hear("error"); f.Code != test.want || f.ID != test.id || f.CID != test.cid {
			t.Errorf("%s: %s", test.send, f.Raw)
		}
	}
}

func TestBeforeHello(t *testing.T) {
	e := start(t, "--hello-timeout=300ms")
	for _, test := range []struct {
		send string
		code int
	}{
		{`{"type":"join","room":"r"}`, 4502},
		{`rubbish`, 4502},
		{`{"type":"hello"}`, 4500},
		{`{"type":"hello","token":"x"}`, 4500},
		{``, 4000},
	} {
		c := e.dial()
		if test.send != "" {
			c.say("%s", test.send)
			c.hear("error")
		}
		if code := c.closed(); code != test.code {
			t.Errorf("%q closed with %d, want %d", test.send, code, test.code)
		}
	}
}

func TestLimits(t *testing.T) {
	e := start(t, "--rate=1", "--burst=4", "--rooms=2")
	c := e.user("alice")
	c.join("a")
	c.join("b")
	c.say(`{"type":"join","id":3,"room":"c"}`)
	if f := c.hear("error"); f.Code != protocol.Limit || f.ID != 3 || !strings.Contains(f.Message, "PARLEY_ROOMS") {
		t.Errorf("a third room: %s", f.Raw)
	}
	c.say("{\"type\":\"leave\",\"id\":4,\"room\":\"a\"}\n{\"type\":\"leave\",\"id\":5,\"room\":\"b\"}")
	if f := c.hear("error"); f.Code != protocol.RateLimited || f.ID != 5 || f.RetryAfterMS <= 0 {
		t.Errorf("a fifth request: %s", f.Raw)
	}
}

func TestResume(t *testing.T) {
	e := start(t)
	alice, bob := e.dial(), e.user("bob")
	alice.say(`{"type":"hello","user":"alice"}`)
	w := alice.hear("welcome")
	alice.join("r")
	bob.join("r")
	bob.send("r", 3)
	alice.room(3)

	again := e.dial()
	again.say(`{"type":"hello","id":1,"user":"alice","resume":%q,"rooms":{"r":{"epoch":"e1","seq":1},"no such room!":{"epoch":"x","seq":1}}}`, w.Resume)
	w2 := again.hear("welcome")
	if w2.Session != w.Session || w2.Resume == w.Resume || w2.ID != 1 {
		t.Errorf("welcome after %s: %s", w.Raw, w2.Raw)
	}
	bob.send("r", 1)
	if got := again.room(4); got != "joined 2 3 4" {
		t.Errorf("resumed with %q", got)
	}
	if code := alice.closed(); code != 4504 {
		t.Errorf("the older life was closed with %d", code)
	}

	other := e.dial()
	other.say(`{"type":"hello","user":"mallory","resume":%q}`, w2.Resume)
	if f := other.hear("welcome"); f.Session == w.Session {
		t.Error("another user took the session over")
	}
}

func TestJoinWithHistory(t *testing.T) {
	e := start(t)
	alice := e.user("alice")
	alice.join("r")
	alice.send("r", 5)
	bob := e.user("bob")
	bob.say(`{"type":"join","id":1,"room":"r","last":3}`)
	if got := bob.room(5); got != "joined 3 4 5" {
		t.Errorf("last 3: %q", got)
	}
	bob.say(`{"type":"join","id":2,"room":"r","since":{"epoch":"e1","seq":1}}`)
	if got := bob.room(5); got != "joined 2 3 4 5" {
		t.Errorf("joined again from 1: %q", got)
	}
}

// An edge that has no ring for the room reads pages, whose floor tells what is gone.
func TestCatchUpByPages(t *testing.T) {
	e := start(t, "--ring-entries=4")
	alice := e.user("alice")
	alice.join("r")
	alice.send("r", 30)
	e.others.mu.Lock()
	e.others.rooms["r"].floor = 11
	e.others.mu.Unlock()
	bob := e.user("bob")
	bob.say(`{"type":"join","id":1,"room":"r","since":{"epoch":"e1","seq":5}}`)
	want := "joined gap6-10"
	for seq := 11; seq <= 30; seq++ {
		want += fmt.Sprint(" ", seq)
	}
	if got := bob.room(30); got != want {
		t.Errorf("caught up by %q", got)
	}
}

func TestHoleIsFilled(t *testing.T) {
	e := start(t, "--request-timeout=200ms")
	alice := e.user("alice")
	alice.join("r")
	e.others.mu.Lock()
	e.others.skip = func(n event.Entry) bool { return n.Seq == 2 || n.Seq == 3 }
	e.others.mu.Unlock()
	alice.say(`{"type":"send","room":"r","cid":"1","body":1}`)
	alice.say(`{"type":"send","room":"r","cid":"2","body":1}`)
	alice.say(`{"type":"send","room":"r","cid":"3","body":1}`)
	alice.say(`{"type":"send","room":"r","cid":"4","body":1}`)
	if got := alice.room(4); got != "1 2 3 4" {
		t.Errorf("got %q", got)
	}
}

func TestEpochChange(t *testing.T) {
	e := start(t)
	alice := e.user("alice")
	alice.join("r")
	alice.send("r", 5)
	e.others.lose("r", "e2", 3)
	if f := alice.hear("reset"); f.Epoch != "e2" || f.Seq != 3 {
		t.Errorf("reset: %s", f.Raw)
	}
	alice.say(`{"type":"send","room":"r","cid":"n","body":1}`)
	if got := alice.room(4); got != "4" {
		t.Errorf("after the reset: %q", got)
	}
}

// TestOldAnswersResetNothing: a notifier that takes a partition over says again what its
// predecessor has said, syncs among it. They show heads below ours, or an epoch that is over.
func TestOldAnswersResetNothing(t *testing.T) {
	e := start(t)
	alice := e.user("alice")
	alice.join("r")
	alice.send("r", 5)
	e.others.lose("r", "e2", 3)
	alice.hear("reset")
	alice.send("r", 3)
	alice.room(6)
	e.others.mu.Lock()
	for _, old := range []event.RoomHead{{Epoch: "e1", Head: 5}, {Epoch: "e2", Head: 4}} {
		old.Room, old.Floor = "r", 1
		for range 3 {
			e.others.tell(e.service.nodeID(), event.Delivery{Synced: &event.RoomsSynced{
				Partition: event.PartitionOf("r", 2), Heads: []event.RoomHead{old}}})
		}
	}
	e.others.mu.Unlock()
	alice.say(`{"type":"send","room":"r","cid":"n","body":1}`)
	if got := alice.room(7); got != "7" {
		t.Errorf("after old answers: %q", got)
	}
}

// missOne has a user say in room r what is not delivered, and the edge learn that something is missing.
func (e *edge) missOne(u *client) {
	e.Helper()
	u.say(`{"type":"send","room":"r","cid":"1","body":1}`)
	if err := e.others.wait(e.ctx, func(c event.Command) bool { return c.Post != nil }); err != nil {
		e.Fatal(err)
	}
	deliveries{svc: e.service}.Missed(e.ctx, fmt.Sprintf("notifier-%02d", event.PartitionOf("r", 2)))
}

func TestLostDeliveriesAreFoundBySync(t *testing.T) {
	e := start(t)
	alice := e.user("alice")
	alice.join("r")
	e.others.mu.Lock()
	e.others.skip = func(event.Entry) bool { return true }
	e.others.mu.Unlock()
	e.missOne(alice)
	if got := alice.room(1); got != "1" {
		t.Errorf("got %q", got)
	}
}

// TestTroubleIsForgotten: pages without an answer are asked for anew more and more seldom, but
// no longer when the room hears from the others again.
func TestTroubleIsForgotten(t *testing.T) {
	e := start(t)
	alice := e.user("alice")
	alice.join("r")
	r := e.service.hub.room("r")
	troubled := func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.fetch = fetch{number: 99, last: 99, tries: 4}
	}
	e.others.mu.Lock()
	e.others.skip = func(n event.Entry) bool { return n.Seq == 1 }
	e.others.mu.Unlock()
	troubled()
	e.missOne(alice)
	if got := alice.room(1); got != "1" {
		t.Errorf("got %q", got)
	}
	troubled()
	e.others.lose("r", "e2", 1)
	alice.hear("reset")
	if p := r.patience(); p > 2*time.Second {
		t.Errorf("after a reset a page is waited for for %s", p)
	}
}

func TestUnansweredRequests(t *testing.T) {
	e := start(t, "--request-timeout=100ms")
	e.others.ignore = func(c event.Command) bool { return c.Join != nil || c.Read != nil }
	c := e.user("alice")
	c.say(`{"type":"join","id":1,"room":"r"}`)
	if f := c.hear("error"); f.Code != protocol.Unavailable || f.ID != 1 || f.RetryAfterMS <= 0 {
		t.Errorf("join: %s", f.Raw)
	}
	if err := e.others.wait(e.ctx, func(c event.Command) bool { return c.Leave != nil && c.Room == "r" }); err != nil {
		t.Errorf("the join was not taken back: %v", err)
	}
	c.say(`{"type":"history","id":2,"room":"r"}`)
	if f := c.hear("error"); f.Code != protocol.Unavailable || f.ID != 2 {
		t.Errorf("history: %s", f.Raw)
	}
}

// TestSendsAreRefusedWhileAQueueStands: at once, with a time to try again; joins are
// not, and what a session leaves unanswered at its end makes room.
func TestSendsAreRefusedWhileAQueueStands(t *testing.T) {
	e := start(t, "--send-wait=1m")
	e.others.ignore = func(c event.Command) bool { return c.Post != nil }
	c := e.user("alice")
	c.join("r")
	sends := &e.service.partition("r").sends
	for n := range minFlight {
		c.say(`{"type":"send","room":"r","cid":"c%d","body":1}`, n)
	}
	e.until("all are under way", func() bool { return sends.flight.Load() == minFlight })
	sends.mu.Lock()
	sends.refused = e.service.clock()
	sends.mu.Unlock()
	sends.refusing.Store(true)
	c.say(`{"type":"send","id":5,"room":"r","cid":"late","body":1}`)
	f := c.hear("error")
	if f.Code != protocol.Unavailable || f.ID != 5 || f.CID != "late" || f.RetryAfterMS < minRetry.Milliseconds() || f.RetryAfterMS > maxRetry.Milliseconds() {
		t.Errorf("a send was answered %s", f.Raw)
	}
	if n := e.service.refusing(); n != 1 {
		t.Errorf("%d partitions are refusing, want 1", n)
	}
	e.user("bob").join("r")
	if err := c.ws.Close(); err != nil {
		t.Fatal(err)
	}
	e.until("nothing is under way", func() bool { return sends.flight.Load() == 0 })
	e.others.mu.Lock()
	e.others.ignore = nil
	e.others.mu.Unlock()
	carol := e.user("carol")
	carol.join("r")
	e.until("sends are taken again", func() bool {
		carol.send("r", 1)
		return e.service.refusing() == 0
	})
}

func TestLeaveBeforeJoined(t *testing.T) {
	e := start(t)
	e.others.ignore = func(c event.Command) bool { return c.Join != nil }
	c := e.user("alice")
	c.say(`{"type":"join","id":1,"room":"r"}`)
	c.say(`{"type":"leave","id":2,"room":"r"}`)
	if f := c.hear("error"); f.ID != 1 || f.Code != protocol.Conflict {
		t.Errorf("join: %s", f.Raw)
	}
	if f := c.hear("ok"); f.ID != 2 {
		t.Errorf("leave: %s", f.Raw)
	}
}

func TestEndOfConnection(t *testing.T) {
	for _, test := range []struct {
		name  string
		end   func(*client)
		clean bool
	}{
		{"goodbye", func(c *client) {
			_ = c.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(1000, ""), time.Now().Add(time.Second))
		}, true},
		{"broken line", func(c *client) { _ = c.ws.NetConn().Close() }, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			e := start(t)
			c := e.user("alice")
			c.join("r")
			test.end(c)
			if err := e.others.wait(e.ctx, func(c event.Command) bool { return c.Leave != nil && c.Leave.Clean == test.clean }); err != nil {
				t.Errorf("leave: %v", err)
			}
			if err := e.others.wait(e.ctx, func(c event.Command) bool {
				return c.CloseSession != nil && c.CloseSession.Clean == test.clean
			}); err != nil {
				t.Errorf("close: %v", err)
			}
			e.until("nothing is left", func() bool {
				rooms, sessions := e.service.hub.sizes()
				return rooms == 0 && sessions == 0 && e.service.hub.bytes.Load() == 0
			})
		})
	}
}

// A lapsed node comes back under another name and says what it has; its sockets stay.
func TestNodeLapses(t *testing.T) {
	e := start(t)
	c := e.user("alice")
	c.join("r")
	was := e.service.nodeID()
	if err := e.backend.Withdraw(e.ctx, topic.Nodes, string(was)); err != nil {
		t.Fatal(err)
	}
	e.until("the node has another name", func() bool { return e.service.nodeID() != was && e.service.present.Load() })
	if err := e.others.wait(e.ctx, func(c event.Command) bool {
		return c.Sync != nil && c.Sync.Whole && c.Node != was && len(c.Sync.Rooms) == 1 && len(c.Sync.Rooms[0].Sessions) == 1
	}); err != nil {
		t.Fatal(err)
	}
	c.say(`{"type":"send","id":1,"room":"r","body":1}`)
	if got := c.room(1); got != "1" {
		t.Errorf("got %q", got)
	}
}

func TestSyncIsAsked(t *testing.T) {
	e := start(t)
	c := e.user("alice")
	c.join("r")
	p := event.PartitionOf("r", 2)
	e.others.mu.Lock()
	e.others.tell(e.service.nodeID(), event.Delivery{SyncAsk: &event.SyncAsked{Partition: p, Asked: 77}})
	e.others.mu.Unlock()
	if err := e.others.wait(e.ctx, func(c event.Command) bool {
		return c.Sync != nil && c.Sync.Whole && c.Sync.Asked == 77 && c.Sync.Partition == p && c.Sync.Part == 1 && c.Sync.Parts == 1
	}); err != nil {
		t.Error(err)
	}
}

func TestTooManySessions(t *testing.T) {
	e := start(t)
	c := e.dial()
	c.say(`{"type":"hello","user":"alice"}`)
	c.hear("welcome")
	var who event.Who
	if err := e.others.wait(e.ctx, func(c event.Command) bool { who = c.Who; return c.OpenSession != nil }); err != nil {
		t.Fatal(err)
	}
	e.others.tell(who.Node, event.Delivery{Session: who.Session, Life: who.Life, Replaced: &event.SessionReplaced{Over: true, Limit: 20}})
	if f := c.hear("error"); f.Code != protocol.Limit {
		t.Errorf("error: %s", f.Raw)
	}
	if code := c.closed(); code != 1013 {
		t.Errorf("closed with %d", code)
	}
}

func token(t *testing.T, user string, ends time.Time) string {
	t.Helper()
	s, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"sub": user, "exp": float64(ends.UnixMilli()) / 1000}).SignedString([]byte(testSecret))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestTokens(t *testing.T) {
	e := start(t, "--auth=jwt", "--jwt-secret="+testSecret, "--jwt-leeway=0s")
	c := e.dial()
	c.say(`{"type":"hello","id":1,"token":%q}`, token(t, "alice", time.Now().Add(2*time.Second)))
	if f := c.hear("welcome"); f.User != "alice" || f.ExpiresMS <= 0 || f.ExpiresMS > 2000 {
		t.Errorf("welcome: %s", f.Raw)
	}
	c.say(`{"type":"auth","id":2,"token":%q}`, token(t, "bob", time.Now().Add(time.Hour)))
	if f := c.hear("error"); f.Code != protocol.Unauthorized || f.ID != 2 {
		t.Errorf("another user's token: %s", f.Raw)
	}
	c.say(`{"type":"auth","id":3,"token":%q}`, token(t, "alice", time.Now().Add(time.Hour)))
	if f := c.hear("ok"); f.ID != 3 || f.ExpiresMS < 3_000_000 {
		t.Errorf("auth: %s", f.Raw)
	}
	short := e.dial()
	short.say(`{"type":"hello","token":%q}`, token(t, "alice", time.Now().Add(1200*time.Millisecond)))
	short.hear("welcome")
	if f := short.hear("error"); f.Code != protocol.Unauthorized {
		t.Errorf("at its end: %s", f.Raw)
	}
	if code := short.closed(); code != 4501 {
		t.Errorf("an expired token closed with %d", code)
	}
	old := e.dial()
	old.say(`{"type":"hello","token":%q}`, token(t, "alice", time.Now().Add(-time.Minute)))
	if code := old.closed(); code != 4501 {
		t.Errorf("an old token closed with %d", code)
	}
	ws, _, err := websocket.DefaultDialer.Dial("ws://"+e.service.Addr().String()+"/ws",
		http.Header{"Authorization": {"Bearer " + token(t, "carol", time.Now().Add(time.Hour))}})
	if err != nil {
		t.Fatal(err)
	}
	defer ws.Close()
	header := &client{edge: e, ws: ws}
	header.say(`{"type":"hello"}`)
	if f := header.hear("welcome"); f.User != "carol" {
		t.Errorf("by header: %s", f.Raw)
	}
}

func TestDrainMovesClients(t *testing.T) {
	e := start(t, "--drain=400ms", "--public-urls=wss://a.example/ws")
	c := e.user("alice")
	c.join("r")
	go e.stop()
	f := c.hear("migrate")
	if f.ByMS <= 0 || f.URL != "wss://a.example/ws" {
		t.Errorf("migrate: %s", f.Raw)
	}
	if e.service.health.Failing() == nil {
		t.Error("ready while draining")
	}
	if code := c.closed(); code != 1012 {
		t.Errorf("who stayed was closed with %d", code)
	}
	members := func() bool {
		m, err := e.backend.Members(e.ctx, topic.Nodes)
		return err == nil && len(m) == 0
	}
	e.until("the node is withdrawn", members)
}

func TestRoutes(t *testing.T) {
	e := start(t)
	for path, want := range map[string]int{"/": 200, "/client.js": 200, "/readyz": 200, "/nothing": 404, "/metrics": 404, "/ws": 400} {
		r, err := http.Get("http://" + e.service.Addr().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		_ = r.Body.Close()
		if r.StatusCode != want {
			t.Errorf("%s: %d, want %d", path, r.StatusCode, want)
		}
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestRepliesAreNotRead(t *testing.T) {
	e := start(t, "--outbox-frames=16", "--rate=0", "--send-buffer=4096", "--write-stall=1s")
	c := e.user("alice")
	_ = c.ws.NetConn().(*net.TCPConn).SetReadBuffer(4096)
	c.join("r")
	c.say(`{"type":"send","room":"r","cid":"1","body":%q}`, strings.Repeat("x", 30<<10))
	c.room(1)
	for range 2000 {
		if c.ws.WriteMessage(websocket.TextMessage, []byte(`{"type":"history","id":1,"room":"r"}`)) != nil {
			break
		}
	}
	e.until("the session is ended", func() bool { _, sessions := e.service.hub.sizes(); return sessions == 0 })
}

func TestConfigErrors(t *testing.T) {
	for _, test := range []struct {
		flags []string
		names string
	}{
		{[]string{"--listen=0.0.0.0:80"}, "PARLEY_AUTH"},
		{[]string{"--auth=jwt"}, "PARLEY_JWT_SECRET"},
		{[]string{"--auth=jwt", "--jwt-secret=short"}, "PARLEY_JWT_SECRET"},
		{[]string{"--auth=jwt", "--jwks-url=http://keys.example/"}, "PARLEY_JWKS_URL"},
		{[]string{"--origins=chat.example"}, "PARLEY_ORIGINS"},
		{[]string{"--trusted-proxies=nginx"}, "PARLEY_TRUSTED_PROXIES"},
		{[]string{"--frame-bytes=1024"}, "PARLEY_FRAME_BYTES"},
		{[]string{"--rate=Inf"}, "PARLEY_RATE"},
		{[]string{"--address-rate=NaN"}, "PARLEY_ADDRESS_RATE"},
	} {
		if _, err := settings(test.flags...); err == nil || !strings.Contains(err.Error(), test.names) {
			t.Errorf("%v: %v, want %s named", test.flags, err, test.names)
		}
	}
}
