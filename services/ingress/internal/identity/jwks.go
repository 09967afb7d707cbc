package identity

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/MicahParks/jwkset"
)

// errKeySet: the key set could not be read; the token may be good.
var errKeySet = errors.New("the key set cannot be read now")

const (
	maxKeySet      = 1 << 20
	jwksTimeout    = 5 * time.Second
	jwksEvery      = 15 * time.Minute // keys that were taken back are gone after so long
	jwksUnknownGap = 10 * time.Second // tokens with unknown kids cause at most one read in so long
)

// JWKS is the keys published at one URL. It reads them when it is first asked,
// again every quarter of an hour, and at once for a kid it does not know, but no
// more than once in ten seconds: strangers must not make us hammer the issuer.
// While the issuer cannot be reached the last keys stay in use.
type JWKS struct {
	url    string
	client *http.Client
	log    *slog.Logger
	gap    time.Duration // jwksUnknownGap, but for tests

	turn chan struct{} // one reader of the URL at a time

	mu    sync.Mutex
	keys  map[string]publicKey
	read  time.Time // last success
	tried time.Time
}

type publicKey struct {
	key any
	alg string // the only method it may be used with, if it says so
}

// NewJWKS returns the key set at url (https, or http for a local issuer); nothing
// is read yet.
func NewJWKS(url string, log *slog.Logger) *JWKS {
	client := &http.Client{
		Timeout:       jwksTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return &JWKS{url: url, client: client, log: log, gap: jwksUnknownGap, turn: make(chan struct{}, 1)}
}

// key returns the key with the id that may be used with the method. A token
// without kid is good for a set of one key only.
func (j *JWKS) key(ctx context.Context, kid, method string) (any, error) {
	k, ok, stale := j.known(kid)
	if !ok || stale {
		if err := j.refresh(ctx, ok); err != nil && !ok {
			return nil, fmt.Errorf("%w: %w", errKeySet, err)
		}
		k, ok, _ = j.known(kid)
	}
	if !ok {
		return nil, fmt.Errorf("no key %q", clip(kid))
	}
	if k.alg != "" && k.alg != method {
		return nil, fmt.Errorf("key %q is for %s", clip(kid), k.alg)
	}
	return k.key, nil
}

func (j *JWKS) known(kid string) (k publicKey, ok, stale bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if k, ok = j.keys[kid]; !ok && kid == "" && len(j.keys) == 1 {
		for _, k = range j.keys {
			ok = true
		}
	}
	return k, ok, time.Since(j.read) > jwksEvery
}

// refresh reads the set, unless that was tried a moment ago. Who has a key already
// does not wait for another's reading.
func (j *JWKS) refresh(ctx context.Context, have bool) error {
	select {
	case j.turn <- struct{}{}:
		defer func() { <-j.turn }()
	default:
		if have {
			return nil
		}
		select {
		case j.turn <- struct{}{}:
			defer func() { <-j.turn }()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	j.mu.Lock()
	soon, never := time.Since(j.tried) < j.gap, j.read.IsZero()
	if !soon {
		j.tried = time.Now()
	}
	j.mu.Unlock()
	switch {
	case soon && never:
		return errors.New("tried a moment ago")
	case soon:
		return nil
	}
	keys, err := j.fetch(ctx)
	if err != nil {
		j.log.Warn("read key set", "url", j.url, "err", err)
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.keys, j.read = keys, time.Now()
	return nil
}

func (j *JWKS) fetch(ctx context.Context) (map[string]publicKey, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, j.url, nil)
	if err != nil {
		return nil, err
	}
	res, err := j.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the answer is %s", res.Status)
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxKeySet+1))
	if err != nil {
		return nil, err
	}
	if len(body) > maxKeySet {
		return nil, fmt.Errorf("the key set is larger than %d bytes", maxKeySet)
	}
	return parseKeySet(body)
}

// parseKeySet takes the public keys for signatures; others in the set are left
// out, as they may be for other purposes or newer than we are.
func parseKeySet(body []byte) (map[string]publicKey, error) {
	var set jwkset.JWKSMarshal
	if err := json.Unmarshal(body, &set); err != nil {
		return nil, fmt.Errorf("decode the key set: %w", err)
	}
	keys := make(map[string]publicKey, len(set.Keys))
	for _, m := range set.Keys {
		if m.USE != "" && m.USE != jwkset.UseSig {
			continue
		}
		jwk, err := jwkset.NewJWKFromMarshal(m, jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{})
		if err != nil {
			continue
		}
		if alg := m.ALG.String(); fits(jwk.Key(), "RS256") || fits(jwk.Key(), "ES256") || fits(jwk.Key(), "EdDSA") {
			keys[m.KID] = publicKey{key: jwk.Key(), alg: alg}
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("the key set has no RSA, P-256 or Ed25519 public key for signatures")
	}
	return keys, nil
}
