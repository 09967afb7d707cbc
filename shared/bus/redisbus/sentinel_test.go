package redisbus

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/parley-chat/parley/shared/redistest"
)

// Sentinel tells where the master is; after a failover the bus goes on at the new one.
func TestSentinel(t *testing.T) {
	if testing.Short() {
		t.Skip("a failover takes 10 s")
	}
	master := redistest.Start(t, redistest.Options{})
	host, port, _ := net.SplitHostPort(master.Addr)
	replica := redistest.Start(t, redistest.Options{Args: []string{"--replicaof", host + " " + port}})
	ctx, replicaClient := t.Context(), replica.Client()
	eventually(t, "the replica follows", func() bool {
		info := replicaClient.InfoMap(ctx, "replication").Val()
		return info["Replication"]["master_link_status"] == "up"
	})
	b := open(t, "redis+sentinel://"+startSentinel(t, host, port)+"/main")
	eventually(t, "the master is known", func() bool { return tryPublish(ctx, b, events, "1") == nil })
	subscribe(t, b, events, "g").want("1")
	eventually(t, "the replica has it all", func() bool {
		groups := replicaClient.XInfoGroups(ctx, eventsKey).Val()
		return len(groups) == 1 && groups[0].Lag == 0 && groups[0].Pending == 0
	})
	master.Kill()
	eventually(t, "it goes on at the replica", func() bool { return tryPublish(ctx, b, events, "2") == nil })
	subscribe(t, b, events, "g").want("2")
	if n := replicaClient.XLen(ctx, eventsKey).Val(); n != 2 {
		t.Errorf("%d entries, want 2", n)
	}
	if l, err := b.Lease(ctx, "l", "me", time.Minute); err != nil || !l.Held {
		t.Errorf("lease: %v %v", l, err)
	}
}

// startSentinel starts a sentinel that decides alone, and returns its address.
func startSentinel(t *testing.T, masterHost, masterPort string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_, port, _ := net.SplitHostPort(addr)
	_ = l.Close()
	config := filepath.Join(t.TempDir(), "sentinel.conf")
	text := fmt.Sprintf("port %s\nbind 127.0.0.1\nsentinel monitor main %s %s 1\n"+
		"sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 2000\n", port, masterHost, masterPort)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("redis-server", config, "--sentinel")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return addr
}
