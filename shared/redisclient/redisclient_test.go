package redisclient

import (
	"strings"
	"testing"
)

func TestOptions(t *testing.T) {
	for _, c := range []struct {
		url, addrs, master, user, password string
		db                                 int
		cluster, tls                       bool
	}{
		{url: "redis://127.0.0.1:6379/0", addrs: "127.0.0.1:6379"},
		{url: "redis://chat:s%40fe@localhost:6390/2", addrs: "localhost:6390", user: "chat", password: "s@fe", db: 2},
		{url: "rediss://cache.example:6380/1", addrs: "cache.example:6380", db: 1, tls: true},
		{url: "redis+sentinel://u:p@a:26379,b:26379/main?db=3", addrs: "a:26379,b:26379", master: "main", user: "u", password: "p", db: 3},
		{url: "redis+cluster://a:7000,b:7001,c:7002", addrs: "a:7000,b:7001,c:7002", cluster: true},
		{url: "rediss+cluster://u:p@a:7000,b:7001", addrs: "a:7000,b:7001", user: "u", password: "p", cluster: true, tls: true},
	} {
		o, err := Options(c.url)
		if err != nil {
			t.Errorf("%s: %v", c.url, err)
			continue
		}
		if got := strings.Join(o.Addrs, ","); got != c.addrs || o.MasterName != c.master || o.Username != c.user ||
			o.Password != c.password || o.DB != c.db || o.IsClusterMode != c.cluster || (o.TLSConfig != nil) != c.tls {
			t.Errorf("%s: got %+v", c.url, o)
		}
		if o.MaxRetries != -1 {
			t.Errorf("%s: MaxRetries = %d: a retried write is a second write", c.url, o.MaxRetries)
		}
	}
}

func TestBadURLsAreNamedWithoutTheirPassword(t *testing.T) {
	for _, url := range []string{
		"http://user:secret@localhost", "localhost:6379", "redis+sentinel://u:secret@a:1,b:2", "redis://u:secret@a:6379/zero",
	} {
		_, err := Options(url)
		if err == nil {
			t.Errorf("%s: accepted", url)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error shows the password: %v", url, err)
		}
	}
}

func TestRedact(t *testing.T) {
	for in, want := range map[string]string{
		"redis://u:secret@a:6379/0":           "redis://u:xxxxx@a:6379/0",
		"redis://a:6379":                      "redis://a:6379",
		"redis+cluster://:secret@a:1,b:2/":    "redis+cluster://:xxxxx@a:1,b:2/",
		"nats://token@a:4222":                 "nats://token@a:4222",
		"memory://":                           "memory://",
		"redis+sentinel://u:p@q@a:1,b:2/main": "redis+sentinel://u:xxxxx@a:1,b:2/main",
	} {
		if got := Redact(in); got != want {
			t.Errorf("Redact(%s) = %s, want %s", in, got, want)
		}
	}
}
