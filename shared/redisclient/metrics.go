package redisclient

import (
	"context"
	"errors"
	"net"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
)

// CountErrors has parley_redis_errors_total of the registry count the client's
// errors under its name ("bus", "rooms", "registry") by kind: dial, timeout,
// connection, reply. What is no failure (no value, a script or group that is there
// or not yet, an end that was asked for) does not count. Clients of one process
// share a registry; nil: nothing is counted. To be called before the client is used.
func CountErrors(client redis.UniversalClient, registry prometheus.Registerer, name string) {
	if registry == nil {
		return
	}
	errs := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "parley_redis_errors_total",
		Help: "Commands that failed, by client (bus, rooms, registry) and kind: dial, timeout, connection, reply.",
	}, []string{"client", "kind"})
	var already prometheus.AlreadyRegisteredError
	if err := registry.Register(errs); errors.As(err, &already) {
		errs, _ = already.ExistingCollector.(*prometheus.CounterVec)
	}
	if errs == nil {
		return
	}
	mine := errs.MustCurryWith(prometheus.Labels{"client": name})
	for _, kind := range []string{"dial", "timeout", "connection", "reply"} {
		mine.WithLabelValues(kind) // at 0, or Prometheus would not see the first one as an increase
	}
	client.AddHook(counted{mine})
}

// counted is a hook that counts errors.
type counted struct{ errs *prometheus.CounterVec }

var _ redis.Hook = counted{}

func (c counted) note(err error) {
	if kind := kindOf(err); kind != "" {
		c.errs.WithLabelValues(kind).Inc()
	}
}

// kindOf names what failed; empty: nothing did.
func kindOf(err error) string {
	var reply redis.Error
	var network net.Error
	switch {
	case err == nil, errors.Is(err, redis.Nil), errors.Is(err, redis.ErrClosed), errors.Is(err, context.Canceled):
		return ""
	case redis.HasErrorPrefix(err, "NOSCRIPT"), redis.HasErrorPrefix(err, "BUSYGROUP"):
		return ""
	case errors.As(err, &reply):
		return "reply"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &network) && network.Timeout():
		return "timeout"
	}
	return "connection"
}

// greeting tells what the client says to a new connection by itself. Older servers
// refuse some of it, and it goes on without.
func greeting(cmd redis.Cmder) bool { return cmd.Name() == "hello" || cmd.Name() == "client" }

// DialHook counts connections that could not be made.
func (c counted) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := next(ctx, network, address)
		if err != nil && !errors.Is(err, context.Canceled) {
			c.errs.WithLabelValues("dial").Inc()
		}
		return conn, err
	}
}

// ProcessHook counts commands.
func (c counted) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if !greeting(cmd) {
			c.note(err)
		}
		return err
	}
}

// ProcessPipelineHook counts a pipeline once, by its first error.
func (c counted) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := next(ctx, cmds)
		if !slices.ContainsFunc(cmds, greeting) {
			c.note(err)
		}
		return err
	}
}
