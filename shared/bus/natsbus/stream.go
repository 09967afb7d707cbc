package natsbus

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// In a cluster a stream that was made a moment ago has no leader for a while: nobody
// answers for it then, not even to say so. Hence short tries, and many.
const (
	tryTimeout = 500 * time.Millisecond
	tryPause   = 20 * time.Millisecond
)

// makeStream looks for the stream, makes it where it is missing, and waits until it can be
// used. One that is there stays as it is, whatever its settings.
func (b *Backend) makeStream(ctx context.Context, config jetstream.StreamConfig) (jetstream.Stream, error) {
	for {
		stream, err := b.tryStream(ctx, config)
		switch {
		case err == nil && hasLeader(stream.CachedInfo()):
			return stream, nil
		case err != nil && !isTimeout(err) || b.conn.IsClosed():
			return nil, err
		}
		if sleep(ctx, tryPause) != nil {
			return nil, errors.Join(err, ctx.Err())
		}
	}
}

func (b *Backend) tryStream(ctx context.Context, config jetstream.StreamConfig) (jetstream.Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	stream, err := b.js.Stream(ctx, config.Name)
	if !errors.Is(err, jetstream.ErrStreamNotFound) {
		return stream, err
	}
	stream, err = b.js.CreateStream(ctx, config)
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // another process was faster, with other settings
		return b.js.Stream(ctx, config.Name)
	}
	return stream, err
}

func hasLeader(info *jetstream.StreamInfo) bool {
	return info.Cluster == nil || info.Cluster.Leader != ""
}

func isTimeout(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrTimeout)
}
