package process

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

// healthcheckTimeout bounds the question: probes that pile up help nobody.
const healthcheckTimeout = 3 * time.Second

// healthcheck is the program as a client of its own kind: it asks the process with
// these settings that runs on this machine whether it lives (/livez) or is ready
// (/readyz). It is what a container without a shell can be probed with.
func healthcheck(what, admin string) error {
	url, err := adminURL(admin)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), healthcheckTimeout)
	defer cancel()
	path := map[string]string{"live": "/livez", "ready": "/readyz"}[what]
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+path, nil)
	if err != nil {
		return err
	}
	// No proxy of the environment's: it would be asked for this machine.
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("not %s: %w", what, err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 4096))
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("not %s: %s: %s", what, res.Status, strings.TrimSpace(string(body)))
	}
	return err
}

// adminURL is where the listener at the address is reached from this machine.
func adminURL(address string) (string, error) {
	if address == Off {
		return "", BadSetting(envName("admin"), "it is off, so nothing can be asked")
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", BadSetting(envName("admin"), "%q is not of the form host:port", address)
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "127.0.0.1"
		if ip.Is6() && !ip.Is4In6() {
			host = "::1"
		}
	}
	return "http://" + net.JoinHostPort(host, port), nil
}
