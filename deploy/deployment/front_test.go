package deployment

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/parley-chat/parley/deploy/cluster"
)

// fronts are the balancers that are shipped, and what edges need behind each.
var fronts = []struct {
	name  string
	start func(t *testing.T, dns, edgePort string) string // returns the URL
	delay string                                          // PARLEY_DRAIN_DELAY
}{
	{"nginx", startNginx, "0s"},
	{"haproxy", startHAProxy, "3s"},
}

// startNginx runs nginx with the shipped configuration.
func startNginx(t *testing.T, dns, edgePort string) string {
	t.Helper()
	port := freePort(t)
	url := "http://127.0.0.1:" + port
	runNginx(t, "edges.conf", cluster.Answers(url+"/readyz"), "8080;", "127.0.0.1:"+port+";", "127.0.0.11", dns, "ingress:8080", "edges.test:"+edgePort)
	return url
}

// runNginx runs nginx with the shipped nginx.conf as it is, and the shipped file of the
// place with the place's names replaced.
func runNginx(t *testing.T, place string, up func(context.Context) error, replaced ...string) {
	t.Helper()
	dir := t.TempDir()
	for name, source := range map[string]string{"nginx.conf": "nginx.conf", "edges.conf": place} {
		raw, err := os.ReadFile(filepath.Join(project, "deploy/nginx", source))
		if err != nil {
			t.Fatal(err)
		}
		if name != source || name == place {
			raw = []byte(strings.NewReplacer(replaced...).Replace(string(raw)))
		}
		if err := os.WriteFile(filepath.Join(dir, name), raw, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	program(t, cluster.Program{
		Name: "nginx", Path: "nginx", Dir: dir, Up: up,
		Args: []string{"-p", dir, "-c", filepath.Join(dir, "nginx.conf"), "-e", "stderr", "-g", "daemon off;"},
	})
}

// startHAProxy runs HAProxy with the shipped configuration.
func startHAProxy(t *testing.T, dns, edgePort string) string {
	t.Helper()
	port := freePort(t)
	url := "http://127.0.0.1:" + port
	program(t, cluster.Program{
		Name: "haproxy", Path: "haproxy", Dir: t.TempDir(), Up: cluster.Answers(url + "/readyz"),
		Args: []string{"-db", "-f", filepath.Join(project, "deploy/haproxy/haproxy.cfg")},
		Env:  []string{"PARLEY_FRONT=127.0.0.1:" + port, "PARLEY_EDGES=edges.test:" + edgePort, "PARLEY_RESOLVER=" + dns},
		End:  syscall.SIGUSR1, // soft: it ends when its connections have
	})
	return url
}

func freePort(t *testing.T) string {
	t.Helper()
	port, err := cluster.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// behind starts a cluster whose edges the front finds by name.
func behind(t *testing.T, front int, env ...string) (c *cluster.Cluster, dns *names, url string) {
	t.Helper()
	dns = resolver(t)
	dns.set(1, 2)
	port := freePort(t)
	c = start(t, cluster.Config{EdgePort: port, Env: append([]string{
		"PARLEY_DRAIN=6s", "PARLEY_DRAIN_DELAY=" + fronts[front].delay, "PARLEY_TRUSTED_PROXIES=127.0.0.1"}, env...)})
	return c, dns, fronts[front].start(t, dns.addr, port)
}

// TestEdgeDrainedBehindTheBalancer: clients chat through the balancer, one edge is
// drained and its clients move through the balancer to the other, without a break.
func TestEdgeDrainedBehindTheBalancer(t *testing.T) {
	for i, front := range fronts {
		t.Run(front.name, func(t *testing.T) {
			c, dns, url := behind(t, i)
			l := underLoad(t, url, nil)
			l.more(100)
			before := l.breaks()
			within(t, 40*time.Second, c.Edges[0].Stop)
			l.more(100)
			if n := l.breaks() - before; n > 0 {
				t.Errorf("%d connections were broken by the drain, not moved", n)
			}
			if l.moves() == 0 {
				t.Error("nobody was on the drained edge: the balancer does not spread")
			}
			dns.set(2)
			l.more(50)
			within(t, 30*time.Second, c.Edges[0].Start)
			dns.set(1, 2)
			within(t, 40*time.Second, c.Edges[1].Stop)
			l.more(50)
			l.finish()
		})
	}
}

// TestKilledEdgeBehindTheBalancer: without a drain, clients reconnect and resume
// through the balancer, also while it still knows the dead edge.
func TestKilledEdgeBehindTheBalancer(t *testing.T) {
	for i, front := range fronts {
		t.Run(front.name, func(t *testing.T) {
			c, _, url := behind(t, i)
			l := underLoad(t, url, nil)
			l.more(50)
			c.Edges[0].Kill()
			l.more(100)
			l.finish()
			if l.breaks() == 0 {
				t.Error("nobody was on the killed edge")
			}
		})
	}
}

// TestBalancerPassesWhatEdgesNeed: the client's host with its port (an edge compares it
// with Origin), its address, headers as long as a token may be, and the page.
func TestBalancerPassesWhatEdgesNeed(t *testing.T) {
	for i, front := range fronts {
		t.Run(front.name, func(t *testing.T) {
			c, dns, url := behind(t, i, "PARLEY_ADDRESS_OPEN=2", "PARLEY_TRUSTED_PROXIES=127.0.0.1")
			dns.set(1)
			within(t, 40*time.Second, c.Edges[1].Stop)
			ws := "ws" + url[len("http"):] + "/ws"
			dial := func(header http.Header) (int, string) {
				t.Helper()
				d := websocket.Dialer{HandshakeTimeout: patience(10 * time.Second)}
				conn, res, err := d.Dial(ws, header)
				if err == nil {
					t.Cleanup(func() { _ = conn.Close() })
				}
				if res == nil {
					t.Fatal(err)
				}
				body, _ := io.ReadAll(io.LimitReader(res.Body, 1000))
				return res.StatusCode, string(body)
			}
			if code, body := dial(http.Header{"Origin": {url}}); code != http.StatusSwitchingProtocols {
				t.Errorf("the page's own origin: %d %s", code, body)
			}
			if code, _ := dial(http.Header{"Origin": {"http://127.0.0.1"}}); code != http.StatusForbidden {
				t.Errorf("an origin without the port: %d, want 403", code)
			}
			token := make([]byte, 8192)
			for i := range token {
				token[i] = 'x'
			}
			if code, body := dial(http.Header{"Authorization": {"Bearer " + string(token)}}); code != http.StatusSwitchingProtocols {
				t.Errorf("a token of 8 KiB: %d %s", code, body)
			}
			// Two are open from this address; what the balancer says of another counts apart.
			if code, body := dial(nil); code != http.StatusTooManyRequests {
				t.Errorf("a third from one address: %d %s, want 429", code, body)
			}
			for path, want := range map[string]string{"/": "<!doctype html>", "/client.js": "export"} {
				body := getPage(t, url+path)
				if !strings.Contains(strings.ToLower(body), want) {
					t.Errorf("%s lacks %q", path, want)
				}
			}
		})
	}
}

func getPage(t *testing.T, url string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience(10*time.Second))
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s %v", url, res.Status, err)
	}
	return string(body)
}
