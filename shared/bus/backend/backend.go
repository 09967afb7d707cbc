// Package backend opens the bus backend that a URL names. Only mains import it.
package backend

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/parley-chat/parley/shared/bus"
	"github.com/parley-chat/parley/shared/bus/membus"
	"github.com/parley-chat/parley/shared/bus/natsbus"
	"github.com/parley-chat/parley/shared/bus/redisbus"
	"github.com/parley-chat/parley/shared/redisclient"
)

// Options are alike for all brokers; the in-memory one needs none.
type Options struct {
	Prefix string // before every name on the broker (PARLEY_PREFIX)
	Name   string // of this process, for operators
	Logger *slog.Logger
	// Registry gets parley_redis_errors_total where the broker is Redis; nil: no metrics.
	Registry prometheus.Registerer
}

// Open opens memory:// (one process only, empty at each start), the redis:// family
// (see [redisclient.Options]), nats:// or tls:// (NATS, too). It does not wait for the
// broker, which may be down now.
func Open(ctx context.Context, url string, o Options) (bus.Backend, error) {
	switch {
	case IsMemory(url):
		return membus.New(), nil
	case redisclient.Is(url):
		return opened(redisbus.Open(ctx, url, redisbus.Options{Prefix: o.Prefix, Name: o.Name, Logger: o.Logger, Registry: o.Registry}))
	case strings.HasPrefix(url, "nats://"), strings.HasPrefix(url, "tls://"):
		return opened(natsbus.Open(ctx, url, natsbus.Options{Prefix: o.Prefix, Name: o.Name, Logger: o.Logger}))
	}
	return nil, fmt.Errorf("PARLEY_BUS %q: want memory://, redis://, rediss://, redis+sentinel://, redis+cluster://, nats:// or tls://",
		redisclient.Redact(url))
}

// opened keeps a nil pointer from becoming a backend that is not nil.
func opened[B bus.Backend](b B, err error) (bus.Backend, error) {
	if err != nil {
		return nil, fmt.Errorf("PARLEY_BUS: %w", err)
	}
	return b, nil
}

// IsMemory tells whether the URL names the in-memory bus, which no second process
// can reach.
func IsMemory(url string) bool { return strings.HasPrefix(url, "memory://") }
