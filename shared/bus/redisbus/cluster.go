package redisbus

import (
	"context"
	"errors"
	"net"

	"github.com/redis/go-redis/v9"

	"github.com/parley-chat/parley/shared/redisclient"
)

// newClient makes a client that sends each command once. On a Cluster MaxRetries is
// not enough for that: go-redis repeats a command after any error of the connection there,
// and counts that as redirects, which have to be allowed.
func newClient(o *redis.UniversalOptions) redis.UniversalClient {
	client := redisclient.New(o)
	if cluster, ok := client.(*redis.ClusterClient); ok {
		cluster.OnNewNode(func(node *redis.Client) { node.AddHook(once{}) })
	}
	return client
}

// once is a hook in the clients of a Cluster's nodes. It hides from the client above that an
// error is one of the connection, unless nothing was sent.
type once struct{}

var _ redis.Hook = once{}

// DialHook does nothing.
func (once) DialHook(next redis.DialHook) redis.DialHook { return next }

// ProcessPipelineHook does nothing: the bus's only pipeline, a follower's read and its
// cursor, may be repeated.
func (once) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// ProcessHook replaces errors after which a command is not to be repeated.
func (once) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		var reply redis.Error
		var connection *net.OpError
		switch {
		case err == nil, errors.As(err, &reply):
			return err
		case errors.As(err, &connection) && connection.Op == "dial":
			return err
		}
		return replyLost{err.Error()}
	}
}

// replyLost does not unwrap, on purpose.
type replyLost struct{ why string }

func (e replyLost) Error() string { return e.why }
