package deployment

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/parley-chat/parley/deploy/cluster"
)

// shipped copies files of a folder of deploy to another place, with what is of that
// place replaced: from, to, from, to.
func shipped(t *testing.T, folder, to string, names []string, replaced ...string) {
	t.Helper()
	for _, name := range names {
		raw, err := os.ReadFile(filepath.Join(project, "deploy", folder, name))
		if err != nil {
			t.Fatal(err)
		}
		text := strings.NewReplacer(replaced...).Replace(string(raw))
		if err := os.WriteFile(filepath.Join(to, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// chat has users chat on a Parley whose services stand on the bus and the store.
func chat(t *testing.T, cfg cluster.Config) *load {
	t.Helper()
	l := underLoad(t, start(t, cfg).Edges[0].URL, nil)
	l.more(40)
	return l
}

// TestRedisAsShipped: the services on a Redis that reads redis.conf.
func TestRedisAsShipped(t *testing.T) {
	address := net.JoinHostPort("127.0.0.1", freePort(t))
	redisServer(t, "redis", address, filepath.Join(project, "deploy/redis/redis.conf"))
	chat(t, cluster.Config{Brokers: "redis://" + address + "/0", Ingress: 1, Chat: 1, Notifiers: 1}).finish()
	for name, want := range map[string]string{"appendonly": "yes", "appendfsync": "always", "save": "", "maxmemory-policy": "noeviction"} {
		if got := redisCLI(t, address, "CONFIG", "GET", name); got != strings.TrimSpace(name+"\n"+want) {
			t.Errorf("CONFIG GET %s: %q", name, got)
		}
	}
}

// TestRedisClusterAsShipped: six servers that read cluster.conf, made one as
// compose.redis-cluster.yaml makes them.
func TestRedisClusterAsShipped(t *testing.T) {
	config := t.TempDir()
	shipped(t, "redis", config, []string{"redis.conf", "cluster.conf"}, "/etc/redis/", config+"/")
	var addresses []string
	for i := range 6 {
		address := net.JoinHostPort("127.0.0.1", freePort(t))
		addresses = append(addresses, address)
		redisServer(t, fmt.Sprintf("redis-%d", i+1), address, filepath.Join(config, "cluster.conf"), "--cluster-port", freePort(t))
	}
	redisCLI(t, addresses[0], append(append([]string{"--cluster", "create"}, addresses...), "--cluster-replicas", "1", "--cluster-yes")...)
	replicas := func() error {
		for _, address := range addresses {
			if info := redisCLI(t, address, "INFO", "replication"); !strings.Contains(info, "state=online") && !strings.Contains(info, "master_link_status:up") {
				return fmt.Errorf("%s is alone: %s", address, info)
			}
			if info := redisCLI(t, address, "CLUSTER", "INFO"); !strings.Contains(info, "cluster_state:ok") {
				return fmt.Errorf("%s: %s", address, info)
			}
		}
		return nil
	}
	eventually(t, "every master has its replica", 60*time.Second, replicas)
	chat(t, cluster.Config{Brokers: "redis+cluster://" + strings.Join(addresses, ","), Ingress: 1, Chat: 1, Notifiers: 1}).finish()
}

// TestNATSAsShipped: three servers that read nats.conf are one, and keep three copies.
// One of them dies, and the others go on.
func TestNATSAsShipped(t *testing.T) {
	const nodes = 3
	var clients, monitors, routes, names []string
	for i := range nodes {
		names = append(names, fmt.Sprintf("nats-%d", i+1))
		clients = append(clients, net.JoinHostPort("127.0.0.1", freePort(t)))
		monitors = append(monitors, net.JoinHostPort("127.0.0.1", freePort(t)))
		routes = append(routes, net.JoinHostPort("127.0.0.1", freePort(t)))
	}
	var servers []*cluster.Process
	for i, name := range names {
		dir := t.TempDir()
		replaced := []string{"0.0.0.0:4222", clients[i], "0.0.0.0:8222", monitors[i], "0.0.0.0:6222", routes[i], "/data", dir}
		for j, other := range names {
			replaced = append(replaced, "nats://"+other+":6222", "nats://"+routes[j])
		}
		shipped(t, "nats", dir, []string{"nats.conf"}, replaced...)
		p := cluster.Program{Name: name, Path: "nats-server", Dir: dir, Args: []string{"-c", filepath.Join(dir, "nats.conf"), "--name", name},
			Up: cluster.Greet(clients[i], "", "INFO ")}
		servers = append(servers, program(t, p))
	}
	for _, monitor := range monitors { // what the containers are asked, too
		eventually(t, "the servers are one", 60*time.Second, func() error {
			ctx, cancel := context.WithTimeout(t.Context(), patience(5*time.Second))
			defer cancel()
			return cluster.Answers("http://" + monitor + "/healthz")(ctx)
		})
	}
	l := chat(t, cluster.Config{Ingress: 1, Chat: 1, Notifiers: 1, EnvOf: func(string) []string {
		return []string{"PARLEY_BUS=nats://" + strings.Join(clients, ",") + "?replicas=3"}
	}})
	servers[0].Kill()
	l.more(40)
	l.finish()
}

// redisServer starts a Redis that reads the file.
func redisServer(t *testing.T, name, address, config string, args ...string) {
	t.Helper()
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	program(t, cluster.Program{
		Name: name, Path: "redis-server", Dir: t.TempDir(), Up: cluster.Greet(address, "PING\r\n", "+PONG"),
		Args: append([]string{config, "--port", port, "--bind", "127.0.0.1", "--dir", t.TempDir()}, args...),
	})
}

// redisCLI runs redis-cli at the address and returns what it prints.
func redisCLI(t *testing.T, address string, args ...string) string {
	t.Helper()
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience(60*time.Second))
	defer cancel()
	out, err := exec.CommandContext(ctx, "redis-cli", append([]string{"-h", host, "-p", port}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("redis-cli %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}
