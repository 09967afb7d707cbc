package e2e

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/parley-chat/parley/deploy/cluster"
	"github.com/parley-chat/parley/services/ingress/protocol"
)

const jwtSecret = "a secret of at least thirty-two bytes"

// token makes a JWT by hand, so that wrong ones can be made, too.
func token(t testing.TB, secret string, claims map[string]any) string {
	t.Helper()
	part := func(v any) string {
		raw, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(raw)
	}
	head := part(map[string]any{"alg": "HS256", "typ": "JWT"}) + "." + part(claims)
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(head))
	return head + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

func validFor(sub string, d time.Duration) map[string]any {
	return map[string]any{"sub": sub, "exp": time.Now().Add(d).Unix()}
}

// TestBadInputGetsWhatTheProtocolSays has every kind of bad input meet an edge,
// while two well-behaved users of that edge notice nothing.
func TestBadInputGetsWhatTheProtocolSays(t *testing.T) {
	t.Parallel()
	c := start(t, cluster.Config{Ingress: 1, Chat: 1, Notifiers: 1, Env: []string{
		"PARLEY_AUTH=jwt", "PARLEY_JWT_SECRET=" + jwtSecret,
	}})
	edge := c.Edges[0].URL
	room := "honest"
	good := func(name string) hello { return hello{token: token(t, jwtSecret, validFor(name, time.Hour))} }
	alice, bob := connect(t, edge, "alice", good("alice")), connect(t, edge, "bob", good("bob"))
	alice.join(room)
	bob.join(room)
	chatter := 0
	honest := func(t *testing.T) {
		t.Helper()
		chatter++
		if f := alice.send(room, fmt.Sprintf("c%d", chatter), "hi"); f.Type != protocol.TypeOK {
			t.Errorf("meanwhile the honest user's send got %s", f.Raw)
		}
		bob.awaitSeq(room, uint64(chatter), patience(5*time.Second))
	}
	t.Run("before hello", func(t *testing.T) { badHello(t, edge); honest(t) })
	t.Run("after hello the connection stays", func(t *testing.T) { badRequests(t, edge, good); honest(t) })
	t.Run("frames that end the connection", func(t *testing.T) { badFrames(t, edge, good); honest(t) })
	t.Run("origin", func(t *testing.T) { badOrigin(t, edge); honest(t) })
	t.Run("an expiring token", func(t *testing.T) { expiring(t, edge); honest(t) })
}

func badHello(t *testing.T, edge string) {
	long := strings.Repeat("x", 9000)
	for _, c := range []struct {
		name, frame string
		code        protocol.Code
		closes      protocol.CloseCode
	}{
		{"another request first", `{"type":"join","id":1,"room":"a"}`, protocol.BadRequest, protocol.CloseProtocol},
		{"not JSON", `hello`, protocol.BadRequest, protocol.CloseProtocol},
		{"no token", `{"type":"hello","id":1}`, protocol.Unauthorized, protocol.CloseUnauth},
		{"a user without token", `{"type":"hello","id":1,"user":"alice"}`, protocol.Unauthorized, protocol.CloseUnauth},
		{"a wrong token", `{"type":"hello","id":1,"token":"` + token(t, "another secret that is long enough, too", validFor("alice", time.Hour)) + `"}`, protocol.Unauthorized, protocol.CloseUnauth},
		{"an expired token", `{"type":"hello","id":1,"token":"` + token(t, jwtSecret, validFor("alice", -time.Hour)) + `"}`, protocol.Unauthorized, protocol.CloseExpired},
		{"a token without exp", `{"type":"hello","id":1,"token":"` + token(t, jwtSecret, map[string]any{"sub": "alice"}) + `"}`, protocol.Unauthorized, protocol.CloseUnauth},
		{"an over-long token", `{"type":"hello","id":1,"token":"` + long + `"}`, protocol.TooLarge, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			u := dialRaw(t, edge, nil)
			u.name = c.name
			go u.read()
			_ = u.write(c.frame)
			code := u.closeCode(patience(10 * time.Second))
			if c.closes != 0 && code != c.closes {
				t.Errorf("closed with %d, want %d", code, c.closes)
			}
			u.mu.Lock()
			defer u.mu.Unlock()
			got := append([]protocol.Frame(nil), u.frames...)
			for _, f := range u.replies {
				got = append(got, f)
			}
			if len(got) != 1 || c.closes != 0 && got[0].Code != c.code {
				t.Errorf("was sent %s, want one error %s", raws(got), c.code)
			}
		})
	}
	t.Run("nothing", func(t *testing.T) {
		u := dialRaw(t, edge, nil)
		go u.read()
		if code := u.closeCode(patience(10 * time.Second)); code != protocol.CloseNoHello {
			t.Errorf("closed with %d, want %d", code, protocol.CloseNoHello)
		}
	})
	t.Run("a frame over 32 KiB", func(t *testing.T) {
		u := dialRaw(t, edge, nil)
		go u.read()
		_ = u.write(`{"type":"hello","id":1,"token":"` + strings.Repeat("x", 33<<10) + `"}`)
		if code := u.closeCode(patience(10 * time.Second)); code != protocol.CloseTooLarge {
			t.Errorf("closed with %d, want %d", code, protocol.CloseTooLarge)
		}
	})
}

func raws(frames []protocol.Frame) []string {
	var out []string
	for _, f := range frames {
		out = append(out, string(f.Raw))
	}
	return out
}

func badRequests(t *testing.T, edge string, good func(string) hello) {
	u := connect(t, edge, "mallory", good("mallory"))
	u.join("m")
	body := func(n int) string { return `{"text":"` + strings.Repeat("x", n) + `"}` }
	for _, c := range []struct {
		name, frame string
		code        protocol.Code
		names       string // the message names this
	}{
		{"not JSON", `hello there`, protocol.BadRequest, "JSON"},
		{"no object", `[1,2]`, protocol.BadRequest, "object"},
		{"too deep", `{"type":"send","id":7,"room":"m","cid":"x","body":` + strings.Repeat("[", 20) + strings.Repeat("]", 20) + `}`, protocol.BadRequest, "16"},
		{"id 0", `{"type":"join","id":0,"room":"m"}`, protocol.BadRequest, "id"},
		{"id text", `{"type":"join","id":"1","room":"m"}`, protocol.BadRequest, "id"},
		{"a second hello", `{"type":"hello","id":7,"token":"x"}`, protocol.BadRequest, "hello"},
		{"an unknown type", `{"type":"dance","id":7}`, protocol.BadRequest, "dance"},
		{"no type", `{"id":7}`, protocol.BadRequest, "type"},
		{"join without room", `{"type":"join","id":7}`, protocol.BadRequest, "room"},
		{"a mistyped room", `{"type":"join","id":7,"room":5}`, protocol.BadRequest, "room"},
		{"a bad room name", `{"type":"join","id":7,"room":"no spaces"}`, protocol.BadRequest, "room"},
		{"a reserved room name", `{"type":"join","id":7,"room":"~other"}`, protocol.BadRequest, "room"},
		{"the operators' room", `{"type":"join","id":7,"room":"~status"}`, protocol.Forbidden, "operator"},
		{"an over-long room name", `{"type":"join","id":7,"room":"` + strings.Repeat("r", 129) + `"}`, protocol.BadRequest, "room"},
		{"send without body", `{"type":"send","id":7,"room":"m","cid":"x"}`, protocol.BadRequest, "body"},
		{"a long cid", `{"type":"send","id":7,"room":"m","cid":"` + strings.Repeat("c", 65) + `","body":1}`, protocol.TooLarge, "cid"},
		{"a long body", `{"type":"send","id":7,"room":"m","cid":"x","body":` + body(33<<10) + `}`, protocol.TooLarge, "body"},
		{"a long signal", `{"type":"signal","id":7,"room":"m","body":` + body(5<<10) + `}`, protocol.TooLarge, "body"},
		{"send into a room not joined", `{"type":"send","id":7,"room":"elsewhere","cid":"x","body":1}`, protocol.Forbidden, ""},
		{"last over 200", `{"type":"join","id":7,"room":"m","last":201}`, protocol.BadRequest, "last"},
	} {
		t.Run(c.name, func(t *testing.T) {
			u.mu.Lock()
			u.frames, u.replies = nil, map[uint64]protocol.Frame{}
			u.mu.Unlock()
			_ = u.write(c.frame)
			var got protocol.Frame
			u.await("an error", patience(5*time.Second), func() bool {
				for _, f := range append(append([]protocol.Frame(nil), u.frames...), u.replies[7]) {
					if f.Type == protocol.TypeError {
						got = f
						return true
					}
				}
				return false
			})
			if got.Code != c.code || !strings.Contains(got.Message, c.names) {
				t.Errorf("got %s, want %s naming %q", got.Raw, c.code, c.names)
			}
		})
	}
	t.Run("rooms per session", func(t *testing.T) {
		u := connect(t, edge, "collector", good("collector"))
		for i := range 100 {
			u.join(fmt.Sprintf("r%d", i))
		}
		if f := u.ask(`"type":"join","room":"r100"`); f.Code != protocol.Limit || !strings.Contains(f.Message, "PARLEY_") {
			t.Errorf("the 101st room: %s, want limit naming the setting", f.Raw)
		}
	})
}

func badFrames(t *testing.T, edge string, good func(string) hello) {
	for _, c := range []struct {
		name   string
		send   func(*user)
		closes protocol.CloseCode
	}{
		{"binary", func(u *user) { _ = u.conn.WriteMessage(websocket.BinaryMessage, []byte("{}")) }, protocol.CloseBinary},
		{"invalid UTF-8", func(u *user) { _ = u.conn.WriteMessage(websocket.TextMessage, []byte("{\"type\":\"\xff\"}")) }, protocol.CloseNotUTF8},
		{"100 KiB", func(u *user) { _ = u.write(`{"type":"` + strings.Repeat("x", 100<<10) + `"}`) }, protocol.CloseTooLarge},
		{"a ping flood", func(u *user) {
			for range 200 {
				_ = u.conn.WriteControl(websocket.PingMessage, nil, time.Now().Add(time.Second))
			}
		}, protocol.ClosePolicy},
	} {
		t.Run(c.name, func(t *testing.T) {
			u := connect(t, edge, "mallory", good("mallory"))
			c.send(u)
			if code := u.closeCode(patience(10 * time.Second)); code != c.closes {
				t.Errorf("closed with %d, want %d", code, c.closes)
			}
		})
	}
}

func badOrigin(t *testing.T, edge string) {
	host := strings.TrimPrefix(edge, "http://")
	for origin, want := range map[string]int{
		"":                            http.StatusSwitchingProtocols,
		edge:                          http.StatusSwitchingProtocols,
		"http://evil.example":         http.StatusForbidden,
		"http://" + host + ".evil.ex": http.StatusForbidden,
		"http://evil.ex/" + host:      http.StatusForbidden,
		"null":                        http.StatusForbidden,
		"file://":                     http.StatusForbidden,
	} {
		header := http.Header{}
		if origin != "" {
			header.Set("Origin", origin)
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience(5*time.Second))
		conn, res, err := websocket.DefaultDialer.DialContext(ctx, "ws://"+host+"/ws", header)
		cancel()
		if conn != nil {
			_ = conn.Close()
		}
		if res == nil || res.StatusCode != want {
			t.Errorf("origin %q: %v %v, want %d", origin, res, err, want)
		}
	}
}

func expiring(t *testing.T, edge string) {
	u := connect(t, edge, "ann", hello{token: token(t, jwtSecret, validFor("ann", 3*time.Second))})
	f := u.ask(`"type":"auth","token":"` + token(t, jwtSecret, validFor("ann", 6*time.Second)) + `"`)
	if f.Type != protocol.TypeOK || f.ExpiresMS <= 0 {
		t.Errorf("auth: %s, want ok with expires_ms", f.Raw)
	}
	if f := u.ask(`"type":"auth","token":"` + token(t, jwtSecret, validFor("eve", time.Hour)) + `"`); f.Code != protocol.Unauthorized {
		t.Errorf("a token of another user: %s, want unauthorized", f.Raw)
	}
	if code := u.closeCode(patience(60 * time.Second)); code != protocol.CloseExpired {
		t.Errorf("closed with %d, want %d", code, protocol.CloseExpired)
	}
}

// TestRateLimit is the one whose subject is the limit.
func TestRateLimit(t *testing.T) {
	t.Parallel()
	c := start(t, cluster.Config{Standalone: true, Env: []string{"PARLEY_RATE=20", "PARLEY_BURST=60"}})
	u := connect(t, c.Edges[0].URL, "hasty", hello{})
	u.join("r")
	var limited, ok int
	var ids []uint64
	for i := range 200 {
		ids = append(ids, u.post(sendFields("r", fmt.Sprintf("c%d", i), "x")))
	}
	for _, id := range ids {
		f, err := u.reply(id, patience(10*time.Second))
		switch {
		case err != nil:
			t.Fatal(err)
		case f.Type == protocol.TypeOK:
			ok++
		case f.Code == protocol.RateLimited && f.RetryAfterMS > 0:
			limited++
		default:
			t.Fatalf("got %s", f.Raw)
		}
	}
	if limited == 0 || ok < 55 {
		t.Errorf("of 200 at once %d went through and %d were limited, want about 60 through", ok, limited)
	}
}
