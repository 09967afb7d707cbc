// Package redisclient opens Redis clients from the URLs of PARLEY_BUS and
// PARLEY_STORE, alike for the bus and for the stores: one server, Sentinel or
// Cluster, with or without TLS.
package redisclient

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
)

// Schemes are the URL schemes that Options accepts.
var schemes = []string{"redis", "rediss", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster"}

// Is tells whether the URL is one of Redis.
func Is(rawURL string) bool {
	scheme, _, ok := strings.Cut(rawURL, "://")
	return ok && slices.Contains(schemes, scheme)
}

// Options reads a URL:
//
//	redis://[user:password@]host:port[/db]            one server; rediss:// with TLS
//	redis+sentinel://[user:password@]a:26379,b:26379/master[?db=1]
//	redis+cluster://[user:password@]a:7000,b:7001
//
// The options can be changed before they are given to [New];
// MaxRetries is -1 (a retried write whose reply was lost is a second write), callers
// that only read may raise it. go-redis' own lines on stderr are silenced for the
// whole process: what goes wrong is in the errors of its calls.
func Options(rawURL string) (*redis.UniversalOptions, error) {
	logging.Disable()
	scheme, rest, ok := strings.Cut(rawURL, "://")
	if !ok || !slices.Contains(schemes, scheme) {
		return nil, fmt.Errorf("%q is no Redis URL: want one of %s", Redact(rawURL), strings.Join(schemes, "://, ")+"://")
	}
	base, kind, _ := strings.Cut(scheme, "+")
	if kind == "" {
		return single(rawURL)
	}
	// net/url refuses host lists, so the first host stands in for the parsing.
	credentials, hosts, path := split(rest)
	first, _, _ := strings.Cut(hosts, ",")
	one, err := redis.ParseURL(base + "://" + credentials + first + query(path))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", Redact(rawURL), err)
	}
	o := universal(one)
	o.Addrs = strings.Split(hosts, ",")
	name, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "?")
	switch {
	case kind == "cluster":
		o.IsClusterMode = true
	case name == "":
		return nil, fmt.Errorf("%s names no master: want redis+sentinel://host,host/master", Redact(rawURL))
	default:
		o.MasterName = name
	}
	return o, nil
}

// Redact hides the password of a URL, for logs and errors.
func Redact(rawURL string) string {
	scheme, rest, ok := strings.Cut(rawURL, "://")
	if !ok {
		return rawURL
	}
	credentials, hosts, path := split(rest)
	user, _, hasPassword := strings.Cut(strings.TrimSuffix(credentials, "@"), ":")
	if hasPassword {
		credentials = user + ":xxxxx@"
	}
	return scheme + "://" + credentials + hosts + path
}

func single(rawURL string) (*redis.UniversalOptions, error) {
	one, err := redis.ParseURL(rawURL)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", Redact(rawURL), err)
	}
	o := universal(one)
	o.Addrs = []string{one.Addr}
	return o, nil
}

func universal(one *redis.Options) *redis.UniversalOptions {
	return &redis.UniversalOptions{
		Username: one.Username, Password: one.Password, DB: one.DB, TLSConfig: one.TLSConfig,
		DialTimeout: one.DialTimeout, ReadTimeout: one.ReadTimeout, WriteTimeout: one.WriteTimeout,
		PoolSize: one.PoolSize, MaxRetries: -1, ContextTimeoutEnabled: true,
	}
}

// split divides what follows "://" into "user:password@", "a:1,b:2" and "/path?query".
func split(rest string) (credentials, hosts, path string) {
	if i := strings.IndexAny(rest, "/?"); i >= 0 {
		rest, path = rest[:i], rest[i:]
	}
	if i := strings.LastIndexByte(rest, '@'); i >= 0 {
		return rest[:i+1], rest[i+1:], path
	}
	return "", rest, path
}

// query keeps only the query of "/path?query": what follows the host of the stand-in URL.
func query(path string) string {
	u, err := url.Parse(path)
	if err != nil || u.RawQuery == "" {
		return ""
	}
	return "/?" + u.RawQuery
}
