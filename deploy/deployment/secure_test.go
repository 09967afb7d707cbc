package deployment

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/redis/go-redis/v9"

	"github.com/parley-chat/parley/deploy/cluster"
	"github.com/parley-chat/parley/deploy/secure"
	"github.com/parley-chat/parley/shared/redisclient"
)

// secureRedis starts a Redis with the shipped configuration: TLS alone, a user per
// service, and secrets made for it. It returns the folder of the secrets.
func secureRedis(t *testing.T) (dir, address string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "secrets")
	port := freePort(t)
	address = net.JoinHostPort("127.0.0.1", port)
	cfg := secure.Config{Dir: dir, Redis: address, Hosts: []string{"localhost"}}
	if err := secure.Make(cfg); err != nil {
		t.Fatal(err)
	}
	if err := secure.Make(cfg); !errors.Is(err, os.ErrExist) {
		t.Errorf("a second time: %v, want a refusal to write over secrets", err)
	}
	// The shipped files name the folders of the container.
	config := t.TempDir()
	shipped(t, "redis", config, []string{"redis.conf", "secure.conf"}, "/etc/redis/", config+"/", "/run/secrets/", dir+"/")
	program(t, cluster.Program{
		Name: "redis", Path: "redis-server", Dir: t.TempDir(),
		Args: []string{filepath.Join(config, "secure.conf"), "--tls-port", port, "--bind", "127.0.0.1", "--dir", t.TempDir()},
		Up: func(ctx context.Context) error {
			client := redisAs(t, dir, "operator")
			defer client.Close()
			return client.Ping(ctx).Err()
		},
	})
	return dir, address
}

// redisAs is a client with the secrets of a service, or of the operator.
func redisAs(t *testing.T, dir, user string) redis.UniversalClient {
	t.Helper()
	url, err := os.ReadFile(filepath.Join(dir, user+".redis"))
	if err != nil {
		t.Fatal(err)
	}
	options, err := redisclient.Options(string(url))
	if err != nil {
		t.Fatal(err)
	}
	authority, err := os.ReadFile(filepath.Join(dir, "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	options.TLSConfig.RootCAs = x509.NewCertPool()
	options.TLSConfig.RootCAs.AppendCertsFromPEM(authority)
	return redisclient.New(options)
}

// TestSecureStack: every service with its own user, over TLS, secrets by file, clients
// with tokens. All of it works, and Redis refused nothing that a service asked.
func TestSecureStack(t *testing.T) {
	dir, _ := secureRedis(t)
	c := start(t, cluster.Config{
		Brokers: "rediss://in.files:0/0",
		EnvOf: func(kind string) []string {
			env := []string{"PARLEY_BUS=", "PARLEY_STORE=", "PARLEY_BUS_FILE=" + filepath.Join(dir, kind+".redis"), "SSL_CERT_FILE=" + filepath.Join(dir, "ca.crt")}
			if kind == "ingress" {
				env = append(env, "PARLEY_AUTH=jwt", "PARLEY_JWT_SECRET_FILE="+filepath.Join(dir, "jwt.secret"), "PARLEY_DRAIN=5s")
			}
			return env
		},
	})
	l := underLoad(t, c.Edges[0].URL, tokens(t, dir))
	l.more(60)
	// Everything that a service does only now and then: end, take over, start anew.
	for _, p := range []*cluster.Process{c.Chats[0], c.Notifiers[0], c.Edges[1]} {
		within(t, 30*time.Second, p.Stop)
		l.more(20)
		within(t, 30*time.Second, p.Start)
	}
	l.finish()

	operator := redisAs(t, dir, "operator")
	defer operator.Close()
	denied, err := operator.Do(t.Context(), "ACL", "LOG").Slice()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range denied {
		t.Errorf("Redis refused a service: %v", d)
	}
}

// TestNginxWithTLS: the front of the secure stack, with the certificate made for it.
func TestNginxWithTLS(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "secrets")
	if err := secure.Make(secure.Config{Dir: dir, Redis: "redis:6379", Hosts: []string{"127.0.0.1", "localhost"}}); err != nil {
		t.Fatal(err)
	}
	authority, err := os.ReadFile(filepath.Join(dir, "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority)
	dialer := &websocket.Dialer{TLSClientConfig: &tls.Config{RootCAs: roots}, HandshakeTimeout: patience(10 * time.Second)}

	dns, edgePort, port := resolver(t), freePort(t), freePort(t)
	dns.set(1)
	start(t, cluster.Config{EdgePort: edgePort, Ingress: 1, Chat: 1, Notifiers: 1})
	url := "wss://127.0.0.1:" + port + "/ws"
	up := func(ctx context.Context) error {
		conn, _, err := dialer.DialContext(ctx, url, http.Header{"Origin": {"https://127.0.0.1:" + port}})
		if err == nil {
			_ = conn.Close()
		}
		return err
	}
	runNginx(t, "edges-tls.conf", up, "8443 ssl", "127.0.0.1:"+port+" ssl", "/run/secrets/", dir+"/", "127.0.0.11", dns.addr, "ingress:8080", "edges.test:"+edgePort)
	if _, _, err := (&websocket.Dialer{HandshakeTimeout: patience(10 * time.Second)}).Dial(url, nil); err == nil {
		t.Error("a client that does not know the authority connects")
	}
}

// TestUsersHaveNothingMore: what belongs to another service or to the operator is
// refused to a service, and nobody gets in without a user or without TLS.
func TestUsersHaveNothingMore(t *testing.T) {
	dir, address := secureRedis(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience(30*time.Second))
	defer cancel()
	for _, user := range []string{"ingress", "chat", "notifier"} {
		client := redisAs(t, dir, user)
		defer client.Close()
		refused := [][]any{
			{"FLUSHALL"}, {"KEYS", "*"}, {"SCAN", "0"}, {"CONFIG", "SET", "appendonly", "no"}, {"ACL", "LIST"}, {"SHUTDOWN"}, {"MONITOR"},
			{"SUBSCRIBE", "x"}, {"CLIENT", "KILL", "TYPE", "normal"}, {"FLUSHDB"}, {"RENAME", "a", "b"},
			{"GET", "another:application"}, {"SET", "another:application", "x"}, {"EVAL", "return redis.call('GET', 'another:application')", "0"},
		}
		if user != "chat" {
			refused = append(refused, []any{"XRANGE", "parley:{p00}:log:general", "-", "+"}, []any{"DEL", "parley:{p00}:log:general"}, []any{"SET", "parley:{p00}:w", "9.9"})
		}
		if user != "notifier" {
			refused = append(refused, []any{"HGETALL", "parley:{p00}:user:alice"})
		}
		if user == "ingress" {
			refused = append(refused, []any{"SET", "parley:{p00}:lease:commands.chat-00", "me"})
		}
		if user == "notifier" {
			refused = append(refused, []any{"XADD", "parley:{p00}:commands-00", "*", "a", "b"})
		}
		for _, command := range refused {
			if err := client.Do(ctx, command...).Err(); err == nil || !strings.Contains(err.Error(), "NOPERM") && !strings.Contains(err.Error(), "can't access") {
				t.Errorf("%s may %v: %v", user, command, err)
			}
		}
	}

	if err := cluster.Greet(address, "PING\r\n", "+PONG")(ctx); err == nil {
		t.Error("Redis answers without TLS")
	}
	conn, err := (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}).DialContext(ctx, "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience(10 * time.Second)))
	fmt.Fprint(conn, "PING\r\n")
	answer := make([]byte, 100)
	n, _ := conn.Read(answer)
	if !strings.HasPrefix(string(answer[:n]), "-NOAUTH") {
		t.Errorf("without a user Redis answers %q", answer[:n])
	}
}
