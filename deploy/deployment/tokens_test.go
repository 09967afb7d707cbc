package deployment

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// tokens makes tokens with the secret that the edges have, as an application would.
func tokens(t *testing.T, dir string) func(user string) func(context.Context) (string, error) {
	t.Helper()
	secret, err := os.ReadFile(filepath.Join(dir, "jwt.secret"))
	if err != nil {
		t.Fatal(err)
	}
	return func(user string) func(context.Context) (string, error) {
		return func(context.Context) (string, error) {
			claims := jwt.RegisteredClaims{Subject: user, ExpiresAt: jwt.NewNumericDate(time.Now().Add(time.Hour))}
			return jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString(secret)
		}
	}
}
