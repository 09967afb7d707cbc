// Package natsbus is the bus on NATS JetStream, through nats.go itself. A topic is
// a stream, written one message after the other with a message id, so that a
// publish that is tried again is one message. A group is a cursor: the sequence up to
// which all is acknowledged, kept in a key-value bucket. Each subscription reads
// through an ephemeral consumer of its own that starts behind the cursor; so
// whatever a dead reader left comes first, in order and at once, with no AckWait to
// sit out, and there is no moment at which a kill can lose the group's place. A
// cursor counts only for the very stream it was written for: a stream that was
// made anew is read from its beginning.
//
// Leases and sets are keys that carry their time to live; their age is judged by
// the server's clock, and every change names the revision that it replaces. It wants
// nats-server 2.9 or newer and uses nothing that came later. (Clusters of 2.9 were seen to
// lose acknowledged messages when two replicas were killed within seconds;
// readers are told, see package bus.) Topics have no time to live of
// their own (a stream knows only the age of messages, not when it was last
// used): EnsureTopic ignores it, and the topic of a dead node goes when the notifier drops it.
//
// Names, <topic> and so on being escaped (bytes but letters, digits, _ and - become =XX):
//
//	<prefix>=<topic>                       stream, with the subject <prefix>.topic.<topic>
//	KV_<prefix>_cursors  <topic>.<group>   "Created of the stream in ns, sequence"
//	                     made              empty; what every bucket holds first
//	KV_<prefix>_state    lease.<name>      "generation, ttl in ms, holder"; no holder: released
//	                     set.<set>.<member>  ttl in ms
//	                     settled.<name>
//	                     clock             written to learn the server's time
//	                     made
package natsbus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/parley-chat/parley/shared/bus"
)

const (
	// callTimeout bounds every call whose context has no deadline.
	callTimeout = 5 * time.Second
	// connectWait is how long a call waits for a connection that is being made.
	connectWait = time.Second
	dialTimeout = 2 * time.Second
	// A connection on which nothing comes back for two pings is given up.
	pingInterval = 2 * time.Second
	pingsOut     = 2
)

// Options of Open. The zero value is usable.
type Options struct {
	Prefix string       // of every stream, subject and bucket; letters, digits, _ and -; default "parley"
	Name   string       // of this process: operators see it in the server's list of connections; default "parley"
	Logger *slog.Logger // default: slog.Default()
}

// Backend is the [bus.Backend] on NATS JetStream.
type Backend struct {
	prefix    string
	name      string
	logger    *slog.Logger
	target    *target
	conn      *nats.Conn
	js        jetstream.JetStream
	publisher *publisher
	cursors   *bucket
	state     *bucket
	clock     clock

	checked     atomic.Bool   // the server is new enough
	generations sync.Map      // lease → the highest generation seen
	strangerAge time.Duration // after which a group that nobody names is destroyed
	strangers   strangers

	mu          sync.Mutex
	closed      bool
	subscribers map[*subscriber]struct{}
}

var _ bus.Backend = (*Backend)(nil)

var prefixForm = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// Open reads the URL, nats://[user:password@]host[:port],host… or tls://…, with
// the parameters that [parse] names, and returns a backend. NATS may be down now: it
// is connected to in the background, for ever. A server older than 2.9 makes every method
// fail with an error that says so and that is no [bus.ErrUnavailable].
func Open(_ context.Context, url string, o Options) (*Backend, error) {
	if o.Prefix == "" {
		o.Prefix = "parley"
	}
	if !prefixForm.MatchString(o.Prefix) {
		return nil, fmt.Errorf("prefix %q: on NATS it may have only letters, digits, _ and -", o.Prefix)
	}
	if o.Name == "" {
		o.Name = "parley"
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	to, err := parse(url)
	if err != nil {
		return nil, err
	}
	b := &Backend{
		prefix: o.Prefix, name: o.Name, logger: o.Logger, target: to,
		strangerAge: time.Hour,
		subscribers: map[*subscriber]struct{}{},
	}
	b.publisher = &publisher{backend: b}
	b.cursors = &bucket{backend: b, name: b.prefix + "_cursors"}
	b.state = &bucket{backend: b, name: b.prefix + "_state"}
	if b.conn, b.js, err = b.dial(
		nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1), nats.IgnoreAuthErrorAbort(),
		nats.ReconnectWait(200*time.Millisecond), nats.ReconnectJitter(100*time.Millisecond, 100*time.Millisecond),
		nats.ReconnectBufSize(-1), // a publish is refused while there is no connection, not kept for later
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			b.cursors.forget()
			b.state.forget()
			if err != nil {
				b.logger.Warn("connection to NATS lost", "err", err)
			}
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) { b.logger.Info("connected to NATS again", "server", nc.ConnectedAddr()) }),
	); err != nil {
		return nil, err
	}
	return b, nil
}

// dial makes a connection and its JetStream.
func (b *Backend) dial(options ...nats.Option) (*nats.Conn, jetstream.JetStream, error) {
	all := append([]nats.Option{
		nats.Name(b.name), nats.Timeout(dialTimeout), nats.PingInterval(pingInterval), nats.MaxPingsOutstanding(pingsOut),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { b.logger.Warn("NATS", "err", err) }),
	}, b.target.options...)
	conn, err := nats.Connect(b.target.servers, append(all, options...)...)
	if err != nil {
		return nil, nil, fmt.Errorf("connect to NATS: %w", err)
	}
	js, err := jetstream.New(conn, jetstream.WithDefaultTimeout(callTimeout))
	if err != nil {
		conn.Close()
		return nil, nil, fmt.Errorf("connect to NATS: %w", err)
	}
	return conn, js, nil
}

// ready stands before everything. It waits a moment for a connection that is being made, and
// looks once what kind of server this is.
func (b *Backend) ready(ctx context.Context) error {
	if !b.conn.IsConnected() {
		if err := b.awaitConnection(ctx); err != nil {
			return err
		}
	}
	if b.checked.Load() {
		return nil
	}
	if err := checkVersion(b.conn.ConnectedServerVersion()); err != nil {
		return err
	}
	b.checked.Store(true)
	return nil
}

func (b *Backend) awaitConnection(ctx context.Context) error {
	timeout := time.NewTimer(connectWait)
	defer timeout.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if b.conn.IsConnected() {
			return nil
		}
		if b.conn.IsClosed() {
			return errors.New("the NATS backend is closed")
		}
		select {
		case <-tick.C:
			continue
		case <-ctx.Done():
		case <-timeout.C:
		}
		return fmt.Errorf("no connection to NATS: %w", errors.Join(bus.ErrUnavailable, b.conn.LastError(), ctx.Err()))
	}
}

// bounded gives a context without a deadline one.
func bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, callTimeout)
}

// Publisher is the shared publisher; its Close does nothing, because Watermill's
// router closes the publisher of each handler that ends.
func (b *Backend) Publisher() message.Publisher { return b.publisher }

// Durable is true.
func (b *Backend) Durable() bool { return true }

// Close ends all subscriptions and closes the connections.
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
	b.conn.Close()
	return nil
}
