// Package forwarder puts several edges behind one address, as a balancer in front
// of a deployment does: each WebSocket goes to the ready edge that has the fewest
// of them, any other request to some ready edge. An edge whose /readyz is red gets
// nothing new and keeps what it has, which is what a drain needs. It is for tests
// and for trying by hand; it knows neither TLS nor stickiness.
package forwarder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Config says what stands behind the forwarder. Edges is required.
type Config struct {
	Edges  []string      // http://host:port of each edge
	Every  time.Duration // between two looks at an edge's /readyz; 0 means 250 ms
	Logger *slog.Logger  // says when an edge turns ready or not; nil: silent
}

// Forwarder is an http.Handler. Run must run beside it: before its first look no
// edge counts as ready. Safe for concurrent use.
type Forwarder struct {
	cfg    Config
	proxy  *httputil.ReverseProxy
	client *http.Client

	mu    sync.Mutex
	edges []*edge
}

type edge struct {
	url     *url.URL
	ready   bool
	sockets int
}

// New returns a forwarder to the edges.
func New(cfg Config) (*Forwarder, error) {
	if len(cfg.Edges) == 0 {
		return nil, errors.New("forwarder: no edges given")
	}
	if cfg.Every <= 0 {
		cfg.Every = 250 * time.Millisecond
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	// No connection is kept: one that was idle when its edge ended would fail the next request.
	transport := &http.Transport{DisableKeepAlives: true, DialContext: (&net.Dialer{Timeout: 2 * time.Second}).DialContext}
	f := &Forwarder{cfg: cfg, client: &http.Client{Transport: transport, Timeout: 2 * time.Second}}
	for _, text := range cfg.Edges {
		u, err := url.Parse(text)
		if err != nil || u.Scheme != "http" || u.Host == "" {
			return nil, fmt.Errorf("forwarder: edge %q: want http://host:port", text)
		}
		f.edges = append(f.edges, &edge{url: u})
	}
	f.proxy = &httputil.ReverseProxy{
		Transport: transport,
		Rewrite:   f.rewrite,
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			unavailable(w, "the edge does not answer: "+err.Error())
		},
		ErrorLog: slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelDebug),
	}
	return f, nil
}

// Run looks after the edges until ctx ends.
func (f *Forwarder) Run(ctx context.Context) error {
	tick := time.NewTicker(f.cfg.Every)
	defer tick.Stop()
	defer f.client.CloseIdleConnections()
	for {
		f.look(ctx)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// look asks all edges at once: one that hangs must not delay the others.
func (f *Forwarder) look(ctx context.Context) {
	var asking sync.WaitGroup
	for _, e := range f.edges {
		asking.Go(func() {
			ready := f.isReady(ctx, e)
			f.mu.Lock()
			changed := e.ready != ready
			e.ready = ready
			f.mu.Unlock()
			if changed {
				f.cfg.Logger.Info("edge", "url", e.url.String(), "ready", ready)
			}
		})
	}
	asking.Wait()
}

func (f *Forwarder) isReady(ctx context.Context, e *edge) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, e.url.JoinPath("/readyz").String(), nil)
	if err != nil {
		return false
	}
	res, err := f.client.Do(req)
	if err != nil {
		return false
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 4096))
	return res.StatusCode == http.StatusOK
}

type chosen struct{}

// ServeHTTP sends the request to an edge, or answers 503 when none is ready.
func (f *Forwarder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	socket := strings.EqualFold(r.Header.Get("Upgrade"), "websocket")
	e := f.take(socket)
	if e == nil {
		unavailable(w, "no edge is ready")
		return
	}
	defer f.give(e, socket)
	f.proxy.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), chosen{}, e.url)))
}

func (f *Forwarder) take(socket bool) *edge {
	f.mu.Lock()
	defer f.mu.Unlock()
	var best *edge
	for _, e := range f.edges {
		if e.ready && (best == nil || e.sockets < best.sockets) {
			best = e
		}
	}
	if best != nil && socket {
		best.sockets++
	}
	return best
}

func (f *Forwarder) give(e *edge, socket bool) {
	if !socket {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	e.sockets--
}

// rewrite keeps the host that the client named: an edge compares it with Origin.
func (f *Forwarder) rewrite(p *httputil.ProxyRequest) {
	if u, ok := p.In.Context().Value(chosen{}).(*url.URL); ok {
		p.SetURL(u)
	}
	p.Out.Host = p.In.Host
	p.SetXForwarded()
}

func unavailable(w http.ResponseWriter, text string) {
	w.Header().Set("Retry-After", "1")
	http.Error(w, text, http.StatusServiceUnavailable)
}

// Serve serves on the listener until ctx ends; open WebSockets are cut then.
func (f *Forwarder) Serve(ctx context.Context, l net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	f.look(ctx)
	server := &http.Server{Handler: f, ReadHeaderTimeout: 10 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx }}
	var beside sync.WaitGroup
	beside.Go(func() { _ = f.Run(ctx) })
	beside.Go(func() {
		<-ctx.Done()
		_ = server.Close()
	})
	err := server.Serve(l)
	cancel() // cuts what was upgraded, too: server.Close does not know it any more
	beside.Wait()
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}
