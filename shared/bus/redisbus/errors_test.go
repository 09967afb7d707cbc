package redisbus

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/redis/go-redis/v9"

	"github.com/parley-chat/parley/shared/bus"
)

func TestTransient(t *testing.T) {
	for _, c := range []struct {
		err  error
		want bool
	}{
		{io.EOF, true},
		{net.ErrClosed, true},
		{context.DeadlineExceeded, true},
		{redis.ErrClosed, true},
		{redis.ErrPoolTimeout, true},
		{permanentReply("LOADING Redis is loading the dataset in memory"), true},
		{permanentReply("OOM command not allowed when used memory > 'maxmemory'."), true},
		{permanentReply("READONLY You can't write against a read only replica."), true},
		{permanentReply("MISCONF Redis is configured to save RDB snapshots"), true},
		{permanentReply("CLUSTERDOWN Hash slot not served"), true},
		{permanentReply("MASTERDOWN Link with MASTER is down"), true},
		{permanentReply("ERR max number of clients reached"), true},
		{permanentReply("NOGROUP No such key"), false},
		{permanentReply("WRONGTYPE Operation against a key"), false},
		{permanentReply("NOPERM this user has no permissions"), false},
		{permanentReply("WRONGPASS invalid username-password pair"), false},
	} {
		err := unavailable("do it", c.err)
		if got := errors.Is(err, bus.ErrUnavailable); got != c.want {
			t.Errorf("%v: unavailable %v, want %v", c.err, got, c.want)
		}
		if !errors.Is(err, c.err) || !strings.HasPrefix(err.Error(), "do it: ") {
			t.Errorf("%v does not say what and why", err)
		}
	}
	if err := unavailable("do it", nil); err != nil {
		t.Error(err)
	}
}

func TestBroken(t *testing.T) {
	refused := &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	late := &net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}
	for err, want := range map[error]bool{
		io.EOF: true, refused: true, late: false, context.DeadlineExceeded: false,
		permanentReply("NOGROUP No such key"):                            false,
		permanentReply("LOADING Redis is loading the dataset in memory"): false,
	} {
		if isBroken(err) != want {
			t.Errorf("%v: %v, want %v", err, !want, want)
		}
	}
}

func TestVersion(t *testing.T) {
	for version, ok := range map[string]bool{
		"7.0.15": true, "7.2.4": true, "8.0.0": true, "10.1": true,
		"6.2.14": false, "5.0.7": false, "": false, "x": false,
	} {
		if err := checkVersion(version); (err == nil) != ok {
			t.Errorf("%q: %v", version, err)
		} else if err != nil && !strings.Contains(err.Error(), "7.0") {
			t.Errorf("%q: %v does not say what is needed", version, err)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	for _, c := range []struct{ url, prefix string }{
		{"http://localhost", "p"},
		{"redis://localhost:port", "p"},
		{"redis+sentinel://localhost", "p"},
		{"redis://localhost:6379", "a{b}"},
		{"redis://localhost:6379", "a b"},
	} {
		if _, err := Open(t.Context(), c.url, Options{Prefix: c.prefix}); err == nil {
			t.Errorf("%s with prefix %q was opened", c.url, c.prefix)
		}
	}
}

// Everything says ErrUnavailable while there is no server, soon, and works when there is one.
func TestServerComesLater(t *testing.T) {
	b, server := start(t, fast)
	server.Kill()
	ctx := t.Context()
	calls := map[string]func() error{
		"EnsureTopic": func() error { return b.EnsureTopic(ctx, "events-03", []string{"g"}, 0) },
		"DropTopic":   func() error { return b.DropTopic(ctx, "events-04") },
		"Trim":        func() error { return b.Trim(ctx, "events-03", []string{"g"}) },
		"Depth":       func() error { _, err := b.Depth(ctx, "events-03", "g"); return err },
		"Lease":       func() error { _, err := b.Lease(ctx, "l", "me", time.Minute); return err },
		"Release":     func() error { return b.Release(ctx, "l", "me", 1) },
		"Announce":    func() error { _, err := b.Announce(ctx, "s", "m", time.Minute); return err },
		"Withdraw":    func() error { return b.Withdraw(ctx, "s", "m") },
		"Members":     func() error { _, err := b.Members(ctx, "s"); return err },
		"Settle":      func() error { _, err := b.Settle(ctx, "n", "v"); return err },
		"Publish":     func() error { return tryPublish(ctx, b, "events-03", "p") },
		"Subscriber": func() error {
			sub, err := b.Subscriber(ctx, "g")
			if err == nil {
				_, err = sub.Subscribe(ctx, "events-03")
			}
			return err
		},
	}
	for name, call := range calls {
		if err := call(); !errors.Is(err, bus.ErrUnavailable) {
			t.Errorf("%s: %v, want ErrUnavailable", name, err)
		}
	}
	server.Run()
	for name, call := range calls {
		eventually(t, name+" works again", func() bool {
			err := call()
			if err != nil && !errors.Is(err, bus.ErrUnavailable) {
				t.Fatalf("%s: %v", name, err)
			}
			return err == nil
		})
	}
}

func TestWrongPassword(t *testing.T) {
	_, server := start(t, fast)
	b := open(t, "redis://somebody:wrong@"+server.Addr)
	_, err := b.Settle(t.Context(), "n", "v")
	if err == nil || errors.Is(err, bus.ErrUnavailable) || !strings.Contains(err.Error(), "WRONGPASS") {
		t.Errorf("%v: want an error that waiting does not mend", err)
	}
}

func TestPublishHonoursDeadline(t *testing.T) {
	b, server := start(t, fast)
	publish(t, b, "events-01", "a")
	server.Pause()
	defer server.Resume()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	if err := tryPublish(ctx, b, "events-01", "b"); !errors.Is(err, bus.ErrUnavailable) {
		t.Error(err)
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("it took %v", took)
	}
}

// Watermill's router closes the publisher of each handler that ends.
func TestPublisherCloseDoesNothing(t *testing.T) {
	b, _ := start(t, fast)
	if err := b.Publisher().Close(); err != nil {
		t.Fatal(err)
	}
	publish(t, b, "events-01", "a")
	if err := b.Publisher().Publish("events-01"); err != nil {
		t.Error(err)
	}
	var _ message.Publisher = b.Publisher()
}
