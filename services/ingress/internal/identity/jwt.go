package identity

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"errors"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// JWTConfig is which tokens are good. Secret, JWKS or both must be given.
type JWTConfig struct {
	Secret    []byte // for HS256; at least MinSecret bytes
	JWKS      *JWKS  // for RS256, ES256 and EdDSA
	Issuer    string // iss must be it; empty: any
	Audience  string // aud must have it; empty: any
	Leeway    time.Duration
	MaxBytes  int // of a token
	ValidUser func(string) bool
}

// MinSecret is the least length of an HS256 secret: that of the hash (RFC 7518 §3.2).
const MinSecret = 32

// MaxLeeway bounds how wrong clocks may be.
const MaxLeeway = 30 * time.Second

// JWT verifies JSON Web Tokens: the user is sub, and exp is required.
type JWT struct {
	cfg    JWTConfig
	parser *jwt.Parser
}

// NewJWT returns a verifier, or what is wrong with the configuration.
func NewJWT(cfg JWTConfig) (*JWT, error) {
	switch {
	case len(cfg.Secret) == 0 && cfg.JWKS == nil:
		return nil, errors.New("jwt auth needs a secret (PARLEY_JWT_SECRET) or a key set (PARLEY_JWKS_URL)")
	case len(cfg.Secret) > 0 && len(cfg.Secret) < MinSecret:
		return nil, fmt.Errorf("PARLEY_JWT_SECRET has %d bytes, at least %d are needed", len(cfg.Secret), MinSecret)
	case cfg.Leeway < 0 || cfg.Leeway > MaxLeeway:
		return nil, fmt.Errorf("PARLEY_JWT_LEEWAY is %s, 0 to %s are allowed", cfg.Leeway, MaxLeeway)
	}
	var methods []string
	if len(cfg.Secret) > 0 {
		methods = append(methods, "HS256")
	}
	if cfg.JWKS != nil {
		methods = append(methods, "RS256", "ES256", "EdDSA")
	}
	options := []jwt.ParserOption{jwt.WithValidMethods(methods), jwt.WithExpirationRequired(), jwt.WithLeeway(cfg.Leeway)}
	if cfg.Issuer != "" {
		options = append(options, jwt.WithIssuer(cfg.Issuer))
	}
	if cfg.Audience != "" {
		options = append(options, jwt.WithAudience(cfg.Audience))
	}
	return &JWT{cfg: cfg, parser: jwt.NewParser(options...)}, nil
}

// Verify checks the token's signature, times, issuer and audience. It may wait
// for the key set, as long as ctx lets it.
func (v *JWT) Verify(ctx context.Context, c Credentials) (Identity, error) {
	if c.Token == "" {
		return Identity{}, fmt.Errorf("%w: a token is needed", ErrUnauthorized)
	}
	if len(c.Token) > v.cfg.MaxBytes {
		return Identity{}, fmt.Errorf("%w: the token is longer than %d bytes", ErrUnauthorized, v.cfg.MaxBytes)
	}
	var claims jwt.RegisteredClaims
	_, err := v.parser.ParseWithClaims(c.Token, &claims, func(t *jwt.Token) (any, error) { return v.key(ctx, t) })
	switch {
	case errors.Is(err, errKeySet):
		return Identity{}, err
	case errors.Is(err, jwt.ErrTokenExpired) && onlyExpired(err):
		return Identity{}, ErrExpired
	case err != nil:
		return Identity{}, fmt.Errorf("%w: %s", ErrUnauthorized, reason(err))
	case !v.cfg.ValidUser(claims.Subject):
		return Identity{}, fmt.Errorf("%w: the token's sub is not a user name", ErrUnauthorized)
	}
	return Identity{User: claims.Subject, Expires: claims.ExpiresAt.Add(v.cfg.Leeway)}, nil
}

// key picks the key by the method, so that a public key can never serve as an
// HMAC secret: the secret is for HS256 alone, and each key of the set only for the
// method of its type.
func (v *JWT) key(ctx context.Context, t *jwt.Token) (any, error) {
	method := t.Method.Alg()
	if method == "HS256" {
		if len(v.cfg.Secret) == 0 {
			return nil, errors.New("HS256 is not configured")
		}
		return v.cfg.Secret, nil
	}
	if v.cfg.JWKS == nil {
		return nil, errors.New(method + " is not configured")
	}
	kid, _ := t.Header["kid"].(string)
	key, err := v.cfg.JWKS.key(ctx, kid, method)
	if err != nil {
		return nil, err
	}
	if !fits(key, method) {
		return nil, fmt.Errorf("key %q is not for %s", clip(kid), method)
	}
	return key, nil
}

func fits(key any, method string) bool {
	switch k := key.(type) {
	case *rsa.PublicKey:
		return method == "RS256" && k.N.BitLen() >= 2048
	case *ecdsa.PublicKey:
		return method == "ES256" && k.Curve.Params().BitSize == 256
	case ed25519.PublicKey:
		return method == "EdDSA"
	}
	return false
}

// onlyExpired tells whether being expired is all that is wrong with the claims.
func onlyExpired(err error) bool {
	for _, other := range []error{jwt.ErrTokenInvalidIssuer, jwt.ErrTokenInvalidAudience, jwt.ErrTokenNotValidYet,
		jwt.ErrTokenSignatureInvalid, jwt.ErrTokenMalformed, jwt.ErrTokenUnverifiable, jwt.ErrTokenUsedBeforeIssued} {
		if errors.Is(err, other) {
			return false
		}
	}
	return true
}

// reason is what a client is told: which check failed, no more.
func reason(err error) string {
	for _, r := range []struct {
		err  error
		text string
	}{
		{jwt.ErrTokenMalformed, "the token is malformed"},
		{jwt.ErrTokenUnverifiable, "no key for the token's method and kid"},
		{jwt.ErrTokenSignatureInvalid, "the token's signature or method is not valid here"},
		{jwt.ErrTokenRequiredClaimMissing, "the token lacks exp, iss or aud"},
		{jwt.ErrTokenInvalidIssuer, "the token's iss is not the one expected"},
		{jwt.ErrTokenInvalidAudience, "the token's aud is not the one expected"},
		{jwt.ErrTokenNotValidYet, "the token is not valid yet"},
	} {
		if errors.Is(err, r.err) {
			return r.text
		}
	}
	return "the token is not valid"
}

func clip(s string) string {
	if len(s) > 40 {
		return s[:40] + "…"
	}
	return s
}
