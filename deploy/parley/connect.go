package parley

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"

	"github.com/parley-chat/parley/shared/bus"
	"github.com/parley-chat/parley/shared/bus/backend"
	"github.com/parley-chat/parley/shared/redisclient"
)

// link is the connection to the bus of a running Parley.
type link struct {
	bus.Backend
	bus.Inspector
	name       string // of this process
	partitions int    // 0: no service has ever started there
}

// connect opens the bus and reads how many partitions there are. An error says
// what cannot be reached.
func (t *Target) connect(ctx context.Context) (*link, error) {
	if backend.IsMemory(t.Bus) {
		return nil, misused("PARLEY_BUS: memory:// is inside of one process, and cannot be looked into from here; give the address of a Redis or NATS")
	}
	name := "parley-" + strings.ToLower(rand.Text()[:8])
	b, err := backend.Open(ctx, t.Bus, backend.Options{Prefix: t.Prefix, Name: name, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, &usageError{err.Error()}
	}
	l := &link{Backend: b, name: name}
	if l.Inspector, err = bus.Inspect(b); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	settled, err := ask(ctx, t, func(ctx context.Context) (string, error) { return l.Settled(ctx, "partitions") })
	if err != nil {
		return nil, errors.Join(fmt.Errorf("the bus at %s: %w", redisclient.Redact(t.Bus), err), b.Close())
	}
	if settled != "" {
		if l.partitions, err = strconv.Atoi(settled); err != nil {
			return nil, errors.Join(fmt.Errorf("number of partitions: %w", err), b.Close())
		}
	}
	return l, nil
}

// installed is connect, with an error where no service has ever started.
func (t *Target) installed(ctx context.Context) (*link, error) {
	l, err := t.connect(ctx)
	if err != nil {
		return nil, err
	}
	if l.partitions == 0 {
		return nil, errors.Join(fmt.Errorf("no Parley has ever started on %s with the prefix %q", redisclient.Redact(t.Bus), t.Prefix), l.Close())
	}
	return l, nil
}

// ask calls the broker within the timeout.
func ask[R any](ctx context.Context, t *Target, do func(context.Context) (R, error)) (R, error) {
	ctx, cancel := context.WithTimeout(ctx, t.Timeout)
	defer cancel()
	return do(ctx)
}

// storeURL is where rooms are kept.
func (t *Target) storeURL() string {
	switch {
	case t.Store != "":
		return t.Store
	case redisclient.Is(t.Bus):
		return t.Bus
	}
	return "redis://127.0.0.1:6379/0"
}
