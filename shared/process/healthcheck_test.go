package process

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
)

// TestHealthcheck asks a running process by the same program with another flag.
func TestHealthcheck(t *testing.T) {
	var health Health
	admin := newAdmin("127.0.0.1:0", "", &health)
	if err := admin.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := admin.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	_, port, _ := strings.Cut(admin.Addr(), ":")

	ask := func(args ...string) (int, string) {
		var out strings.Builder
		code := execute(Program{Name: "demo"}, &demo{}, Source{Args: args, Getenv: func(string) string { return "" }, Stdout: &out, Stderr: &out},
			nil, nil, func(context.Context, *Process) error {
				t.Error("the healthcheck started the program")
				return nil
			})
		return code, out.String()
	}
	expect := func(want int, text string, args ...string) {
		t.Helper()
		if code, out := ask(args...); code != want || !strings.Contains(out, text) {
			t.Errorf("%v: exit code %d, %q; want %d and %q", args, code, out, want, text)
		}
	}
	for _, address := range []string{admin.Addr(), ":" + port, "0.0.0.0:" + port} {
		expect(ExitClean, "", "--admin="+address, "--healthcheck=live")
		expect(ExitClean, "", "--admin="+address, "--healthcheck=ready")
	}
	health.Add("bus", func() error { return errors.New("no probe came back for 12s") })
	expect(ExitFailure, "not ready: 503 Service Unavailable", "--admin="+admin.Addr(), "--healthcheck=ready")
	expect(ExitFailure, "no probe came back for 12s", "--admin="+admin.Addr(), "--healthcheck=ready")
	expect(ExitClean, "", "--admin="+admin.Addr(), "--healthcheck=live")

	cancel()
	wg.Wait()
	expect(ExitFailure, "not live: ", "--admin="+admin.Addr(), "--healthcheck=live")
	expect(ExitConfig, "PARLEY_ADMIN (--admin): it is off", "--admin=off", "--healthcheck=live")
	expect(ExitConfig, "--healthcheck", "--healthcheck=perhaps")
	expect(ExitConfig, "PARLEY_LOG_LEVEL", "--healthcheck=live", "--log-level=loud") // the settings are checked, too
}

func TestAdminURL(t *testing.T) {
	for address, want := range map[string]string{
		":9101": "http://127.0.0.1:9101", "0.0.0.0:9101": "http://127.0.0.1:9101", "[::]:9101": "http://[::1]:9101",
		"127.0.0.1:9101": "http://127.0.0.1:9101", "10.0.0.7:9101": "http://10.0.0.7:9101", "box:9101": "http://box:9101",
	} {
		if got, err := adminURL(address); got != want || err != nil {
			t.Errorf("adminURL(%q) = %q, %v, want %q", address, got, err, want)
		}
	}
}
