// Package redisbus is the bus on Redis Streams. A topic is a stream, a group a
// consumer group of which only the cursor is used; leases are keys with an expiry, sets
// are sorted sets. It publishes through watermill-redisstream, of which it is the only
// importer, and with driver=stock in the URL reads through it, too. That driver does much
// that this project cannot live with (it ends a subscription at an entry that it
// cannot read, is silent for ever when the group is gone, loses what it claimed when a
// reply is lost, …): each such trap is met where it is, with a comment that names it
// and a test. It wants Redis 7.0 or newer, because XINFO GROUPS tells the lag of a group
// since then.
//
// Keys, <tag> being [bus.HashTag] of the name:
//
//	<prefix>:{<tag>}:<topic>              stream
//	<prefix>:{<tag>}:strangers:<topic>    hash: groups that are in no catalogue, since when
//	<prefix>:{<tag>}:lease:<name>         string "generation holder", with expiry
//	<prefix>:{<tag>}:generation:<name>    string, the lease's counter
//	<prefix>:set:<set>                    sorted set, member → Unix ms of its end
//	<prefix>:settled:<name>               string
package redisbus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/parley-chat/parley/shared/bus"
	"github.com/parley-chat/parley/shared/redisclient"
)

// Options of Open. The zero value is usable.
type Options struct {
	Prefix string       // before every key; default "parley"; no braces and no white space
	Name   string       // of this process: operators see it in CLIENT LIST and XINFO CONSUMERS; default "parley"
	Logger *slog.Logger // default: slog.Default()
	// Registry gets parley_redis_errors_total; nil: no metrics.
	Registry prometheus.Registerer
}

// Backend is the [bus.Backend] on Redis.
type Backend struct {
	prefix string
	name   string
	logger *slog.Logger
	client redis.UniversalClient // shared; every subscription has one of its own besides
	dial   func() redis.UniversalClient

	publisher   message.Publisher
	stock       bool // read by watermill-redisstream's subscriber
	strangerAge time.Duration
	checked     atomic.Bool // the server's version is known to do
	reported    sync.Map    // "topic group" of strangers that were logged
	generations sync.Map    // lease name → highest generation seen, uint64
	mu          sync.Mutex
	closed      bool
	subscribers map[*subscriber]struct{}
}

var _ bus.Backend = (*Backend)(nil)

// Open reads the URL (see [redisclient.Options]) and returns a backend. It does not
// connect: Redis may be down now. What Redis is, is looked at with the first call that
// reaches it: a server older than 7.0 makes every method fail with an error that
// says so and that is no [bus.ErrUnavailable].
func Open(_ context.Context, url string, o Options) (*Backend, error) {
	if o.Prefix == "" {
		o.Prefix = "parley"
	}
	if strings.ContainsAny(o.Prefix, "{} \t\r\n") {
		return nil, fmt.Errorf("prefix %q: braces and white space are not allowed in it", o.Prefix)
	}
	if o.Name == "" {
		o.Name = "parley"
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	url, stock, err := cutDriver(url)
	if err != nil {
		return nil, err
	}
	shared, err := redisclient.Options(url)
	if err != nil {
		return nil, err
	}
	shared.ClientName = clientName(o.Name)
	settle(shared)
	own := *shared
	own.PoolSize = subscriptionPool
	shared.PoolSize = max(shared.PoolSize, 32, 10*runtime.GOMAXPROCS(0))
	b := &Backend{
		prefix: o.Prefix, name: o.Name, logger: o.Logger, stock: stock,
		client:      newClient(shared),
		strangerAge: time.Hour,
		subscribers: map[*subscriber]struct{}{},
	}
	redisclient.CountErrors(b.client, o.Registry, "bus")
	b.dial = func() redis.UniversalClient {
		options := own
		client := newClient(withTLS(&options))
		redisclient.CountErrors(client, o.Registry, "bus")
		return client
	}
	if b.publisher, err = newPublisher(b); err != nil {
		_ = b.client.Close()
		return nil, err
	}
	return b, nil
}

// cutDriver takes "driver=…" out of the URL's query.
func cutDriver(rawURL string) (rest string, stock bool, err error) {
	base, query, _ := strings.Cut(rawURL, "?")
	var others []string
	for _, pair := range strings.Split(query, "&") {
		name, value, _ := strings.Cut(pair, "=")
		switch {
		case name != "driver":
			others = append(others, pair)
		case value == "stock":
			stock = true
		case value != "cursor":
			return "", false, fmt.Errorf("driver=%s: want cursor (the default) or stock (watermill-redisstream's subscriber)", value)
		}
	}
	if query = strings.Join(others, "&"); query != "" {
		base += "?" + query
	}
	return base, stock, nil
}

// settle sets what holds for all clients of the bus.
func settle(o *redis.UniversalOptions) {
	// A publish that go-redis repeats after a lost reply is a duplicate, and a read
	// that it repeats has lost what the first one was given.
	o.MaxRetries = -1
	// Whoever calls has a backoff; the pool's own would only add to it.
	o.DialerRetries = 1
	o.ContextTimeoutEnabled = true
	if o.ReadTimeout <= 0 || o.ReadTimeout > replyTimeout {
		o.ReadTimeout = replyTimeout
	}
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
}

// replyTimeout bounds every command that does not block on purpose; with it also the
// first claim of a subscription, which is made anew when it fails.
const replyTimeout = 5 * time.Second

// withTLS gives each client a TLS configuration of its own.
func withTLS(o *redis.UniversalOptions) *redis.UniversalOptions {
	if o.TLSConfig != nil {
		o.TLSConfig = o.TLSConfig.Clone()
	}
	return o
}

// clientName makes a name that CLIENT SETNAME takes.
func clientName(name string) string {
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return '_'
		}
		return r
	}, name)
}

// Publisher is the shared publisher; its Close does nothing, because Watermill's
// router closes the publisher of each handler that ends.
func (b *Backend) Publisher() message.Publisher { return b.publisher }

// Durable is true.
func (b *Backend) Durable() bool { return true }

// Close ends all subscriptions and closes the clients.
func (b *Backend) Close() error {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return nil
	}
	b.closed = true
	open := make([]*subscriber, 0, len(b.subscribers))
	for s := range b.subscribers {
		open = append(open, s)
	}
	b.mu.Unlock()
	for _, s := range open {
		_ = s.Close() // never fails
	}
	if err := b.client.Close(); err != nil && !errors.Is(err, redis.ErrClosed) {
		return fmt.Errorf("close Redis client: %w", err)
	}
	return nil
}

func (b *Backend) topicKey(topic string) string { return b.tagged(topic, topic) }

// tagged puts a key into the slot of the name's partition.
func (b *Backend) tagged(name, rest string) string {
	return b.prefix + ":{" + bus.HashTag(name) + "}:" + rest
}
