package process

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

func newAdmin(address string, token Secret, health *Health) *Admin {
	return NewAdmin(address, token, health, newRegistry("demo", "v1"), slog.New(slog.DiscardHandler))
}

func TestGuard(t *testing.T) {
	type request struct{ remote, host, auth, header, value, method string }
	here, away := "127.0.0.1:5000", "192.0.2.7:5000"
	for name, c := range map[string]struct {
		token Secret
		request
		want int
	}{
		"loopback":                  {request: request{remote: here}, want: 200},
		"loopback 6":                {request: request{remote: "[::1]:5000", host: "[::1]:9100"}, want: 200},
		"loopback mapped":           {request: request{remote: "[::ffff:127.0.0.1]:5000"}, want: 200},
		"loopback, port-less host":  {request: request{remote: here, host: "localhost"}, want: 200},
		"loopback with a token set": {token: "t", request: request{remote: here}, want: 200},
		"a name pointed here":       {request: request{remote: here, host: "evil.example:9100"}, want: 403},
		"through a proxy":           {token: "t", request: request{remote: here, header: "X-Forwarded-For", value: "192.0.2.7"}, want: 401},
		"another site's form":       {request: request{remote: here, method: "POST", header: "Sec-Fetch-Site", value: "cross-site"}, want: 403},
		"own POST":                  {request: request{remote: here, method: "POST"}, want: 200},
		"away, no token set":        {request: request{remote: away}, want: 403},
		"away, none sent":           {token: "t", request: request{remote: away}, want: 401},
		"away, right":               {token: "t", request: request{remote: away, auth: "Bearer t"}, want: 200},
		"away, wrong":               {token: "t", request: request{remote: away, auth: "Bearer x"}, want: 401},
		"away, empty bearer":        {request: request{remote: away, auth: "Bearer "}, want: 403},
		"away, basic":               {token: "t", request: request{remote: away, auth: "Basic t"}, want: 401},
		"loopback, wrong token":     {token: "t", request: request{remote: here, auth: "Bearer x"}, want: 401},
		"no address":                {token: "t", request: request{remote: "@"}, want: 401},
	} {
		t.Run(name, func(t *testing.T) {
			admin := newAdmin(Off, c.token, &Health{})
			admin.Handle("/board", http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
			r := httptest.NewRequest(cmp.Or(c.method, "GET"), "http://"+cmp.Or(c.host, "127.0.0.1:9100")+"/board", nil)
			r.RemoteAddr = c.remote
			if c.auth != "" {
				r.Header.Set("Authorization", c.auth)
			}
			if c.header != "" {
				r.Header.Set(c.header, c.value)
			}
			w := httptest.NewRecorder()
			admin.ServeHTTP(w, r)
			if w.Code != c.want {
				t.Errorf("status %d, want %d: %s", w.Code, c.want, w.Body)
			}
			pprof := httptest.NewRequest("GET", "/debug/pprof/cmdline", nil)
			pprof.RemoteAddr = away
			w = httptest.NewRecorder()
			if admin.ServeHTTP(w, pprof); w.Code == 200 {
				t.Error("pprof is open")
			}
		})
	}
}

func TestOpenPages(t *testing.T) {
	var health Health
	admin := newAdmin("127.0.0.1:0", "t", &health)
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
	defer wg.Wait()
	defer cancel()

	get := func(path string) (int, string) {
		t.Helper()
		resp, err := http.Get("http://" + admin.Addr() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(body)
	}
	if code, body := get("/readyz"); code != 200 || !strings.Contains(body, `"ready":true`) {
		t.Errorf("/readyz: %d %s", code, body)
	}
	health.Add("bus", func() error { return errors.New("no probe from 10.0.0.1") })
	health.Add("store", func() error { return nil })
	code, body := get("/readyz")
	var answer struct {
		Ready   bool
		Failing []Failure
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil || code != 503 || answer.Ready ||
		len(answer.Failing) != 1 || answer.Failing[0] != (Failure{"bus", "no probe from 10.0.0.1"}) {
		t.Errorf("/readyz: %d %s %v", code, body, err)
	}
	if code, body := get("/livez"); code != 200 || body != "alive\n" {
		t.Errorf("/livez: %d %s", code, body)
	}
	code, body = get("/metrics")
	for _, name := range []string{"go_goroutines", "process_open_fds", `parley_build_info{service="demo",version="v1"} 1`, "go_build_info"} {
		if code != 200 || !strings.Contains(body, name) {
			t.Errorf("/metrics: %d, lacks %s", code, name)
		}
	}
	w := httptest.NewRecorder()
	health.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/readyz", nil))
	if w.Code != 503 || strings.Contains(w.Body.String(), "10.0.0.1") || !strings.Contains(w.Body.String(), `"check":"bus"`) {
		t.Errorf("public /readyz: %d %s", w.Code, w.Body)
	}
}

func TestListenNamesTheSetting(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	admin := NewAdmin(l.Addr().String(), "", &Health{}, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	err = admin.Listen()
	if err == nil || !strings.HasPrefix(err.Error(), "PARLEY_ADMIN (--admin): listen tcp "+l.Addr().String()) || !strings.HasSuffix(err.Error(), "address already in use") {
		t.Errorf("error %v", err)
	}
	_, err = Listen("PARLEY_LISTEN", "8080")
	expectError(t, err, `PARLEY_LISTEN (--listen): "8080" is not of the form host:port`)
}

func TestFreshness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := NewFreshness("probe", 10*time.Second)
		check := func(want string) {
			t.Helper()
			got := ""
			if err := f.Check(); err != nil {
				got = err.Error()
			}
			if got != want {
				t.Errorf("check = %q, want %q", got, want)
			}
		}
		check("no probe came back yet")
		f.Touch()
		check("")
		time.Sleep(10 * time.Second)
		check("")
		time.Sleep(2 * time.Second)
		check("no probe came back for 12s")
		f.Touch()
		check("")
	})
}
