// Package secure makes the secrets of a deployment, one file each: a certificate
// authority, certificates for Redis and for the balancer, a Redis user per service
// with its address and password, a secret for tokens. It is what `make secrets` calls
// before `make up SECURE=1`, and what the tests run a real Redis with.
package secure

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/template"
)

// Config of Make. Dir and Redis are required.
type Config struct {
	Dir   string   // gets the files; it must not hold any of them yet
	Redis string   // host:port at which services reach Redis
	Hosts []string // names and addresses that the certificates are for, besides Redis'
}

// commands are what a service may ask of Redis, on its keys: streams, leases,
// scripts. What looks at or changes the whole server is not among them, except
// reading some of its settings. The cluster ones are how a client finds the masters.
const commands = "resetchannels -@all +@connection -@admin -@dangerous +command +readonly" +
	" +cluster|slots +cluster|shards +cluster|nodes +info +time +config|get +memory|usage" +
	" +eval +evalsha +script|load" +
	" +exists +del +unlink +pexpire +pttl +get +set +setnx +hget +hset +hdel +hgetall" +
	" +zadd +zrem +zscore +zcard +zrange +zrangebyscore +zremrangebyscore" +
	" +xadd +xlen +xrange +xrevrange +xtrim +xdel +xack +xclaim +xautoclaim +xpending +xread +xreadgroup +xinfo +xgroup"

//go:embed users.acl
var users string

// Make writes all files, readable by all: containers run as other users than who
// makes them. Dir itself is made accessible to its owner only. It writes nothing when
// one of the files is there.
func Make(cfg Config) error {
	files := map[string]string{"jwt.secret": rand.Text() + rand.Text(), "grafana.password": rand.Text(), "admin.token": rand.Text() + rand.Text()}
	if err := addUsers(files, cfg.Redis); err != nil {
		return err
	}
	if err := addCertificates(files, append([]string{host(cfg.Redis)}, cfg.Hosts...)); err != nil {
		return err
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return err
	}
	for name := range files {
		if _, err := os.Stat(filepath.Join(cfg.Dir, name)); !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("%s is there already: remove the folder to make all secrets anew (%w)", filepath.Join(cfg.Dir, name), os.ErrExist)
		}
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(cfg.Dir, name), []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func host(address string) string {
	name, _, _ := strings.Cut(address, ":")
	return name
}

// addUsers adds the access list, and for each service the URL it reaches Redis at.
func addUsers(files map[string]string, redis string) error {
	digests := map[string]string{"Commands": commands}
	for _, name := range []string{"Ingress", "Chat", "Notifier", "Operator"} {
		password := rand.Text() + rand.Text()
		digest := sha256.Sum256([]byte(password))
		digests[name] = hex.EncodeToString(digest[:])
		user := strings.ToLower(name)
		files[user+".redis"] = fmt.Sprintf("rediss://%s:%s@%s/0", user, password, redis)
	}
	list, err := template.New("users.acl").Option("missingkey=error").Parse(users)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	if err := list.Execute(&out, digests); err != nil {
		return err
	}
	files["users.acl"] = out.String()
	return nil
}
