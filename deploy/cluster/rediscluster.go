package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	masters = 3     // of the Redis Cluster, each with one replica
	slots   = 16384 // of any Redis Cluster
	// nodeTimeout is Redis' own: on a busy machine a server that lives may be silent
	// for seconds, and to take its place then would be a fault of the test.
	nodeTimeout = 15 * time.Second
)

// redisNode is one server of a Redis Cluster: as RedisServer, but for the mode.
func redisNode(dir, data string, timeout time.Duration, i int) (*Process, string, error) {
	name := fmt.Sprintf("redis-%d", i+1)
	data = filepath.Join(data, name)
	if err := os.MkdirAll(data, 0o755); err != nil {
		return nil, "", err
	}
	port, err := freePort()
	if err != nil {
		return nil, "", err
	}
	gossip, err := freePort()
	if err != nil {
		return nil, "", err
	}
	address := net.JoinHostPort("127.0.0.1", port)
	p, err := Program{
		Name: name, Path: "redis-server", Dir: dir,
		Args: []string{"--port", port, "--bind", "127.0.0.1", "--dir", data, "--appendonly", "yes", "--appendfsync", "always",
			"--save", "", "--maxmemory-policy", "noeviction", "--repl-diskless-sync-delay", "0",
			"--cluster-enabled", "yes", "--cluster-port", gossip, "--cluster-node-timeout", strconv.FormatInt(timeout.Milliseconds(), 10), "--cluster-require-full-coverage", "no"},
		Up: Greet(address, "PING\r\n", "+PONG"),
	}.Process()
	if err != nil {
		return nil, "", err
	}
	p.Kind = "redis"
	return p, address, nil
}

// addRedisCluster prepares six servers.
func (c *Cluster) addRedisCluster() error {
	for i := range 2 * masters {
		p, address, err := redisNode(c.cfg.Dir, c.data(), cmp.Or(c.cfg.NodeTimeout, nodeTimeout), i)
		if err != nil {
			return err
		}
		c.Nodes = append(c.Nodes, p)
		c.nodes = append(c.nodes, address)
	}
	c.RedisURL = "redis+cluster://" + strings.Join(c.nodes, ",")
	c.BusURL = c.RedisURL
	return nil
}

// formRedisCluster makes the servers one: three masters with a third of the slots
// each, and a replica of each.
func (c *Cluster) formRedisCluster(ctx context.Context) error {
	clients := make([]*redis.Client, len(c.nodes))
	for i, address := range c.nodes {
		clients[i] = redis.NewClient(&redis.Options{Addr: address})
		defer clients[i].Close()
	}
	_, gossipless, err := net.SplitHostPort(c.nodes[0])
	if err != nil {
		return err
	}
	gossip, err := clients[0].ConfigGet(ctx, "cluster-port").Result()
	if err != nil {
		return err
	}
	for i, client := range clients {
		if i < masters {
			from, to := slots*i/masters, slots*(i+1)/masters-1
			if err := client.ClusterAddSlotsRange(ctx, from, to).Err(); err != nil {
				return fmt.Errorf("give slots to %s: %w", c.nodes[i], err)
			}
		}
		if err := client.Do(ctx, "CLUSTER", "SET-CONFIG-EPOCH", i+1).Err(); err != nil {
			return err
		}
		if i > 0 {
			if err := client.Do(ctx, "CLUSTER", "MEET", "127.0.0.1", gossipless, gossip["cluster-port"]).Err(); err != nil {
				return fmt.Errorf("%s meets %s: %w", c.nodes[i], c.nodes[0], err)
			}
		}
	}
	ids := make([]string, masters)
	for i := range ids {
		if ids[i], err = clients[i].Do(ctx, "CLUSTER", "MYID").Text(); err != nil {
			return err
		}
	}
	for i, client := range clients[masters:] {
		if err := until(ctx, func() error { return client.ClusterReplicate(ctx, ids[i]).Err() }); err != nil {
			return fmt.Errorf("make %s a replica: %w", c.nodes[masters+i], err)
		}
	}
	return until(ctx, func() error { return formed(ctx, clients) })
}

// formed says what is missing until all servers know the whole and every replica
// has its master's data.
func formed(ctx context.Context, clients []*redis.Client) error {
	for i, client := range clients {
		info, err := client.ClusterInfo(ctx).Result()
		if err != nil {
			return err
		}
		for _, want := range []string{"cluster_state:ok", fmt.Sprintf("cluster_known_nodes:%d", len(clients)), fmt.Sprintf("cluster_slots_ok:%d", slots)} {
			if !strings.Contains(info, want) {
				return fmt.Errorf("server %d of the Redis Cluster lacks %s", i+1, want)
			}
		}
		replication, err := client.Info(ctx, "replication").Result()
		if err != nil {
			return err
		}
		if i >= masters && !strings.Contains(replication, "master_link_status:up") || i < masters && !strings.Contains(replication, "state=online") {
			return fmt.Errorf("server %d of the Redis Cluster does not replicate yet", i+1)
		}
	}
	return nil
}

// until repeats what fails until it does not, or ctx ends.
func until(ctx context.Context, try func() error) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		}
	}
}
