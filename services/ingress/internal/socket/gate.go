package socket

import (
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

// GateConfig is who may connect, and how many. A number that is 0 means no limit.
type GateConfig struct {
	Origins      []string       // allowed, such as https://chat.example; "*" allows all; empty: the host asked for
	Trusted      []netip.Prefix // proxies whose X-Forwarded-For is believed
	Connections  int            // open at once
	Unadmitted   int            // of these, before their hello
	Handshakes   int            // at once
	AddressRate  float64        // new connections a second from one address (IPv6: one /64)
	AddressBurst int
	AddressOpen  int // open at once from one address
	// Pressed tells that the process is short of memory. nil: never.
	Pressed func() bool
}

// gate decides, before the upgrade, who comes in. It counts what is open.
type gate struct {
	cfg     GateConfig
	origins map[string]bool
	began   time.Time

	mu          sync.Mutex
	draining    bool
	connections int
	unadmitted  int
	handshakes  int
	addresses   map[netip.Prefix]*address
	swept       int64
}

// address is what is remembered of one peer: until nothing of it is open and its
// bucket is full again.
type address struct {
	rate Bucket
	open int
}

// maxAddresses bounds the memory for addresses; at the bound, newcomers wait.
const (
	maxAddresses = 1 << 17
	sweepEvery   = 10 * time.Second
)

// refusal is an answer before the upgrade.
type refusal struct {
	status int
	retry  time.Duration // 0: no Retry-After
	result string        // for metrics
	text   string
}

func (f *refusal) write(w http.ResponseWriter) {
	if f.retry > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int((f.retry+time.Second-1)/time.Second)))
	}
	w.Header().Set("Connection", "close")
	http.Error(w, f.text, f.status)
}

// pass is what one connection holds of the gate's numbers.
type pass struct {
	gate      *gate
	remote    string
	from      netip.Prefix
	handshake bool
	admitted  bool // set before release
}

func newGate(cfg GateConfig) *gate {
	g := &gate{cfg: cfg, began: time.Now(), origins: make(map[string]bool), addresses: make(map[netip.Prefix]*address)}
	for _, o := range cfg.Origins {
		g.origins[normalOrigin(o)] = true
	}
	return g
}

// admit lets the request through, or says why not.
func (g *gate) admit(r *http.Request) (*pass, *refusal) {
	if !g.originAllowed(r) {
		return nil, &refusal{http.StatusForbidden, 0, "origin", "this origin is not allowed here; PARLEY_ORIGINS lists those that are"}
	}
	if g.cfg.Pressed != nil && g.cfg.Pressed() {
		return nil, &refusal{http.StatusServiceUnavailable, 5 * time.Second, "memory", "short of memory, try again later"}
	}
	remote := g.remote(r)
	p := &pass{gate: g, remote: remote.String(), from: network(remote), handshake: true}
	g.mu.Lock()
	defer g.mu.Unlock()
	if f := g.full(); f != nil {
		return nil, f
	}
	if f := g.crowded(p.from); f != nil {
		return nil, f
	}
	g.connections++
	g.unadmitted++
	g.handshakes++
	return p, nil
}

func (g *gate) full() *refusal {
	busy := func(result, text string, retry time.Duration) *refusal {
		return &refusal{http.StatusServiceUnavailable, retry, result, text}
	}
	over := func(n, limit int) bool { return limit > 0 && n >= limit }
	switch {
	case g.draining:
		return busy("draining", "this edge is going away, try again", time.Second)
	case over(g.connections, g.cfg.Connections):
		return busy("connections", "no more connections here (PARLEY_CONNECTIONS), try again later", 10*time.Second)
	case over(g.unadmitted, g.cfg.Unadmitted):
		return busy("unadmitted", "too many connections without a hello (PARLEY_UNADMITTED), try again", 2*time.Second)
	case over(g.handshakes, g.cfg.Handshakes):
		return busy("handshakes", "too many handshakes at once (PARLEY_HANDSHAKES), try again", time.Second)
	}
	return nil
}

// crowded counts the address and tells whether there is too much of it.
func (g *gate) crowded(from netip.Prefix) *refusal {
	if g.cfg.AddressRate <= 0 && g.cfg.AddressOpen <= 0 {
		return nil
	}
	now := int64(time.Since(g.began)) + 1
	a := g.addresses[from]
	if a == nil {
		if !g.sweep(now) {
			return &refusal{http.StatusServiceUnavailable, 5 * time.Second, "addresses", "too many addresses at once, try again later"}
		}
		a = &address{}
		g.addresses[from] = a
	}
	if g.cfg.AddressOpen > 0 && a.open >= g.cfg.AddressOpen {
		return &refusal{http.StatusTooManyRequests, 10 * time.Second, "address_open", "too many connections from your address (PARLEY_ADDRESS_OPEN)"}
	}
	if g.cfg.AddressRate > 0 && !a.rate.Take(now, g.cfg.AddressRate, max(g.cfg.AddressBurst, 1)) {
		return &refusal{http.StatusTooManyRequests, time.Second, "address_rate", "new connections from your address come too fast (PARLEY_ADDRESS_RATE)"}
	}
	a.open++
	return nil
}

// sweep forgets addresses of which nothing is left, at most once in sweepEvery,
// and tells whether there is room now.
func (g *gate) sweep(now int64) bool {
	if now-g.swept > int64(sweepEvery) {
		g.swept = now
		for from, a := range g.addresses {
			if a.open == 0 && float64(now-a.rate.last)/1e9*g.cfg.AddressRate >= float64(g.cfg.AddressBurst) {
				delete(g.addresses, from)
			}
		}
	}
	return len(g.addresses) < maxAddresses
}

// shaken says that the handshake is over.
func (p *pass) shaken() {
	p.gate.mu.Lock()
	defer p.gate.mu.Unlock()
	p.gate.handshakes--
	p.handshake = false
}

// release gives everything back.
func (p *pass) release() {
	g := p.gate
	g.mu.Lock()
	defer g.mu.Unlock()
	g.connections--
	if !p.admitted {
		g.unadmitted--
	}
	if a := g.addresses[p.from]; a != nil {
		a.open--
	}
}

func (g *gate) admitted() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.unadmitted--
}

func (g *gate) drain() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.draining = true
}

func (g *gate) open() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.connections
}

// originAllowed: a browser says which page asks. Nobody else has to say: without
// an Origin nothing is lost, as tokens travel in frames or a header and never in
// cookies that a browser would add by itself.
func (g *gate) originAllowed(r *http.Request) bool {
	given := r.Header["Origin"]
	switch {
	case len(given) == 0:
		return true
	case len(given) > 1:
		return false
	case g.origins["*"]:
		return true
	case len(g.origins) > 0:
		return g.origins[normalOrigin(given[0])]
	}
	u, err := url.Parse(given[0])
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.User == nil && strings.EqualFold(u.Host, r.Host)
}

// normalOrigin is an origin in lower case, without the port that its scheme has anyway.
func normalOrigin(origin string) string {
	o := strings.ToLower(strings.TrimSuffix(strings.TrimSpace(origin), "/"))
	switch {
	case strings.HasPrefix(o, "https://"):
		return strings.TrimSuffix(o, ":443")
	case strings.HasPrefix(o, "http://"):
		return strings.TrimSuffix(o, ":80")
	}
	return o
}

// remote is who connects: the peer or, behind trusted proxies, the last address in
// X-Forwarded-For that is not one of them.
func (g *gate) remote(r *http.Request) netip.Addr {
	peer, _ := netip.ParseAddrPort(r.RemoteAddr)
	addr := peer.Addr().Unmap().WithZone("")
	if !g.trusts(addr) {
		return addr
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0; i-- {
		hop, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			return addr
		}
		addr = hop.Unmap().WithZone("")
		if !g.trusts(addr) {
			return addr
		}
	}
	return addr
}

func (g *gate) trusts(a netip.Addr) bool {
	for _, p := range g.cfg.Trusted {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// network is what counts as one address: an IPv4 address, or an IPv6 /64, which
// is what one customer has.
func network(a netip.Addr) netip.Prefix {
	bits := 32
	if a.Is6() {
		bits = 64
	}
	p, _ := a.Prefix(bits)
	return p
}
