package process

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Off is the address that means: no such listener.
const Off = "off"

// Admin is the operators' listener. /livez, /readyz and /metrics are open to
// whoever reaches it and hold no user data; /debug/pprof/ and all that Handle
// adds are behind Guard. In the standalone program one Admin serves all three
// services. Safe for concurrent use.
type Admin struct {
	address string
	token   Secret
	log     *slog.Logger
	mux     *http.ServeMux
	crossed *http.CrossOriginProtection

	listener net.Listener
}

// NewAdmin returns an Admin for address, which may be Off; it does not listen yet.
func NewAdmin(address string, token Secret, health *Health, metrics prometheus.Gatherer, log *slog.Logger) *Admin {
	a := &Admin{address: address, token: token, log: log, mux: http.NewServeMux(), crossed: http.NewCrossOriginProtection()}
	a.mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "alive") })
	a.mux.Handle("GET /readyz", health.Details())
	a.mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{EnableOpenMetrics: true}))
	a.Handle("/debug/pprof/", http.HandlerFunc(pprof.Index))
	a.Handle("/debug/pprof/cmdline", http.HandlerFunc(pprof.Cmdline))
	a.Handle("/debug/pprof/profile", http.HandlerFunc(pprof.Profile))
	a.Handle("/debug/pprof/symbol", http.HandlerFunc(pprof.Symbol))
	a.Handle("/debug/pprof/trace", http.HandlerFunc(pprof.Trace))
	return a
}

// Handle adds a guarded page; the pattern is http.ServeMux's. It may be called
// while the Admin runs, once for each pattern.
func (a *Admin) Handle(pattern string, h http.Handler) { a.mux.Handle(pattern, a.Guard(h)) }

// ServeHTTP serves the pages without a listener of its own, for tests.
func (a *Admin) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.mux.ServeHTTP(w, r) }

// Listen opens the listener, so that a busy port is known before anything else
// starts. Its error names PARLEY_ADMIN.
func (a *Admin) Listen() error {
	if a.address == Off {
		return nil
	}
	l, err := Listen(envName("admin"), a.address)
	a.listener = l
	return err
}

// Addr is where the Admin listens; empty when it does not.
func (a *Admin) Addr() string {
	if a.listener == nil {
		return ""
	}
	return a.listener.Addr().String()
}

// Run serves until ctx ends, and returns when every request is answered or 2 s
// have passed. Listen must have been called before.
func (a *Admin) Run(ctx context.Context) error {
	if a.listener == nil {
		<-ctx.Done()
		return nil
	}
	server := &http.Server{
		Handler:           a.mux,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      2 * time.Minute, // pprof refuses a profile longer than this
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(a.log.Handler(), slog.LevelDebug),
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(a.listener) }()
	select {
	case err := <-ended:
		return fmt.Errorf("serve %s: %w", envName("admin"), err)
	case <-ctx.Done():
	}
	closing, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if server.Shutdown(closing) != nil {
		_ = server.Close()
	}
	<-ended
	return nil
}

// Guard lets a request through that carries "Authorization: Bearer
// <PARLEY_ADMIN_TOKEN>", or that was made on this machine: by loopback, to a
// loopback name (a page elsewhere could point a name of its own here), through
// no proxy. What another site's page in a browser would change is refused
// either way.
func (a *Admin) Guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := a.crossed.Check(r); err != nil {
			http.Error(w, "a request from another origin may not change anything here", http.StatusForbidden)
			return
		}
		given, hasToken := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		switch {
		case hasToken && a.token != "" && equal(given, string(a.token)), !hasToken && local(r):
			next.ServeHTTP(w, r)
		case a.token == "":
			http.Error(w, "only from this machine; to ask from elsewhere set PARLEY_ADMIN_TOKEN and send it as a bearer token", http.StatusForbidden)
		default:
			w.Header().Set("WWW-Authenticate", `Bearer realm="parley"`)
			http.Error(w, "this needs Authorization: Bearer <PARLEY_ADMIN_TOKEN>", http.StatusUnauthorized)
		}
	})
}

// equal takes the same time for every wrong token, whatever its length.
func equal(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

func local(r *http.Request) bool {
	if r.Header.Get("Forwarded") != "" || r.Header.Get("X-Forwarded-For") != "" {
		return false
	}
	remote, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !remote.Addr().Unmap().IsLoopback() {
		return false
	}
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

// Listen opens a TCP listener; its error names the setting that the address
// comes from, as in "PARLEY_LISTEN (--listen): listen tcp 127.0.0.1:8080: bind:
// address already in use". Its connections have no keep-alive of TCP's, which takes four system
// calls for each: who serves them has deadlines, or pings.
func Listen(setting, address string) (net.Listener, error) {
	plain := net.ListenConfig{KeepAlive: -1}
	l, err := plain.Listen(context.Background(), "tcp", address)
	if err == nil {
		return l, nil
	}
	var bad *net.AddrError
	if errors.As(err, &bad) {
		return nil, BadSetting(setting, "%q is not of the form host:port: %s", address, bad.Err)
	}
	return nil, fmt.Errorf("%s: %w", describe(setting), err)
}
