package crowd

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience multiplies deadlines where CI says that the machine is slow.
func patience(d time.Duration) time.Duration {
	if os.Getenv("CI") != "" {
		return 3 * d
	}
	return d
}

// echo acknowledges each send and delivers it to its sender, and does what a test
// wants in between. It speaks as the baseline does.
type echo struct {
	before func(n int) // what comes before the nth answer

	mu      sync.Mutex
	n       int
	refuse  bool
	dropped int
	open    map[*websocket.Conn]bool
}

func (e *echo) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	conn, err := (&websocket.Upgrader{}).Upgrade(w, r, nil)
	if err != nil {
		return
	}
	defer conn.Close()
	e.mu.Lock()
	e.open[conn] = true
	e.mu.Unlock()
	defer func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.open, conn)
		e.dropped++
	}()
	if conn.WriteMessage(websocket.TextMessage, []byte(`{"type":"joined"}`)) != nil {
		return
	}
	for {
		_, frame, err := conn.ReadMessage()
		if err != nil {
			return
		}
		if err := conn.WriteMessage(websocket.TextMessage, e.answer(frame)); err != nil {
			return
		}
	}
}

func (e *echo) answer(frame []byte) []byte {
	e.mu.Lock() // one at a time: whoever waits makes all wait
	defer e.mu.Unlock()
	e.n++
	if e.before != nil {
		e.before(e.n)
	}
	_, rest, _ := strings.Cut(string(frame), `"id":`)
	id, body, _ := strings.Cut(rest, `,"body":`)
	if e.refuse {
		return []byte(`{"type":"error","id":` + id + `,"code":"unavailable"}`)
	}
	return []byte(`{"type":"ok","id":` + id + "}\n" + `{"type":"message","body":` + body)
}

func serve(t *testing.T, e *echo) Config {
	t.Helper()
	e.open = map[*websocket.Conn]bool{}
	s := httptest.NewServer(e)
	t.Cleanup(func() {
		e.mu.Lock()
		for conn := range e.open { // hijacked: the server does not know them
			_ = conn.Close()
		}
		e.mu.Unlock()
		s.Close()
	})
	return Config{URLs: []string{s.URL}, Dialect: "baseline", Prefix: "t", Rooms: 4, Members: 5, Body: 64, Loops: 2, Sources: 3}
}

func connected(t *testing.T, cfg Config) *Crowd {
	t.Helper()
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience(20*time.Second))
	defer cancel()
	a, err := c.Connect(ctx, 8)
	if err != nil || a.Connected != cfg.Connections() {
		t.Fatalf("%d connected, %v; want %d", a.Connected, err, cfg.Connections())
	}
	return c
}

// await waits until what holds.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(patience(20 * time.Second)); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// drive runs a drive and waits until its count is answered.
func drive(t *testing.T, c *Crowd, d Drive, lasts time.Duration) Tally {
	t.Helper()
	d.Kind = Sends
	d.Start = time.Now().UnixNano()
	d.From, d.To = d.Start, d.Start+int64(lasts)
	was := c.Status()
	c.Begin(d)
	await(t, "all are answered", func() bool {
		at := c.Status()
		return at.Acked+at.Refused-was.Acked-was.Refused >= d.Count
	})
	return c.Finish()
}

func TestOpenLoopSendsWhatIsDue(t *testing.T) {
	c := connected(t, serve(t, &echo{}))
	got := drive(t, c, Drive{Rate: 500, Count: 200, Last: true}, time.Minute)
	if got.Sent != 200 || got.Acked != 200 || got.Delivered != 200 || got.Refused != 0 {
		t.Errorf("sent %d, acknowledged %d, delivered %d, refused %d; want 200 and none", got.Sent, got.Acked, got.Delivered, got.Refused)
	}
	if got.Ack.TotalCount() != 200 || got.Lag.TotalCount() != 200 || len(got.Last) != 200 {
		t.Errorf("%d latencies, %d lags, %d last deliveries", got.Ack.TotalCount(), got.Lag.TotalCount(), len(got.Last))
	}
	if h := got.LastLatency(1); h.TotalCount() != 200 {
		t.Errorf("%d messages reached their one member", h.TotalCount())
	}
}

// TestStallCountsForAllThatWasDue: a server that answers nothing for 400 ms delays
// what was due in that time, not only the one message that it held.
func TestStallCountsForAllThatWasDue(t *testing.T) {
	const stall, rate = 400 * time.Millisecond, 500.0
	c := connected(t, serve(t, &echo{before: func(n int) {
		if n == 100 {
			time.Sleep(stall) // the subject of the test
		}
	}}))
	got := drive(t, c, Drive{Rate: rate, Count: 500}, time.Minute)
	var late int64
	for _, bar := range got.Ack.Distribution() {
		if bar.From >= (stall / 2).Microseconds() {
			late += bar.Count
		}
	}
	if want := int64(rate * (stall / 2).Seconds() * 0.8); late < want {
		t.Errorf("%d answers were late by half of the stall, want at least %d", late, want)
	}
}

func TestClosedLoopKeepsItsWindow(t *testing.T) {
	cfg := serve(t, &echo{})
	c := connected(t, cfg)
	got := drive(t, c, Drive{Window: 6, Count: 300}, time.Minute)
	if got.Sent != 300 || got.Acked != 300 || got.Delivered != 300 {
		t.Errorf("sent %d, acknowledged %d, delivered %d; want 300", got.Sent, got.Acked, got.Delivered)
	}
}

func TestRefusalsAreCounted(t *testing.T) {
	c := connected(t, serve(t, &echo{refuse: true}))
	got := drive(t, c, Drive{Rate: 400, Count: 40}, time.Minute)
	if got.Refused != 40 || got.Acked != 0 || got.Reasons["refused: unavailable"] != 40 {
		t.Errorf("%d refused, %d acknowledged, %v", got.Refused, got.Acked, got.Reasons)
	}
}

// TestUnansweredCountsWithItsWait: what is never answered is not left out.
func TestUnansweredCountsWithItsWait(t *testing.T) {
	hold := make(chan struct{})
	c := connected(t, serve(t, &echo{before: func(int) { <-hold }}))
	defer close(hold)
	now := time.Now().UnixNano()
	c.Begin(Drive{Kind: Sends, Rate: 100, Count: 10, Start: now, From: now, To: now + int64(time.Minute)})
	await(t, "10 are unanswered", func() bool { return c.Status().Unanswered == 10 })
	if got := c.Finish(); got.Ack.TotalCount() != 10 || got.Acked != 0 {
		t.Errorf("%d latencies of %d answers, want 10 of 0", got.Ack.TotalCount(), got.Acked)
	}
}

// TestDropAndBack: all but the writers are gone at once, and come back.
func TestDropAndBack(t *testing.T) {
	e := &echo{}
	cfg := serve(t, e)
	cfg.Writer = true
	c := connected(t, cfg)
	c.Drop()
	await(t, "the server has lost all members", func() bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		return e.dropped == cfg.Rooms*cfg.Members
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience(20*time.Second))
	defer cancel()
	if a, err := c.Connect(ctx, 100); err != nil || a.Connected != cfg.Rooms*cfg.Members {
		t.Errorf("%d are back, %v; want %d", a.Connected, err, cfg.Rooms*cfg.Members)
	}
	if at := c.Status(); at.Closed != 0 {
		t.Errorf("%d connections count as closed by the server", at.Closed)
	}
}

// TestLostConnectionsAreTold: the server's close is counted, with its reason, and
// what it owed is refused.
func TestLostConnectionsAreTold(t *testing.T) {
	e := &echo{}
	c := connected(t, serve(t, e))
	now := time.Now().UnixNano()
	c.Begin(Drive{Kind: Silence, Start: now, From: now, To: now + int64(time.Minute)})
	e.mu.Lock()
	n := int64(len(e.open))
	for conn := range e.open {
		_ = conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(4001, ""), time.Now().Add(time.Second))
	}
	e.mu.Unlock()
	await(t, "all are closed", func() bool { return c.Status().Closed == n })
	if got := c.Finish(); got.Closed != n || got.Reasons["close "+strconv.Itoa(4001)] != n {
		t.Errorf("%d closed, %v; want %d", got.Closed, got.Reasons, n)
	}
}

// TestSharesAreOneCrowd: two shares have each connection once and send each message
// of the schedule once.
func TestSharesAreOneCrowd(t *testing.T) {
	cfg := serve(t, &echo{})
	cfg.Shares = 2
	var all Tally
	var joined int64
	start := time.Now().Add(patience(2 * time.Second)).UnixNano() // both are connected by then
	var crowds []*Crowd
	for cfg.Share = range 2 {
		c, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Connect(t.Context(), 8); err != nil {
			t.Fatal(err)
		}
		c.Begin(Drive{Kind: Sends, Rate: 500, Count: 100, Start: start, From: start, To: start + int64(time.Minute)})
		crowds = append(crowds, c)
	}
	await(t, "100 are acknowledged", func() bool { return crowds[0].Status().Acked+crowds[1].Status().Acked == 100 })
	for _, c := range crowds {
		joined += c.Status().Joined
		all.Add(c.Finish())
	}
	if joined != int64(cfg.Connections()) || all.Sent != 100 || all.Delivered != 100 {
		t.Errorf("%d joined, %d sent, %d delivered; want %d, 100, 100", joined, all.Sent, all.Delivered, cfg.Connections())
	}
}

// TestNobodyThere: an error names the user and the reason, in bounded time.
func TestNobodyThere(t *testing.T) {
	s := httptest.NewServer(http.NotFoundHandler())
	cfg := Config{URLs: []string{s.URL}, Dialect: "parley", Rooms: 1, Members: 2}
	defer s.Close()
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience(20*time.Second))
	defer cancel()
	if _, err := c.Connect(ctx, 8); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("connected to a server without WebSockets: %v", err)
	}
}
