package socket

import (
	"net/http/httptest"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

func TestOrigins(t *testing.T) {
	tests := []struct {
		name    string
		allowed []string
		origin  []string
		host    string
		want    bool
	}{
		{"none given", nil, nil, "chat.example", true},
		{"none given, list", []string{"https://a.example"}, nil, "chat.example", true},
		{"same host", nil, []string{"https://chat.example"}, "chat.example", true},
		{"same host and port", nil, []string{"http://chat.example:8080"}, "chat.example:8080", true},
		{"other port", nil, []string{"http://chat.example:8081"}, "chat.example:8080", false},
		{"other host", nil, []string{"https://evil.example"}, "chat.example", false},
		{"host as prefix", nil, []string{"https://chat.example.evil.example"}, "chat.example", false},
		{"host as user", nil, []string{"https://chat.example@evil.example"}, "chat.example", false},
		{"null", nil, []string{"null"}, "chat.example", false},
		{"listed", []string{"https://a.example"}, []string{"https://A.example:443"}, "chat.example", true},
		{"list without the host", []string{"https://a.example"}, []string{"https://chat.example"}, "chat.example", false},
		{"scheme differs", []string{"https://a.example"}, []string{"http://a.example"}, "chat.example", false},
		{"two of them", nil, []string{"https://chat.example", "https://chat.example"}, "chat.example", false},
		{"all", []string{"*"}, []string{"https://evil.example"}, "chat.example", true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			g := newGate(GateConfig{Origins: test.allowed})
			r := httptest.NewRequest("GET", "/ws", nil)
			r.Host = test.host
			r.Header["Origin"] = test.origin
			if test.origin == nil {
				delete(r.Header, "Origin")
			}
			if got := g.originAllowed(r); got != test.want {
				t.Errorf("allowed %t, want %t", got, test.want)
			}
		})
	}
}

func TestGateRefuses(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Config)
		before int // connections that are let in
		status int
		result string
	}{
		{"connections", func(c *Config) { c.Gate.Connections = 2 }, 2, 503, "connections"},
		{"unadmitted", func(c *Config) { c.Gate.Unadmitted = 3 }, 3, 503, "unadmitted"},
		{"open from an address", func(c *Config) { c.Gate.AddressOpen = 1 }, 1, 429, "address_open"},
		{"rate of an address", func(c *Config) { c.Gate.AddressRate, c.Gate.AddressBurst = 0.001, 2 }, 2, 429, "address_rate"},
		{"memory", func(c *Config) { c.Gate.Pressed = func() bool { return true } }, 0, 503, "memory"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			e := newEdge(t, test.change)
			for range test.before {
				e.connect()
				<-e.results
			}
			_, response, err := e.dial(nil)
			if err == nil {
				t.Fatal("it was let in")
			}
			if response.StatusCode != test.status || response.Header.Get("Retry-After") == "" {
				t.Errorf("status %d, Retry-After %q; want %d and some", response.StatusCode, response.Header.Get("Retry-After"), test.status)
			}
			if got := <-e.results; got != test.result {
				t.Errorf("counted as %q, want %q", got, test.result)
			}
		})
	}
}

func TestGateGivesBack(t *testing.T) {
	e := newEdge(t, func(c *Config) { c.Gate.Connections, c.Gate.Unadmitted, c.Gate.AddressOpen = 1, 1, 1 })
	for range 5 {
		ws, h := e.connect()
		_ = ws.WriteMessage(websocket.TextMessage, []byte("x"))
		read(t, ws)
		_ = ws.Close()
		<-h.end
		for e.server.Open() > 0 {
			time.Sleep(time.Millisecond) // polls a condition
		}
	}
	if g := e.server.gate; g.connections != 0 || g.unadmitted != 0 || g.handshakes != 0 {
		t.Errorf("left over: %+v", g)
	}
}

func TestRemote(t *testing.T) {
	e := newGate(GateConfig{Trusted: prefixes("10.0.0.0/8", "::1/128")})
	for _, test := range []struct{ peer, forwarded, want string }{
		{"192.0.2.1:5", "", "192.0.2.1"},
		{"192.0.2.1:5", "198.51.100.7", "192.0.2.1"},
		{"10.0.0.1:5", "198.51.100.7", "198.51.100.7"},
		{"10.0.0.1:5", "203.0.113.9, 198.51.100.7", "198.51.100.7"},
		{"10.0.0.1:5", "198.51.100.7, 10.2.2.2", "198.51.100.7"},
		{"10.0.0.1:5", "rubbish", "10.0.0.1"},
		{"[::1]:5", "2001:db8::1", "2001:db8::1"},
		{"[::ffff:192.0.2.1]:5", "", "192.0.2.1"},
	} {
		r := httptest.NewRequest("GET", "/ws", nil)
		r.RemoteAddr = test.peer
		if test.forwarded != "" {
			r.Header.Set("X-Forwarded-For", test.forwarded)
		}
		if got := e.remote(r).String(); got != test.want {
			t.Errorf("peer %s, forwarded %q: %s, want %s", test.peer, test.forwarded, got, test.want)
		}
	}
}
