package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/parley-chat/parley/shared/redisclient"
)

// redisCommand runs one command on the Redis, or on every master of the Redis Cluster,
// as its operator would.
func redisCommand(t testing.TB, url string, args ...any) {
	t.Helper()
	o, err := redisclient.Options(url)
	if err != nil {
		t.Fatal(err)
	}
	client := redisclient.New(o)
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience(10*time.Second))
	defer cancel()
	do := func(ctx context.Context, one *redis.Client) error { return one.Do(ctx, args...).Err() }
	switch c := client.(type) {
	case *redis.ClusterClient:
		err = c.ForEachMaster(ctx, do)
	case *redis.Client:
		err = do(ctx, c)
	default:
		err = fmt.Errorf("a client of type %T", client)
	}
	if err != nil {
		t.Fatalf("%v: %v", args, err)
	}
}
