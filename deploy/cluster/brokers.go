package cluster

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// RedisServer is a redis-server of this cluster's own: free port, folder of its
// own, every write on disk before it is answered.
func RedisServer(dir, fsync string) (*Process, string, error) { return redisServer(dir, dir, fsync) }

func redisServer(dir, data, fsync string) (*Process, string, error) {
	path, err := find("redis-server")
	if err != nil {
		return nil, "", err
	}
	port, err := freePort()
	if err != nil {
		return nil, "", err
	}
	data = filepath.Join(data, "redis-data")
	if err := os.MkdirAll(data, 0o755); err != nil {
		return nil, "", err
	}
	address := net.JoinHostPort("127.0.0.1", port)
	return &Process{
		Name: "redis", Kind: "redis", path: path, LogFile: filepath.Join(dir, "redis.log"),
		args: []string{"--port", port, "--bind", "127.0.0.1", "--dir", data, "--appendonly", "yes", "--appendfsync", fsync,
			"--save", "", "--maxmemory-policy", "noeviction", "--enable-debug-command", "local", "--repl-diskless-sync-delay", "0"},
		up: func(ctx context.Context) error { return greet(ctx, address, "PING\r\n", "+PONG") },
	}, "redis://" + address + "/0", nil
}

// natsServer is a nats-server of this cluster's own, with JetStream in files.
func natsServer(dir, data string) (*Process, string, error) {
	path, err := find("nats-server")
	if err != nil {
		return nil, "", err
	}
	port, err := freePort()
	if err != nil {
		return nil, "", err
	}
	address := net.JoinHostPort("127.0.0.1", port)
	return &Process{
		Name: "nats", Kind: "nats", path: path, LogFile: filepath.Join(dir, "nats.log"),
		args: []string{"--addr", "127.0.0.1", "--port", port, "--jetstream", "--store_dir", filepath.Join(data, "nats-data")},
		up:   func(ctx context.Context) error { return greet(ctx, address, "", "INFO ") },
	}, "nats://" + address, nil
}

// find looks where Debian puts servers, too.
func find(program string) (string, error) {
	path, err := exec.LookPath(program)
	if err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/sbin", "/usr/local/sbin", "/opt/homebrew/bin"} {
		if path, err := exec.LookPath(filepath.Join(dir, program)); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s is not installed: `scripts/need` installs it, or names what is missing", program)
}

// greet says hello to a line protocol and wants the answer to begin with want.
func greet(ctx context.Context, address, hello, want string) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	if _, err := conn.Write([]byte(hello)); err != nil {
		return err
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return err
	}
	if !strings.HasPrefix(line, want) {
		return errors.New(strings.TrimSpace(line))
	}
	return nil
}
