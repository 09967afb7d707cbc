package identity

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

var (
	secret      = []byte("0123456789abcdef0123456789abcdef")
	rsaKey, _   = rsa.GenerateKey(rand.Reader, 2048)
	weakKey, _  = rsa.GenerateKey(rand.Reader, 1024)
	ecKey, _    = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	_, edKey, _ = ed25519.GenerateKey(rand.Reader)
)

func valid(user string) bool { return user != "" && !strings.HasPrefix(user, "~") }

// issuer serves a key set that the test may change.
type issuer struct {
	*httptest.Server
	reads atomic.Int64

	mu   sync.Mutex
	keys []map[string]any
	down bool
}

func newIssuer(t *testing.T, keys ...map[string]any) *issuer {
	i := &issuer{keys: keys}
	i.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		i.reads.Add(1)
		i.mu.Lock()
		defer i.mu.Unlock()
		if i.down {
			http.Error(w, "down", http.StatusBadGateway)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"keys": i.keys})
	}))
	t.Cleanup(i.Close)
	return i
}

func (i *issuer) set(down bool, keys ...map[string]any) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys, i.down = keys, down
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func jwk(kid string, key crypto.PublicKey, more ...string) map[string]any {
	m := map[string]any{"kid": kid}
	switch k := key.(type) {
	case *rsa.PublicKey:
		m["kty"], m["n"], m["e"] = "RSA", b64(k.N.Bytes()), b64(big.NewInt(int64(k.E)).Bytes())
	case *ecdsa.PublicKey:
		raw, _ := k.Bytes()
		m["kty"], m["crv"], m["x"], m["y"] = "EC", "P-256", b64(raw[1:33]), b64(raw[33:])
	case ed25519.PublicKey:
		m["kty"], m["crv"], m["x"] = "OKP", "Ed25519", b64(k)
	}
	for i := 0; i+1 < len(more); i += 2 {
		m[more[i]] = more[i+1]
	}
	return m
}

func sign(t *testing.T, method jwt.SigningMethod, key any, kid string, claims jwt.MapClaims) string {
	t.Helper()
	token := jwt.NewWithClaims(method, claims)
	if kid != "" {
		token.Header["kid"] = kid
	}
	s, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func claims(change ...any) jwt.MapClaims {
	c := jwt.MapClaims{"sub": "alice", "exp": time.Now().Add(time.Hour).Unix(), "iss": "us", "aud": []string{"chat", "mail"}}
	for i := 0; i+1 < len(change); i += 2 {
		if change[i+1] == nil {
			delete(c, change[i].(string))
			continue
		}
		c[change[i].(string)] = change[i+1]
	}
	return c
}

func TestJWT(t *testing.T) {
	is := newIssuer(t, jwk("rsa", rsaKey.Public()), jwk("ec", ecKey.Public()), jwk("ed", edKey.Public()),
		jwk("weak", weakKey.Public()), jwk("ps", rsaKey.Public(), "alg", "PS256"), jwk("enc", rsaKey.Public(), "use", "enc"))
	v, err := NewJWT(JWTConfig{Secret: secret, JWKS: NewJWKS(is.URL, slog.New(slog.DiscardHandler)), Issuer: "us", Audience: "chat",
		Leeway: 10 * time.Second, MaxBytes: 8 << 10, ValidUser: valid})
	if err != nil {
		t.Fatal(err)
	}
	der, _ := x509.MarshalPKIXPublicKey(rsaKey.Public())
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	ago := func(d time.Duration) int64 { return time.Now().Add(-d).Unix() }
	hs := func(c jwt.MapClaims) string { return sign(t, jwt.SigningMethodHS256, secret, "", c) }
	tests := []struct {
		name  string
		token string
		want  error
	}{
		{"HS256", hs(claims()), nil},
		{"RS256", sign(t, jwt.SigningMethodRS256, rsaKey, "rsa", claims()), nil},
		{"ES256", sign(t, jwt.SigningMethodES256, ecKey, "ec", claims()), nil},
		{"EdDSA", sign(t, jwt.SigningMethodEdDSA, edKey, "ed", claims()), nil},
		{"aud as a string", hs(claims("aud", "chat")), nil},
		{"expired within the leeway", hs(claims("exp", ago(5*time.Second))), nil},
		{"none", sign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, "", claims()), ErrUnauthorized},
		{"HS256 by the public key", sign(t, jwt.SigningMethodHS256, public, "rsa", claims()), ErrUnauthorized},
		{"HS384", sign(t, jwt.SigningMethodHS384, secret, "", claims()), ErrUnauthorized},
		{"PS256", sign(t, jwt.SigningMethodPS256, rsaKey, "rsa", claims()), ErrUnauthorized},
		{"RS256 by a key for PS256", sign(t, jwt.SigningMethodRS256, rsaKey, "ps", claims()), ErrUnauthorized},
		{"RS256 by an encryption key", sign(t, jwt.SigningMethodRS256, rsaKey, "enc", claims()), ErrUnauthorized},
		{"RS256 of 1024 bits", sign(t, jwt.SigningMethodRS256, weakKey, "weak", claims()), ErrUnauthorized},
		{"RS256 with an EC kid", sign(t, jwt.SigningMethodRS256, rsaKey, "ec", claims()), ErrUnauthorized},
		{"RS256 without kid", sign(t, jwt.SigningMethodRS256, rsaKey, "", claims()), ErrUnauthorized},
		{"unknown kid", sign(t, jwt.SigningMethodRS256, rsaKey, "other", claims()), ErrUnauthorized},
		{"another's signature", sign(t, jwt.SigningMethodHS256, []byte("another secret of 32 bytes or so"), "", claims()), ErrUnauthorized},
		{"expired", hs(claims("exp", ago(11*time.Second))), ErrExpired},
		{"expired, wrong issuer", hs(claims("exp", ago(time.Hour), "iss", "them")), ErrUnauthorized},
		{"expired, bad signature", hs(claims("exp", ago(time.Hour))) + "x", ErrUnauthorized},
		{"no exp", hs(claims("exp", nil)), ErrUnauthorized},
		{"not yet", hs(claims("nbf", time.Now().Add(time.Minute).Unix())), ErrUnauthorized},
		{"wrong issuer", hs(claims("iss", "them")), ErrUnauthorized},
		{"no issuer", hs(claims("iss", nil)), ErrUnauthorized},
		{"wrong audience", hs(claims("aud", "other")), ErrUnauthorized},
		{"no audience", hs(claims("aud", nil)), ErrUnauthorized},
		{"no sub", hs(claims("sub", nil)), ErrUnauthorized},
		{"reserved sub", hs(claims("sub", "~system")), ErrUnauthorized},
		{"empty", "", ErrUnauthorized},
		{"rubbish", "a.b.c", ErrUnauthorized},
		{"too long", hs(claims("more", strings.Repeat("x", 9000))), ErrUnauthorized},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			who, err := v.Verify(t.Context(), Credentials{Token: test.token, User: "mallory"})
			if !errors.Is(err, test.want) || test.want == nil && (who.User != "alice" || who.Expires.IsZero()) {
				t.Errorf("got %+v, %v; want %v", who, err, test.want)
			}
			if err != nil && strings.Contains(err.Error(), string(secret)) {
				t.Errorf("the error shows the secret: %v", err)
			}
		})
	}
}

func TestHS256IsRefusedWithoutASecret(t *testing.T) {
	is := newIssuer(t, jwk("rsa", rsaKey.Public()))
	v, err := NewJWT(JWTConfig{JWKS: NewJWKS(is.URL, slog.New(slog.DiscardHandler)), MaxBytes: 8 << 10, ValidUser: valid})
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range [][]byte{{}, []byte("x")} {
		if _, err := v.Verify(t.Context(), Credentials{Token: sign(t, jwt.SigningMethodHS256, key, "rsa", claims())}); !errors.Is(err, ErrUnauthorized) {
			t.Errorf("key %q: %v", key, err)
		}
	}
}

func TestNewJWTRefuses(t *testing.T) {
	for name, cfg := range map[string]JWTConfig{
		"no key":       {},
		"short secret": {Secret: []byte("short")},
		"much leeway":  {Secret: secret, Leeway: time.Minute},
	} {
		if _, err := NewJWT(cfg); err == nil || !strings.Contains(err.Error(), "PARLEY_") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRotation(t *testing.T) {
	is := newIssuer(t, jwk("one", rsaKey.Public()))
	keys := NewJWKS(is.URL, slog.New(slog.DiscardHandler))
	keys.gap = 0
	v, _ := NewJWT(JWTConfig{JWKS: keys, MaxBytes: 8 << 10, ValidUser: valid})
	check := func(kid string, want error) {
		t.Helper()
		_, err := v.Verify(t.Context(), Credentials{Token: sign(t, jwt.SigningMethodRS256, rsaKey, kid, claims())})
		if !errors.Is(err, want) {
			t.Errorf("kid %s: %v, want %v", kid, err, want)
		}
	}
	check("one", nil)
	check("one", nil)
	if n := is.reads.Load(); n != 1 {
		t.Errorf("%d reads for a known key, want 1", n)
	}
	is.set(false, jwk("two", rsaKey.Public()))
	check("two", nil)
	check("one", ErrUnauthorized)

	is.set(true)
	check("two", nil) // the last keys stay in use
	check("three", errKeySet)
}

func TestUnknownKidsDoNotHammerTheIssuer(t *testing.T) {
	is := newIssuer(t, jwk("one", rsaKey.Public()))
	v, _ := NewJWT(JWTConfig{JWKS: NewJWKS(is.URL, slog.New(slog.DiscardHandler)), MaxBytes: 8 << 10, ValidUser: valid})
	token := sign(t, jwt.SigningMethodRS256, rsaKey, "other", claims())
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if _, err := v.Verify(context.Background(), Credentials{Token: token}); !errors.Is(err, ErrUnauthorized) {
				t.Errorf("an unknown kid: %v", err)
			}
		})
	}
	all.Wait()
	if n := is.reads.Load(); n != 1 {
		t.Errorf("%d reads, want 1", n)
	}
}

func TestAnIssuerThatIsDownIsNoVerdict(t *testing.T) {
	is := newIssuer(t)
	is.set(true)
	v, _ := NewJWT(JWTConfig{JWKS: NewJWKS(is.URL, slog.New(slog.DiscardHandler)), MaxBytes: 8 << 10, ValidUser: valid})
	_, err := v.Verify(t.Context(), Credentials{Token: sign(t, jwt.SigningMethodRS256, rsaKey, "one", claims())})
	if err == nil || errors.Is(err, ErrUnauthorized) || errors.Is(err, ErrExpired) {
		t.Errorf("got %v, want neither unauthorized nor expired", err)
	}
}

func TestDev(t *testing.T) {
	d := Dev{ValidUser: valid}
	if who, err := d.Verify(t.Context(), Credentials{User: "bob"}); err != nil || who.User != "bob" {
		t.Errorf("bob: %+v, %v", who, err)
	}
	for _, c := range []Credentials{{}, {User: "~x"}, {Token: "t"}} {
		if _, err := d.Verify(t.Context(), c); !errors.Is(err, ErrUnauthorized) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func FuzzKeySet(f *testing.F) {
	good, _ := json.Marshal(map[string]any{"keys": []any{jwk("a", rsaKey.Public()), jwk("b", ecKey.Public()), jwk("c", edKey.Public())}})
	f.Add(good)
	f.Add([]byte(`{"keys":[{"kty":"oct","k":"AAAA"}]}`))
	f.Add([]byte(`{"keys":[{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		keys, err := parseKeySet(body)
		if err == nil && len(keys) == 0 {
			t.Error("no keys and no error")
		}
	})
}

func FuzzToken(f *testing.F) {
	v, err := NewJWT(JWTConfig{Secret: secret, MaxBytes: 8 << 10, ValidUser: valid})
	if err != nil {
		f.Fatal(err)
	}
	f.Add("a.b.c")
	f.Add("eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.")
	f.Fuzz(func(t *testing.T, token string) {
		if who, err := v.Verify(t.Context(), Credentials{Token: token}); err == nil {
			t.Errorf("an unsigned token is good: %+v", who)
		}
	})
}
