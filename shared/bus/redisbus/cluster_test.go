package redisbus

import (
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/parley-chat/parley/shared/bus"
	"github.com/parley-chat/parley/shared/redistest"
)

// startCluster starts a cluster of one node that serves all slots.
func startCluster(t *testing.T) *redistest.Server {
	t.Helper()
	server := redistest.Start(t, redistest.Options{Args: []string{"--cluster-enabled", "yes", "--appendfsync", "no"}})
	client := server.Client()
	if err := client.ClusterAddSlotsRange(t.Context(), 0, 16383).Err(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the cluster is up", func() bool {
		return strings.Contains(client.ClusterInfo(t.Context()).Val(), "cluster_state:ok")
	})
	return server
}

// One node that serves all slots tells wrong keys of a script as well as many do.
func TestCluster(t *testing.T) {
	server := startCluster(t)
	ctx := t.Context()
	b := open(t, "redis+cluster://"+server.Addr)
	if _, err := b.Settle(ctx, "n", "v"); err != nil {
		t.Fatal(err)
	}
	if err := b.EnsureTopic(ctx, events, []string{"g", "stranger"}, 0); err != nil {
		t.Fatal(err)
	}
	publish(t, b, events, "1", "2")
	r := subscribe(t, b, events, "g")
	r.want("1", "2")
	publish(t, b, events, "3")
	r.want("3")
	r.close()
	if err := b.Trim(ctx, events, []string{"g"}); err != nil {
		t.Fatal(err)
	}
	if d, err := b.Depth(ctx, events, "g"); err != nil || d.Messages != 0 {
		t.Errorf("depth: %v %v", d, err)
	}
	if l, err := b.Lease(ctx, "events-03", "me", time.Minute); err != nil || !l.Held {
		t.Errorf("lease: %v %v", l, err)
	}
	if _, err := b.Announce(ctx, "s", "m", time.Minute); err != nil {
		t.Error(err)
	}
	if members, err := b.Members(ctx, "s"); err != nil || len(members) != 1 {
		t.Errorf("members: %v %v", members, err)
	}
	if err := b.DropTopic(ctx, events); err != nil {
		t.Error(err)
	}
}

// On a Cluster, too, a publish whose reply is lost is not repeated.
func TestClusterLostPublishReply(t *testing.T) {
	server := startCluster(t)
	client := server.Client()
	p := startProxy(t, server.Addr)
	_, port, err := net.SplitHostPort(p.addr)
	if err != nil {
		t.Fatal(err)
	}
	for key, value := range map[string]string{"cluster-announce-ip": "127.0.0.1", "cluster-announce-port": port} {
		if err := client.ConfigSet(t.Context(), key, value).Err(); err != nil {
			t.Fatal(err)
		}
	}
	b := open(t, "redis+cluster://"+p.addr)
	publish(t, b, events, "1")
	p.lose.Store(true)
	if err := tryPublish(t.Context(), b, events, "2"); !errors.Is(err, bus.ErrUnavailable) {
		t.Errorf("%v, want ErrUnavailable", err)
	}
	if n := client.XLen(t.Context(), eventsKey).Val(); n != 2 {
		t.Errorf("%d entries, want 2: a publish was lost or repeated", n)
	}
	if p.lost.Load() == 0 {
		t.Error("no reply was lost: the client does not go through the proxy")
	}
}
