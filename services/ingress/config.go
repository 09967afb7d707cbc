package ingress

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/parley-chat/parley/services/ingress/internal/identity"
	"github.com/parley-chat/parley/services/ingress/internal/ring"
	"github.com/parley-chat/parley/services/ingress/internal/socket"
	"github.com/parley-chat/parley/services/ingress/protocol"
	"github.com/parley-chat/parley/shared/process"
)

// Config is the edge's settings; programs embed it beside process.Common. A
// limit that is 0 is no limit where its help says so.
type Config struct {
	Listen     string        `default:":8080" help:"Public listener: /ws, the page at /, /client.js, /readyz."`
	PublicURLs []string      `name:"public-urls" help:"Where clients may connect, told in welcome; empty: the address they used."`
	Drain      time.Duration `default:"20s" min:"0s" max:"10m" help:"On SIGTERM, how long clients have to move to other edges; 0: closed with 1012 at once."`
	DrainDelay time.Duration `default:"0s" min:"0s" max:"5m" help:"Before that, how long to go on accepting while /readyz says no, for balancers to see it."`

	IdentityConfig `embed:""`
	GateConfig     `embed:""`
	SocketConfig   `embed:""`
	ClientConfig   `embed:""`
	RingConfig     `embed:""`
}

// IdentityConfig is how clients say who they are.
type IdentityConfig struct {
	Auth        string         `default:"jwt" enum:"jwt,dev" help:"How clients say who they are: by a signed token, or (dev) by their word."`
	DevAnywhere bool           `help:"Allow dev auth on a listener that is not loopback. Everybody can be anybody."`
	JWTSecret   process.Secret `name:"jwt-secret" help:"Secret for HS256 tokens, at least 32 bytes."`
	JWKSURL     string         `name:"jwks-url" help:"Key set for RS256, ES256 and EdDSA tokens; https, or http on loopback."`
	JWTIssuer   string         `name:"jwt-issuer" help:"What a token's iss must be; empty: anything."`
	JWTAudience string         `name:"jwt-audience" help:"What a token's aud must contain; empty: anything."`
	JWTLeeway   time.Duration  `name:"jwt-leeway" default:"10s" min:"0s" max:"30s" help:"How far the issuer's clock may be off."`
	TokenBytes  int            `default:"8192" min:"256" max:"65536" help:"Longest token."`
}

// GateConfig is who may connect, and how many.
type GateConfig struct {
	Origins        []string `help:"Origins of pages that may connect; empty: the host they connect to; * for all."`
	TrustedProxies []string `help:"Addresses or networks of proxies whose X-Forwarded-For is believed."`
	Connections    int      `default:"100000" min:"0" help:"Connections open at once; 0: no limit."`
	Unadmitted     int      `default:"10000" min:"0" help:"Connections before their hello; 0: no limit."`
	Handshakes     int      `default:"1000" min:"0" help:"Handshakes at once; 0: no limit."`
	AddressRate    float64  `default:"50" min:"0" help:"New connections a second from one address (IPv6: one /64); 0: no limit."`
	AddressBurst   int      `default:"500" min:"1" help:"New connections at once from one address."`
	AddressOpen    int      `default:"5000" min:"0" help:"Connections open at once from one address; 0: no limit."`
	MemoryShare    float64  `default:"0.9" min:"0.1" max:"1" help:"Share of GOMEMLIMIT from which on new connections are refused."`
}

// SocketConfig is how connections are treated.
type SocketConfig struct {
	HelloTimeout   time.Duration `default:"0s" min:"0s" max:"10m" help:"From connecting to hello; 0: 5s, in dev auth 60s."`
	MessageTimeout time.Duration `default:"10s" min:"1s" help:"From a frame's first byte to its last."`
	WriteStall     time.Duration `default:"10s" min:"1s" help:"A client that reads nothing for so long is closed with 4001."`
	Ping           time.Duration `default:"25s" min:"1s" help:"Without a sign of life for so long a client is pinged."`
	Pong           time.Duration `default:"10s" min:"1s" help:"How long it has to answer; then 4002."`
	SendBuffer     int           `default:"65536" min:"0" help:"SO_SNDBUF of a connection in bytes; 0: the system's."`
	WriteBytes     int           `default:"32768" min:"1024" help:"About the most bytes in one write, which is what a reader that stops can leave in memory."`
	Uring          bool          `name:"io-uring" default:"true" help:"On Linux, write to many connections by one system call, where kernel and sandbox allow io_uring."`
	FrameBytes     int           `default:"65536" min:"1024" help:"Longest frame."`
	HelloBytes     int           `default:"32768" min:"1024" help:"Longest frame before hello."`
	ControlRate    float64       `default:"10" min:"1" help:"WebSocket pings and pongs a second from a client."`
	ControlBurst   int           `default:"30" min:"1" help:"WebSocket pings and pongs at once."`
	OutboxFrames   int           `default:"512" min:"16" help:"Replies that may wait for a client to read them."`
	OutboxBytes    int           `default:"1048576" min:"65536" help:"Bytes of replies that may wait for a client to read them; a single longer one may."`
}

// ClientConfig is what a session may do.
type ClientConfig struct {
	Rate           float64       `default:"20" min:"0" help:"Requests a second and session; 0: no limit."`
	Burst          int           `default:"60" min:"1" help:"Requests at once."`
	Rooms          int           `default:"100" min:"1" help:"Rooms per session."`
	BodyBytes      int           `default:"32768" min:"64" help:"Longest body of a send."`
	SignalBytes    int           `default:"4096" min:"64" help:"Longest body of a signal."`
	CIDChars       int           `name:"cid-chars" default:"64" min:"8" max:"256" help:"Longest cid."`
	AgentChars     int           `default:"256" min:"0" max:"1024" help:"Longest agent."`
	PageEntries    int           `default:"200" min:"1" max:"200" help:"Most entries in a page."`
	Requests       int           `default:"500" min:"1" help:"Requests of a session that may be unanswered."`
	RequestTimeout time.Duration `default:"10s" min:"100ms" help:"Without an answer for so long a request is unavailable."`
	SendWait       time.Duration `default:"1s" min:"0s" help:"About the longest that sends may queue while others are answered: above it they are refused at once as unavailable; 0: they queue."`
	TypingEvery    time.Duration `default:"3s" min:"0s" help:"One typing per session and room in so long goes through."`
}

// RingConfig is what is kept of rooms in memory.
type RingConfig struct {
	RingEntries int   `default:"256" min:"1" help:"Newest entries kept for a room."`
	RingBytes   int   `default:"262144" min:"1024" help:"Bytes of newest entries kept for a room."`
	RingsBytes  int64 `default:"268435456" min:"1048576" help:"Bytes of entries kept for all rooms; the least used shrink first."`
	PagesBytes  int64 `default:"67108864" min:"0" help:"Bytes of pages of history kept, for whoever asks for the same again; 0: none."`
}

// Validate refuses what cannot work or would be dangerous.
func (c *Config) Validate() error {
	if c.FrameBytes < c.BodyBytes {
		return process.BadSetting("PARLEY_FRAME_BYTES", "%d is less than PARLEY_BODY_BYTES, %d", c.FrameBytes, c.BodyBytes)
	}
	for setting, rate := range map[string]float64{"PARLEY_RATE": c.Rate, "PARLEY_ADDRESS_RATE": c.AddressRate, "PARLEY_CONTROL_RATE": c.ControlRate} {
		if math.IsNaN(rate) || math.IsInf(rate, 0) {
			return process.BadSetting(setting, "%g is not a number of times a second", rate)
		}
	}
	for _, o := range c.Origins {
		u, err := url.Parse(o)
		if o != "*" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || strings.TrimSuffix(u.Path, "/") != "") {
			return process.BadSetting("PARLEY_ORIGINS", "%q is not an origin, such as https://chat.example", o)
		}
	}
	if _, err := c.trusted(); err != nil {
		return process.BadSetting("PARLEY_TRUSTED_PROXIES", "%v", err)
	}
	if c.Auth == "dev" {
		if !c.DevAnywhere && !loopback(c.Listen) {
			return process.BadSetting("PARLEY_AUTH", "dev believes everybody, so it listens on loopback only, and PARLEY_LISTEN is %q; use jwt, listen on 127.0.0.1, or set PARLEY_DEV_ANYWHERE=true", c.Listen)
		}
		return nil
	}
	if c.JWTSecret == "" && c.JWKSURL == "" {
		return process.BadSetting("PARLEY_AUTH", "jwt needs PARLEY_JWT_SECRET or PARLEY_JWKS_URL; for trying out on this machine, PARLEY_AUTH=dev")
	}
	if len(c.JWTSecret) > 0 && len(c.JWTSecret) < identity.MinSecret {
		return process.BadSetting("PARLEY_JWT_SECRET", "it has %d bytes, at least %d are needed", len(c.JWTSecret), identity.MinSecret)
	}
	return checkJWKSURL(c.JWKSURL)
}

func checkJWKSURL(text string) error {
	if text == "" {
		return nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "https" && !(u.Scheme == "http" && loopback(net.JoinHostPort(u.Hostname(), "0"))) {
		return process.BadSetting("PARLEY_JWKS_URL", "%q is not allowed: it must be https, or http on loopback", text)
	}
	return nil
}

// loopback tells whether host:port can be reached from this machine only.
func loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

func (c *Config) trusted() ([]netip.Prefix, error) {
	var all []netip.Prefix
	for _, text := range c.TrustedProxies {
		if addr, err := netip.ParseAddr(text); err == nil {
			all = append(all, netip.PrefixFrom(addr.Unmap(), addr.Unmap().BitLen()))
			continue
		}
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("%q is no address and no network such as 10.0.0.0/8", text)
		}
		all = append(all, p.Masked())
	}
	return all, nil
}

func (c *Config) limits() protocol.Limits {
	return protocol.Limits{
		FrameBytes: c.FrameBytes, BodyBytes: c.BodyBytes, Rooms: c.Rooms, Rate: c.Rate, Burst: c.Burst,
		HelloBytes: c.HelloBytes, TokenBytes: c.TokenBytes, SignalBytes: c.SignalBytes,
		CIDChars: c.CIDChars, AgentChars: c.AgentChars, PageEntries: c.PageEntries,
	}
}

func (c *Config) bounds() ring.Bounds {
	return ring.Bounds{Entries: c.RingEntries, Bytes: c.RingBytes}
}

func (c *Config) socket() (socket.Config, error) {
	trusted, err := c.trusted()
	hello := c.HelloTimeout
	if hello == 0 {
		hello = 5 * time.Second
		if c.Auth == "dev" {
			hello = time.Minute
		}
	}
	return socket.Config{
		HelloBytes: c.HelloBytes, FrameBytes: c.FrameBytes,
		HelloTimeout: hello, MessageTimeout: c.MessageTimeout, WriteStall: c.WriteStall,
		Ping: c.Ping, Pong: c.Pong, CloseGrace: 2 * time.Second, SlowGrace: 30 * time.Second,
		SendBuffer: c.SendBuffer, WriteBytes: c.WriteBytes, Uring: c.Uring,
		ControlRate: c.ControlRate, ControlBurst: c.ControlBurst,
		Gate: socket.GateConfig{
			Origins: c.Origins, Trusted: trusted,
			Connections: c.Connections, Unadmitted: c.Unadmitted, Handshakes: c.Handshakes,
			AddressRate: c.AddressRate, AddressBurst: c.AddressBurst, AddressOpen: c.AddressOpen,
			Pressed: socket.MemoryPressure(c.MemoryShare),
		},
	}, err
}

func (s *Service) newVerifier() (identity.Verifier, error) {
	c := &s.cfg
	if c.Auth == "dev" {
		return identity.Dev{ValidUser: protocol.ValidUser}, nil
	}
	if c.Auth != "jwt" {
		return nil, errors.New("PARLEY_AUTH: jwt and dev are allowed")
	}
	cfg := identity.JWTConfig{
		Secret: []byte(c.JWTSecret), Issuer: c.JWTIssuer, Audience: c.JWTAudience,
		Leeway: c.JWTLeeway, MaxBytes: c.TokenBytes, ValidUser: protocol.ValidUser,
	}
	if c.JWKSURL != "" {
		cfg.JWKS = identity.NewJWKS(c.JWKSURL, s.log)
	}
	return identity.NewJWT(cfg)
}
