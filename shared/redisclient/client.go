package redisclient

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/redis/go-redis/v9"
)

// reloadEvery bounds how long a Cluster's map of slots may be out of date when
// nothing fails.
const reloadEvery = 10 * time.Second

// New opens a client; it does not connect. On a Cluster, a command that a server does
// not answer has the client ask the others who owns the slots now: go-redis by itself
// asks when a server redirects it, and a dead one does not, or else once a minute,
// which would make every failover last that long.
func New(o *redis.UniversalOptions) redis.UniversalClient {
	if !o.IsClusterMode {
		return redis.NewUniversalClient(o)
	}
	options := o.Cluster()
	options.ClusterStateReloadInterval = reloadEvery
	cluster := redis.NewClusterClient(options)
	cluster.OnNewNode(func(node *redis.Client) { node.AddHook(reload{cluster}) })
	return cluster
}

// reload is a hook in the clients of a Cluster's nodes.
type reload struct{ cluster *redis.ClusterClient }

var _ redis.Hook = reload{}

// DialHook notices nodes that cannot be reached.
func (r reload) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := next(ctx, network, address)
		r.look(ctx, err)
		return conn, err
	}
}

// ProcessHook notices nodes that do not answer.
func (r reload) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		r.look(ctx, err)
		return err
	}
}

// ProcessPipelineHook notices nodes that do not answer.
func (r reload) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := next(ctx, cmds)
		r.look(ctx, err)
		return err
	}
}

// look has the map of slots loaded anew, in the background and at most five times a
// second, unless the error is a node's own answer or the caller's doing.
func (r reload) look(ctx context.Context, err error) {
	var answer redis.Error
	if err == nil || errors.As(err, &answer) || errors.Is(ctx.Err(), context.Canceled) || errors.Is(err, redis.ErrClosed) {
		return
	}
	r.cluster.ReloadState(ctx)
}
