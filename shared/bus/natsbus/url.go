package natsbus

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
)

// target is what a URL says.
type target struct {
	servers  string // as nats.Connect takes them
	replicas int
	options  []nats.Option
}

const urlForm = "want nats://[user:password@]host[:port],host…[?replicas=3&creds=file&ca=file] or tls://…"

// parse reads a URL. Its parameters are:
//
//	replicas   of the streams and buckets that are made, 1 to 5; default 1; those that are there stay as they are
//	creds      file with a user's JWT and seed
//	ca         file with the certificates (PEM) that sign the server's
//
// Errors never name the credentials.
func parse(raw string) (*target, error) {
	scheme, rest, ok := strings.Cut(raw, "://")
	if !ok || scheme != "nats" && scheme != "tls" {
		return nil, fmt.Errorf("no NATS URL: %s", urlForm)
	}
	rest, query, _ := strings.Cut(rest, "?")
	rest = strings.TrimSuffix(rest, "/")
	credentials, hosts := "", rest
	if i := strings.LastIndexByte(rest, '@'); i >= 0 {
		credentials, hosts = rest[:i+1], rest[i+1:]
	}
	t := &target{replicas: 1}
	var servers []string
	for host := range strings.SplitSeq(hosts, ",") {
		if err := checkHost(host); err != nil {
			return nil, fmt.Errorf("NATS URL, server %q: %w: %s", host, err, urlForm)
		}
		if _, err := url.Parse(scheme + "://" + credentials + host); err != nil {
			return nil, fmt.Errorf("NATS URL: the user or password has characters that must be percent-encoded: %s", urlForm)
		}
		servers = append(servers, scheme+"://"+credentials+host)
	}
	t.servers = strings.Join(servers, ",")
	return t, t.read(query)
}

func checkHost(host string) error {
	u, err := url.Parse("nats://" + host)
	switch {
	case err != nil:
		return errors.New("not a host and port")
	case u.Hostname() == "" || u.Host != host:
		return errors.New("no host")
	case u.Port() == "":
		return nil
	}
	if port, err := strconv.ParseUint(u.Port(), 10, 16); err != nil || port == 0 {
		return errors.New("the port must be 1 to 65535")
	}
	return nil
}

func (t *target) read(query string) error {
	values, err := url.ParseQuery(query)
	if err != nil {
		return fmt.Errorf("NATS URL, parameters: %s", urlForm)
	}
	for name := range values {
		value := values.Get(name)
		switch name {
		case "replicas":
			n, err := strconv.Atoi(value)
			if err != nil || n < 1 || n > 5 {
				return fmt.Errorf("NATS URL, replicas=%s: want 1 to 5", value)
			}
			t.replicas = n
		case "creds":
			t.options = append(t.options, nats.UserCredentials(value))
		case "ca":
			t.options = append(t.options, nats.RootCAs(value))
		default:
			return fmt.Errorf("NATS URL, unknown parameter %q: %s", name, urlForm)
		}
	}
	return nil
}

// checkVersion refuses servers that lack what is used here. Empty: the connection was
// lost just now.
func checkVersion(version string) error {
	var major, minor int
	if _, err := fmt.Sscanf(version, "%d.%d", &major, &minor); err != nil {
		return unavailable("ask NATS for its version", nats.ErrDisconnected)
	}
	if major < 2 || major == 2 && minor < 9 {
		return fmt.Errorf("this is nats-server %s: 2.9 or newer is needed", version)
	}
	return nil
}
