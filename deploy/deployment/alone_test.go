package deployment

import (
	"context"
	"errors"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/parley-chat/parley/deploy/cluster"
)

// TestAnyOrder: every service starts before its broker is there, lives, is not ready,
// and says what it waits for; the broker comes last, and all become ready by
// themselves, without a restart.
func TestAnyOrder(t *testing.T) {
	for name, cfg := range map[string]cluster.Config{"redis": {}, "nats": {NATS: true}} {
		t.Run(name, func(t *testing.T) {
			cfg.Ingress, cfg.Chat, cfg.Notifiers = 1, 1, 1
			c := prepare(t, cfg)
			pids := map[string]int{}
			for _, p := range []*cluster.Process{c.Edges[0], c.Notifiers[0], c.Chats[0]} {
				if err := p.Launch(); err != nil {
					t.Fatal(err)
				}
				pids[p.Name] = p.PID()
			}
			broker := strings.TrimSuffix(c.BusURL[strings.Index(c.BusURL, "://")+3:], "/0")
			for _, p := range c.Services() {
				eventually(t, p.Name+" lives", 20*time.Second, func() error { return answers(p, "/livez", http.StatusOK) })
				eventually(t, p.Name+" is not ready", 20*time.Second, func() error { return answers(p, "/readyz", http.StatusServiceUnavailable) })
				eventually(t, p.Name+" says what it waits for", 20*time.Second, func() error { return contains(p, `"level":"WARN"`, broker) })
				// The image's healthcheck is the same program.
				if err := healthcheck(p, "live"); err != nil {
					t.Errorf("%s: %v", p.Name, err)
				}
				if err := healthcheck(p, "ready"); err == nil || !strings.Contains(err.Error(), "not ready") {
					t.Errorf("%s is ready without a broker: %v", p.Name, err)
				}
			}
			within(t, 30*time.Second, c.StartBrokers)
			for _, p := range c.Services() {
				within(t, 60*time.Second, p.WaitUp)
				if err := healthcheck(p, "ready"); err != nil {
					t.Errorf("%s: %v", p.Name, err)
				}
				if p.PID() != pids[p.Name] || !p.Running() {
					t.Errorf("%s ended meanwhile", p.Name)
				}
				// With a backoff it has tried a few times, not all the time.
				if lines := strings.Count(p.Tail(1<<20), "\n"); lines > 400 {
					t.Errorf("%s wrote %d lines while it waited", p.Name, lines)
				}
			}
			l := underLoad(t, c.Edges[0].URL, nil)
			l.more(20)
			l.finish()
		})
	}
}

func answers(p *cluster.Process, path string, want int) error {
	res, err := http.Get(p.Admin + path)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != want {
		return errors.New(res.Status)
	}
	return nil
}

// healthcheck asks as a container's engine does.
func healthcheck(p *cluster.Process, what string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience(10*time.Second))
	defer cancel()
	args := []string{"--healthcheck=" + what, "--admin=" + strings.TrimPrefix(p.Admin, "http://")}
	if p.Kind == "ingress" {
		args = append(args, "--auth=dev", "--listen=127.0.0.1:0")
	}
	out, err := exec.CommandContext(ctx, filepath.Join(binaries, p.Kind), args...).CombinedOutput()
	if err != nil {
		return errors.Join(err, errors.New(string(out)))
	}
	return nil
}
