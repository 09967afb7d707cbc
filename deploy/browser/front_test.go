package browser

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"github.com/parley-chat/parley/deploy/cluster"
	"github.com/parley-chat/parley/deploy/forwarder"
)

// front is the one address of all edges. While it is shut it lets the page
// through and no WebSocket, as some hotels do.
type front struct {
	URL  string
	shut atomic.Bool
}

func behind(t *testing.T, c *cluster.Cluster) *front {
	t.Helper()
	cfg := forwarder.Config{Every: 50 * time.Millisecond}
	for _, e := range c.Edges {
		cfg.Edges = append(cfg.Edges, e.URL)
	}
	f, err := forwarder.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	fr := &front{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if fr.shut.Load() && r.URL.Path == "/ws" {
			http.Error(w, "no sockets here", http.StatusServiceUnavailable)
			return
		}
		f.ServeHTTP(w, r)
	}))
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = f.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
		server.CloseClientConnections()
	})
	fr.URL = server.URL
	deadline := time.Now().Add(patience(10 * time.Second))
	for {
		res, err := http.Get(fr.URL + "/readyz")
		if err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return fr
			}
		}
		if time.Now().After(deadline) {
			t.Fatal("no edge behind the front is ready")
		}
	}
}

// line takes the window's network away, or gives it back, as DevTools does.
func (w *window) line(up bool) {
	w.t.Helper()
	w.do("network emulation", chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		if _, err := cdp.Call(ctx, target, network.Enable, network.EnableParams{}); err != nil {
			return err
		}
		rules := []*network.Conditions{{Offline: !up, DownloadThroughput: -1, UploadThroughput: -1}}
		if _, err := cdp.Call(ctx, target, network.EmulateNetworkConditionsByRule, network.EmulateNetworkConditionsByRuleParams{MatchedNetworkConditions: rules}); err != nil {
			return err
		}
		_, err := cdp.Call(ctx, target, network.OverrideNetworkState, network.OverrideNetworkStateParams{Offline: !up, DownloadThroughput: -1, UploadThroughput: -1})
		return err
	}))
}

// watchStates notes every state that the page shows from here on.
func (w *window) watchStates() {
	w.t.Helper()
	w.read(`(() => {
		const status = document.querySelector('#status');
		window.states = [status.dataset.state];
		new MutationObserver(() => window.states.push(status.dataset.state)).observe(status, { attributes: true, attributeFilter: ['data-state'] });
		return '';
	})()`)
}

// node is the server that the page says it is connected to.
func (w *window) node() string {
	w.t.Helper()
	return strings.TrimPrefix(w.read(`document.querySelector('#status').title`), "Server ")
}

// edge is the process behind that node.
func edgeOf(t *testing.T, c *cluster.Cluster, node string) *cluster.Process {
	t.Helper()
	for _, e := range c.Edges {
		if strings.HasPrefix(node, e.Name+"-") {
			return e
		}
	}
	t.Fatalf("no edge is called %q", node)
	return nil
}

// read is the text that a JavaScript expression gives.
func (w *window) read(expression string) string {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, patience(20*time.Second))
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		w.t.Fatalf("read %s: %v", expression, err)
	}
	return text
}

// messages are the texts in the room's log, in order, one a line.
func (w *window) messages() string {
	w.t.Helper()
	return w.read(`[...document.querySelectorAll('#timeline .message .text')].map(p => p.textContent).join('\n')`)
}
