package chaos

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/parley-chat/parley/deploy/cluster"
)

// failover has a replica follow the Redis in use, promotes it while everybody
// writes, leads everybody to it and demotes the old master.
func failover(ctx context.Context, w *world) (string, after, error) {
	next, nextURL, dir, err := w.replica(ctx)
	if err != nil {
		return "", nil, err
	}
	o, err := redis.ParseURL(nextURL)
	if err != nil {
		return "", nil, err
	}
	promoted, old := patientRedis(o), w.redis
	if err := follow(ctx, promoted, old.Options().Addr); err != nil {
		return "", nil, errors.Join(err, promoted.Close(), next.Stop(ctx))
	}
	if err := promoted.ReplicaOf(ctx, "NO", "ONE").Err(); err != nil {
		return "", nil, errors.Join(err, promoted.Close())
	}
	for _, p := range w.all() {
		p.Retarget(o.Addr)
		p.Reset()
	}
	host, port, _ := net.SplitHostPort(o.Addr)
	err = old.ReplicaOf(ctx, host, port).Err()
	was := w.Redis
	w.Cluster.Redis, w.spare, w.redis, w.data = next, was, promoted, dir
	return "Redis with one replica", func(ctx context.Context) error {
		was.Kill() // nobody needs what it has; asked to end while it synchronises, Redis 7.0 may never do so
		return old.Close()
	}, err
}

// replica starts a Redis in a folder of its own.
func (w *world) replica(ctx context.Context) (p *cluster.Process, address, data string, err error) {
	w.failovers++
	dir := filepath.Join(w.cfg.Dir, fmt.Sprintf("replica-%d", w.failovers))
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, "", "", err
	}
	if p, address, err = cluster.RedisServer(dir, "always"); err != nil {
		return nil, "", "", err
	}
	return p, address, filepath.Join(dir, "redis-data"), startAll(ctx, []*cluster.Process{p})
}

// follow makes it a replica, and waits until it has everything and has it on disk.
func follow(ctx context.Context, replica *redis.Client, master string) error {
	host, port, err := net.SplitHostPort(master)
	if err != nil {
		return err
	}
	if err := replica.ReplicaOf(ctx, host, port).Err(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for {
		info, err := replica.Info(ctx, "replication", "persistence").Result()
		if err == nil && strings.Contains(info, "master_link_status:up") &&
			strings.Contains(info, "aof_rewrite_in_progress:0") && strings.Contains(info, "aof_rewrite_scheduled:0") {
			return nil
		}
		if sleepErr := sleep(ctx, 100*time.Millisecond); sleepErr != nil {
			return errors.Join(fmt.Errorf("the replica does not follow: %w", sleepErr), err)
		}
	}
}
