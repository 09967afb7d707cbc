package redisbus

import (
	"errors"
	"testing"
	"time"

	"github.com/parley-chat/parley/shared/bus"
	"github.com/parley-chat/parley/shared/redistest"
)

// Whatever a live Redis refuses for now is ErrUnavailable, and over when Redis is well.
func TestTroubles(t *testing.T) {
	for _, x := range redistest.Troubles() {
		t.Run(x.Name, func(t *testing.T) {
			t.Parallel()
			server := x.Start(t)
			b := open(t, server.URL)
			publish(t, b, "events-03", "a")
			ctx := t.Context()
			calls := map[string]func() error{
				"EnsureTopic": func() error { return b.EnsureTopic(ctx, "events-03", []string{"g"}, 0) },
				"Trim":        func() error { return b.Trim(ctx, "events-03", []string{"g"}) },
				"Depth":       func() error { _, err := b.Depth(ctx, "events-03", "g"); return err },
				"Lease":       func() error { _, err := b.Lease(ctx, "l", "me", time.Minute); return err },
				"Announce":    func() error { _, err := b.Announce(ctx, "s", "m", time.Minute); return err },
				"Members":     func() error { _, err := b.Members(ctx, "s"); return err },
				"Settle":      func() error { _, err := b.Settle(ctx, "n", "v"); return err },
			}
			x.Begin(server)
			if err := tryPublish(ctx, b, "events-03", "b"); !errors.Is(err, bus.ErrUnavailable) {
				t.Errorf("Publish: %v, want ErrUnavailable", err)
			}
			for name, call := range calls { // some troubles leave some calls alone
				if err := call(); err != nil && !errors.Is(err, bus.ErrUnavailable) {
					t.Errorf("%s: %v, want ErrUnavailable", name, err)
				}
			}
			x.End(server)
			publish(t, b, "events-03", "c")
			for name, call := range calls {
				if err := call(); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		})
	}
}
