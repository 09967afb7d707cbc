package parley

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// token makes a JWT as the edges check it, by hand: for trying out and for scripts.
type token struct {
	User       string        `arg:"" help:"Who it is for (sub)."`
	TTL        time.Duration `default:"1h" help:"How long it is good for."`
	Secret     string        `env:"PARLEY_JWT_SECRET" help:"The edges' secret, at least 32 bytes."`
	SecretFile string        `env:"PARLEY_JWT_SECRET_FILE" help:"File with the secret."`
	Issuer     string        `env:"PARLEY_JWT_ISSUER" help:"iss."`
	Audience   string        `env:"PARLEY_JWT_AUDIENCE" help:"aud."`
}

// minSecret is what the edges want of an HS256 secret.
const minSecret = 32

// Run is kong's.
func (c *token) Run(out *output) error {
	secret := c.Secret
	if secret == "" && c.SecretFile != "" {
		raw, err := os.ReadFile(c.SecretFile)
		if err != nil {
			return misused("PARLEY_JWT_SECRET_FILE: %v", err)
		}
		secret = strings.TrimRight(string(raw), "\r\n")
	}
	if len(secret) < minSecret {
		return misused("PARLEY_JWT_SECRET (--secret) has %d bytes, at least %d are needed; give the edges' own", len(secret), minSecret)
	}
	if c.TTL <= 0 {
		return misused("--ttl %s: it must be more than 0", c.TTL)
	}
	now := time.Now()
	claims := jwt.RegisteredClaims{Subject: c.User, Issuer: c.Issuer, IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(c.TTL))}
	if c.Audience != "" {
		claims.Audience = jwt.ClaimStrings{c.Audience}
	}
	signed, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(secret))
	if err != nil {
		return fmt.Errorf("sign the token: %w", err)
	}
	result := struct {
		Token   string    `json:"token"`
		User    string    `json:"user"`
		Expires time.Time `json:"expires"`
	}{signed, c.User, now.Add(c.TTL).UTC().Truncate(time.Second)}
	return out.document(result, func(w io.Writer) { fmt.Fprintln(w, signed) })
}
