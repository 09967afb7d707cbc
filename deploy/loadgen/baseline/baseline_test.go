package baseline

import (
	"context"
	"log/slog"
	"net"
	"os"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/parley-chat/parley/deploy/loadgen"
	"github.com/parley-chat/parley/shared/redistest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func patience(d time.Duration) time.Duration {
	if os.Getenv("CI") != "" {
		return 3 * d
	}
	return d
}

// start starts a server on the Redis and ends it with the test.
func start(t *testing.T, redisURL string, durable bool) string {
	t.Helper()
	s, err := New(Config{Redis: redisURL, Durable: durable, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the server ended with %v", err)
		}
	})
	return "http://" + l.Addr().String()
}

// TestTwoProcessesDeliverAll: each message reaches all members on both servers, and
// the durable one has stored what it acknowledged.
func TestTwoProcessesDeliverAll(t *testing.T) {
	for name, durable := range map[string]bool{"fleeting": false, "durable": true} {
		t.Run(name, func(t *testing.T) {
			r := redistest.Start(t, redistest.Options{})
			urls := []string{start(t, r.URL, durable), start(t, r.URL, durable)}
			ctx, cancel := context.WithTimeout(t.Context(), patience(30*time.Second))
			defer cancel()
			got, err := loadgen.Run(ctx, loadgen.Options{
				Target: loadgen.Target{URLs: urls, Dialect: "baseline"},
				Scenario: loadgen.Scenario{
					Kind: loadgen.Messages, Rooms: 4, Members: 6, Body: 128, Window: 8,
					Settle: 300 * time.Millisecond, Measure: 500 * time.Millisecond, Drain: patience(10 * time.Second),
				},
			})
			if err != nil {
				t.Fatal(err)
			}
			if got.Acked == 0 || got.Delivered != got.Acked*6 || got.Refused+got.Closed > 0 {
				t.Errorf("%d acknowledged, %d delivered to 6 members each, %d refused, %d closed: %v", got.Acked, got.Delivered, got.Refused, got.Closed, got.Reasons)
			}
			if stored := entries(t, r.URL); durable && stored < got.Acked || !durable && stored > 0 {
				t.Errorf("%d are stored of %d acknowledged", stored, got.Acked)
			}
		})
	}
}

// entries counts all rooms' streams.
func entries(t *testing.T, url string) (n int64) {
	t.Helper()
	options, err := redis.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	rdb := redis.NewClient(options)
	defer rdb.Close()
	keys, err := rdb.Keys(t.Context(), "log:*").Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range keys {
		length, err := rdb.XLen(t.Context(), key).Result()
		if err != nil {
			t.Fatal(err)
		}
		n += length
	}
	return n
}

// TestBadInputIsAnswered: a refusal, and the connection stays.
func TestBadInputIsAnswered(t *testing.T) {
	r := redistest.Start(t, redistest.Options{})
	url := "ws" + start(t, r.URL, false)[len("http"):] + "/ws"
	if _, res, err := websocket.DefaultDialer.Dial(url, nil); err == nil || res == nil || res.StatusCode != 400 {
		t.Errorf("without a room: %v", err)
	}
	conn, _, err := websocket.DefaultDialer.Dial(url+"?user=a&room=r", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, line := range []string{"nonsense", `{"type":"send","id":1,"body":{"text":"hi"}}`} {
		if err := conn.WriteMessage(websocket.TextMessage, []byte(line)); err != nil {
			t.Fatal(err)
		}
	}
	_ = conn.SetReadDeadline(time.Now().Add(patience(10 * time.Second)))
	var kinds []string
	for len(kinds) < 3 {
		var f struct{ Type, Code string }
		if err := conn.ReadJSON(&f); err != nil {
			t.Fatalf("after %v: %v", kinds, err)
		}
		if f.Type != "message" { // comes before or after the ok
			kinds = append(kinds, f.Type+f.Code)
		}
	}
	if kinds[0] != "joined" || kinds[1] != "errorbad_request" || kinds[2] != "ok" {
		t.Errorf("answers: %v", kinds)
	}
}
