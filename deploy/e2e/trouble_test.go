package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/parley-chat/parley/deploy/cluster"
	"github.com/parley-chat/parley/services/ingress/protocol"
	"github.com/parley-chat/parley/shared/redistest"
)

// TestRedisTrouble has a live Redis refuse everything, in every way it can: senders
// are told unavailable and when to try again, within a bounded time; the readiness
// turns red within 10 s; and when Redis is well everything is, without a restart,
// and what was acknowledged before is there.
func TestRedisTrouble(t *testing.T) {
	t.Parallel()
	for _, x := range redistest.Troubles() {
		t.Run(x.Name, func(t *testing.T) {
			t.Parallel()
			server := x.Start(t)
			c := start(t, cluster.Config{Standalone: true, Env: []string{
				"PARLEY_BUS=" + server.URL, "PARLEY_STORE=" + server.URL, "PARLEY_REQUEST_TIMEOUT=2s"}})
			throughTrouble(t, c, func() { x.Begin(server) }, func() { x.End(server) })
		})
	}
	t.Run("OOM for three services", func(t *testing.T) {
		t.Parallel()
		c := start(t, cluster.Config{Env: []string{"PARLEY_REQUEST_TIMEOUT=2s"}})
		set := func(bytes string) func() {
			return func() { redisCommand(t, c.RedisURL, "CONFIG", "SET", "maxmemory", bytes) }
		}
		throughTrouble(t, c, set("1"), set("0"))
	})
}

func throughTrouble(t *testing.T, c *cluster.Cluster, begin, end func()) {
	_, edge := edges(c)
	room := roomOf(t)
	alice := connect(t, edge, "alice", hello{})
	alice.join(room)
	first := alice.until(room, "before", patience(30*time.Second), protocol.TypeOK)
	pids := map[string]int{}
	for _, p := range c.Services() {
		pids[p.Name] = p.PID()
	}

	begin()
	began := time.Now()
	refused := alice.until(room, "during", patience(15*time.Second), protocol.TypeError)
	if refused.Code != protocol.Unavailable || refused.RetryAfterMS <= 0 {
		t.Errorf("a send was answered %s, want unavailable and when to try again", refused.Raw)
	}
	for _, p := range c.Services() {
		if err := awaitReady(p, false, patience(10*time.Second)-time.Since(began)); err != nil {
			t.Error(err)
		}
	}
	end()

	second := alice.until(room, "during", patience(30*time.Second), protocol.TypeOK)
	if second.Seq <= first.Seq {
		t.Errorf("the seq after the trouble is %d, before it was %d", second.Seq, first.Seq)
	}
	alice.awaitSeq(room, second.Seq, patience(20*time.Second))
	for _, p := range c.Services() {
		if err := awaitReady(p, true, patience(20*time.Second)); err != nil {
			t.Error(err)
		}
		if p.PID() != pids[p.Name] || !p.Running() {
			t.Errorf("%s did not live through it", p.Name)
		}
	}
	seen := map[string]bool{}
	for _, e := range alice.entries(room) {
		if seen[e.cid] {
			t.Errorf("%s is there twice", e.cid)
		}
		seen[e.cid] = true
	}
	if !seen["before"] || !seen["during"] {
		t.Errorf("what was acknowledged is not there: %v", seen)
	}
}

// until sends under one cid until the answer is of the type.
func (u *user) until(room, cid string, within time.Duration, want string) protocol.Frame {
	u.t.Helper()
	deadline := time.Now().Add(within)
	for {
		f, err := u.reply(u.post(sendFields(room, cid, cid)), patience(12*time.Second))
		if err == nil && f.Type == want {
			return f
		}
		if time.Now().After(deadline) {
			u.t.Fatalf("within %s no %s for %s: at last %s, %v", within, want, cid, f.Raw, err)
		}
		if f.Type == protocol.TypeError {
			<-time.After(time.Duration(f.RetryAfterMS) * time.Millisecond)
		}
	}
}

// awaitReady waits until the process says at /readyz what is wanted.
func awaitReady(p *cluster.Process, want bool, within time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.Admin+"/readyz", nil)
		if err != nil {
			return err
		}
		res, err := http.DefaultClient.Do(req)
		if err == nil {
			_ = res.Body.Close()
			if (res.StatusCode == http.StatusOK) == want {
				return nil
			}
			err = errors.New(res.Status)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("within %s /readyz of %s does not say ready=%t: %w", within.Round(time.Second), p.Name, want, err)
		case <-tick.C:
		}
	}
}

// A chat that cannot keep what PARLEY_DURABILITY promises ends at the start, with
// code 2 and a sentence that says what is needed; one that can says what is at risk.
func TestDurabilityAtTheStart(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Options{Args: []string{"--appendfsync", "everysec", "--maxmemory-policy", "allkeys-lru"}})
	ctx, cancel := context.WithTimeout(t.Context(), patience(20*time.Second))
	defer cancel()
	chat := exec.CommandContext(ctx, filepath.Join(binaries, "chat"))
	chat.Env = []string{"PARLEY_BUS=" + server.URL, "PARLEY_ADMIN=off", "PARLEY_DURABILITY=fsync"}
	out, err := chat.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 2 {
		t.Fatalf("%v, want exit code 2; it wrote\n%s", err, out)
	}
	for _, want := range []string{"PARLEY_DURABILITY", "WAITAOF", "appendfsync always; this is Redis"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("it wrote\n%s\nand not %q", out, want)
		}
	}
	c := start(t, cluster.Config{Standalone: true, Env: []string{"PARLEY_BUS=" + server.URL, "PARLEY_STORE=" + server.URL}})
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for _, want := range []string{"maxmemory-policy is allkeys-lru", "appendfsync is everysec"} {
		for !strings.Contains(c.Edges[0].Tail(10_000), want) {
			select {
			case <-ctx.Done():
				t.Fatalf("it wrote\n%s\nand no warning %q", c.Edges[0].Tail(10_000), want)
			case <-tick.C:
			}
		}
	}
}
