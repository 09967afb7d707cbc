package natsbus

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/parley-chat/parley/shared/bus"
	"github.com/parley-chat/parley/shared/natstest"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		url, servers, err string
		replicas          int
	}{
		{url: "nats://a", servers: "nats://a", replicas: 1},
		{url: "nats://a:4222,b,[::1]:4333/", servers: "nats://a:4222,nats://b,nats://[::1]:4333", replicas: 1},
		{url: "tls://u:p%40w@a,b?replicas=3", servers: "tls://u:p%40w@a,tls://u:p%40w@b", replicas: 3},
		{url: "nats://token@a?creds=/run/secrets/creds", servers: "nats://token@a", replicas: 1},
		{url: "redis://a", err: "no NATS URL"},
		{url: "nats:a", err: "no NATS URL"},
		{url: "nats://", err: "no host"},
		{url: "nats://a,,b", err: "no host"},
		{url: "nats://a:b", err: `server "a:b"`},
		{url: "nats://a:0", err: "1 to 65535"},
		{url: "nats://a/x", err: `server "a/x"`},
		{url: "nats://u:secret%zz@a", err: "percent-encoded"},
		{url: "nats://a?replicas=0", err: "1 to 5"},
		{url: "nats://a?replicas=x", err: "1 to 5"},
		{url: "nats://a?replica=3", err: `unknown parameter "replica"`},
	} {
		got, err := parse(c.url)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) || strings.Contains(err.Error(), "secret") {
				t.Errorf("%s: error %v, want %q and no password", c.url, err, c.err)
			}
			continue
		}
		if err != nil || got.servers != c.servers || got.replicas != c.replicas {
			t.Errorf("%s: %+v, %v; want %s, %d replicas", c.url, got, err, c.servers, c.replicas)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	for url, o := range map[string]Options{
		"nats://127.0.0.1:1":                     {Prefix: "a.b"},
		"nats://127.0.0.1:1?ca=/no/such/file":    {},
		"redis://127.0.0.1":                      {},
		"nats://127.0.0.1:1,nats://127.0.0.1:2,": {},
	} {
		if b, err := Open(t.Context(), url, o); err == nil {
			_ = b.Close()
			t.Errorf("Open(%s, %+v) went well", url, o)
		}
	}
}

func TestVersion(t *testing.T) {
	for version, ok := range map[string]bool{
		"2.9.0": true, "2.9.10": true, "2.10.1-beta.3": true, "2.14.0": true, "3.0.0": true,
		"2.8.4": false, "1.4.1": false, "2.2.0-beta": false,
	} {
		err := checkVersion(version)
		if (err == nil) != ok || errors.Is(err, bus.ErrUnavailable) {
			t.Errorf("%s: %v, want accepted: %v, and never ErrUnavailable", version, err, ok)
		}
	}
	if err := checkVersion(""); !errors.Is(err, bus.ErrUnavailable) {
		t.Errorf("connection lost just now: %v, want ErrUnavailable", err)
	}
}

func TestErrors(t *testing.T) {
	api := func(status int, code jetstream.ErrorCode) error {
		return &jetstream.APIError{Code: status, ErrorCode: code}
	}
	for name, c := range map[string]struct {
		err       error
		transient bool
	}{
		"timeout":            {context.DeadlineExceeded, true},
		"disconnected":       {nats.ErrReconnectBufExceeded, true},
		"no responders":      {nats.ErrNoResponders, true},
		"no stream":          {jetstream.ErrNoStreamResponse, true},
		"not enabled":        {jetstream.ErrJetStreamNotEnabled, true},
		"cluster has no":     {api(503, 10008), true},
		"no resources":       {api(503, 10023), true},
		"no storage":         {api(500, 10047), true},
		"no peers":           {api(400, 10005), true},
		"replicas, alone":    {api(500, 10074), false},
		"bad request":        {api(400, 10003), false},
		"too big":            {nats.ErrMaxPayload, false},
		"somebody's stream":  {errPermanent, false},
		"subjects overlap":   {api(400, 10065), false},
		"maximum of streams": {api(400, 10027), true},
	} {
		if err := unavailable("do", c.err); errors.Is(err, bus.ErrUnavailable) != c.transient || !errors.Is(err, c.err) {
			t.Errorf("%s: %v; want ErrUnavailable: %v", name, err, c.transient)
		}
	}
}

func TestOpenWhileDown(t *testing.T) {
	server := natstest.Start(t, natstest.Options{})
	server.Kill()
	b := openBackend(t, server.URL)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := tryPublish(ctx, b, "a", "1"); !errors.Is(err, bus.ErrUnavailable) {
		t.Errorf("publish: %v, want ErrUnavailable", err)
	}
	if _, err := b.Members(ctx, "nodes"); !errors.Is(err, bus.ErrUnavailable) {
		t.Errorf("members: %v, want ErrUnavailable", err)
	}
	if _, err := b.Subscriber(ctx, "g"); !errors.Is(err, bus.ErrUnavailable) {
		t.Errorf("subscriber: %v, want ErrUnavailable", err)
	}
	server.Run()
	eventually(t, "connected", func() bool { return tryPublish(t.Context(), b, "a", "2") == nil })
	subscribe(t, b, "a", "g").want("2") // the first one was not kept for later
}

func TestWrongPassword(t *testing.T) {
	server := natstest.Start(t, natstest.Options{Args: []string{"--user", "u", "--pass", "right"}, User: "u:right@"})
	wrong := openBackend(t, "nats://u:wrong@"+server.Addr)
	err := tryPublish(t.Context(), wrong, "a", "1")
	if !errors.Is(err, bus.ErrUnavailable) || !strings.Contains(err.Error(), "Authorization") {
		t.Errorf("publish: %v, want ErrUnavailable that names the authorization", err)
	}
	if wrong.conn.IsClosed() {
		t.Error("the connection was given up: a password that is put right on the server does not help")
	}
	right := openBackend(t, server.URL)
	publish(t, right, "a", "1")
	subscribe(t, right, "a", "g").want("1")
}

func TestPublishInTime(t *testing.T) {
	b, server := start(t)
	publish(t, b, "a", "1")
	server.Pause()
	defer server.Resume()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	began := time.Now()
	if err := tryPublish(ctx, b, "a", "2"); !errors.Is(err, bus.ErrUnavailable) {
		t.Errorf("publish: %v, want ErrUnavailable", err)
	}
	if d := time.Since(began); d > 5*time.Second {
		t.Errorf("publish with a deadline of 200 ms took %v", d)
	}
}

// A publish whose reply was lost is tried again, with the same UUID.
func TestPublishTwiceIsOne(t *testing.T) {
	b, _ := start(t)
	publish(t, b, "a", "1", "1", "2", "1")
	r := subscribe(t, b, "a", "g")
	r.want("1", "2")
	publish(t, b, "a", "3")
	r.want("3")
}

func TestTooBig(t *testing.T) {
	b, _ := start(t)
	err := tryPublish(t.Context(), b, "a", strings.Repeat("x", 2<<20))
	if err == nil || errors.Is(err, bus.ErrUnavailable) || !strings.Contains(err.Error(), "max_payload") {
		t.Errorf("publish of 2 MiB: %v, want a permanent error that names max_payload", err)
	}
}

func TestForeignStream(t *testing.T) {
	b, server := start(t)
	_, err := server.JetStream().CreateStream(t.Context(), jetstream.StreamConfig{Name: b.streamName("a"), Subjects: []string{"other"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.EnsureTopic(t.Context(), "a", nil, 0); err == nil || errors.Is(err, bus.ErrUnavailable) {
		t.Errorf("EnsureTopic on another's stream: %v, want a permanent error", err)
	}
}

func TestReplicasAlone(t *testing.T) {
	server := natstest.Start(t, natstest.Options{})
	b := openBackend(t, server.URL+"?replicas=3")
	if err := b.EnsureTopic(t.Context(), "a", nil, 0); err == nil || errors.Is(err, bus.ErrUnavailable) {
		t.Errorf("three replicas on one server: %v, want a permanent error", err)
	}
}

func TestUseAfterClose(t *testing.T) {
	b, _ := start(t)
	sub, err := b.Subscriber(t.Context(), "g")
	if err != nil {
		t.Fatal(err)
	}
	_ = b.Close()
	_ = b.Close()
	if _, err := sub.Subscribe(t.Context(), "a"); err == nil {
		t.Error("subscribe on a closed backend went well")
	}
	if err := tryPublish(t.Context(), b, "a", "1"); err == nil {
		t.Error("publish on a closed backend went well")
	}
}

// The log has a line when the connection goes and when it is back, and none per message.
func TestLog(t *testing.T) {
	server := natstest.Start(t, natstest.Options{})
	var lines strings.Builder
	b, err := Open(t.Context(), server.URL, Options{Logger: slog.New(slog.NewTextHandler(&lines, nil))})
	if err != nil {
		t.Fatal(err)
	}
	publish(t, b, "a", "1", "2", "3")
	subscribe(t, b, "a", "g").want("1", "2", "3")
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if lines.Len() > 0 {
		t.Errorf("a quiet life is logged:\n%s", lines.String())
	}
}
