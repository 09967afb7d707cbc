package web

import (
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func get(t *testing.T, h http.Handler, method, target string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(method, target, nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestAssets(t *testing.T) {
	h := Handler(Dev)
	for _, c := range []struct {
		method, path string
		status       int
		contentType  string
	}{
		{"GET", "/", 200, "text/html; charset=utf-8"},
		{"HEAD", "/", 200, "text/html; charset=utf-8"},
		{"GET", "/?user=bob&room=general", 200, "text/html; charset=utf-8"},
		{"GET", "/client.js", 200, "text/javascript; charset=utf-8"},
		{"GET", "/client/machine.js", 200, "text/javascript; charset=utf-8"},
		{"GET", "/app/main.js", 200, "text/javascript; charset=utf-8"},
		{"GET", "/style.css", 200, "text/css; charset=utf-8"},
		{"GET", "/logo.svg", 200, "image/svg+xml"},
		{"GET", "/status", 200, "text/html; charset=utf-8"},
		{"GET", "/board/main.js", 200, "text/javascript; charset=utf-8"},
		{"GET", "/board/board.css", 200, "text/css; charset=utf-8"},
		{"GET", "/board/index.html", 404, "text/plain; charset=utf-8"},
		{"GET", "/board/test/model.test.js", 404, "text/plain; charset=utf-8"},
		{"GET", "/index.html", 404, "text/plain; charset=utf-8"},
		{"GET", "/app/", 404, "text/plain; charset=utf-8"},
		{"GET", "/../web.go", 404, "text/plain; charset=utf-8"},
		{"GET", "/web.go", 404, "text/plain; charset=utf-8"},
		{"POST", "/", 405, "text/plain; charset=utf-8"},
	} {
		w := get(t, h, c.method, c.path)
		if w.Code != c.status || w.Header().Get("Content-Type") != c.contentType {
			t.Errorf("%s %s: got %d %q, want %d %q", c.method, c.path, w.Code, w.Header().Get("Content-Type"), c.status, c.contentType)
		}
		if c.status == 200 && c.method == "GET" && w.Body.Len() == 0 {
			t.Errorf("%s: empty", c.path)
		}
	}
}

func TestHeadersAreStrictEverywhere(t *testing.T) {
	h := Handler(Dev)
	for _, path := range []string{"/", "/status", "/client.js", "/style.css", "/nothing"} {
		header := get(t, h, "GET", path).Header()
		for name, want := range map[string]string{
			"Content-Security-Policy": policy,
			"X-Content-Type-Options":  "nosniff",
			"Referrer-Policy":         "no-referrer",
			"X-Frame-Options":         "DENY",
		} {
			if header.Get(name) != want {
				t.Errorf("%s: %s is %q, want %q", path, name, header.Get(name), want)
			}
		}
	}
	for _, unsafe := range []string{"unsafe-inline", "unsafe-eval", "*"} {
		if strings.Contains(policy, unsafe) {
			t.Errorf("the policy contains %q", unsafe)
		}
	}
}

func TestOnlyTheClientIsForOtherOrigins(t *testing.T) {
	h := Handler(Dev)
	for path, want := range map[string]string{"/client.js": "*", "/client/index.js": "*", "/": "", "/app/main.js": ""} {
		if got := get(t, h, "GET", path).Header().Get("Access-Control-Allow-Origin"); got != want {
			t.Errorf("%s: Access-Control-Allow-Origin is %q, want %q", path, got, want)
		}
	}
}

func TestRevalidation(t *testing.T) {
	h := Handler(Dev)
	first := get(t, h, "GET", "/style.css")
	etag := first.Header().Get("ETag")
	if etag == "" || first.Header().Get("Cache-Control") != "no-cache" {
		t.Fatalf("ETag %q, Cache-Control %q", etag, first.Header().Get("Cache-Control"))
	}
	if w := get(t, h, "GET", "/style.css", "If-None-Match", etag); w.Code != http.StatusNotModified || w.Body.Len() != 0 {
		t.Errorf("with the ETag: got %d and %d bytes, want 304 and none", w.Code, w.Body.Len())
	}
}

func TestAuthModeReachesThePage(t *testing.T) {
	for _, auth := range []Auth{Dev, JWT} {
		if body := get(t, Handler(auth), "GET", "/status").Body.String(); !strings.Contains(body, `data-auth="`+string(auth)+`"`) {
			t.Errorf("the board does not say data-auth=%q", auth)
		}
		if body := get(t, Handler(auth), "GET", "/").Body.String(); !strings.Contains(body, `data-auth="`+string(auth)+`"`) {
			t.Errorf("the page does not say data-auth=%q", auth)
		}
	}
	if body := get(t, Handler("other"), "GET", "/").Body.String(); !strings.Contains(body, `data-auth="jwt"`) {
		t.Error("an unknown auth must ask for a token")
	}
}

// Every module and asset that a file names must be embedded, and nothing may need what the policy forbids.
func TestFilesNameOnlyWhatIsServed(t *testing.T) {
	h := Handler(Dev)
	imports := regexp.MustCompile(`(?m)^(?:import|export)[^"';]*["'](\.[^"']+)["']`)
	inline := regexp.MustCompile(`(?i)<script(?:\s[^>]*)?>[^<]|<style|\son[a-z]+=|\sstyle=|javascript:`)
	markup := regexp.MustCompile(`\.(?:innerHTML|outerHTML)\b|insertAdjacentHTML|document\.write\b|\beval\(|new Function\b`)
	err := fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := files.ReadFile(name)
		if err != nil {
			return err
		}
		for _, m := range imports.FindAllStringSubmatch(string(text), -1) {
			target := "/" + filepath.ToSlash(filepath.Join(filepath.Dir(name), m[1]))
			if get(t, h, "GET", target).Code != 200 {
				t.Errorf("%s imports %s, which is not served", name, target)
			}
		}
		if strings.HasSuffix(name, ".html") && inline.Match(text) {
			t.Errorf("%s has inline script or style: %q", name, inline.Find(text))
		}
		if strings.HasSuffix(name, ".js") && markup.Match(text) {
			t.Errorf("%s makes markup from text: %q", name, markup.Find(text))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// The page is small on purpose.
func TestPageStaysUnder1500Lines(t *testing.T) {
	lines := 0
	for _, pattern := range []string{"index.html", "style.css", "app/*.js"} {
		names, err := fs.Glob(files, pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			text, err := files.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			lines += strings.Count(string(text), "\n")
		}
	}
	if lines > 1500 {
		t.Errorf("the page has %d lines, 1500 are allowed", lines)
	}
}

// The JavaScript tests run wherever Node is, so that `go test` alone says whether this folder is whole.
func TestJavaScript(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		t.Fatal("node is not installed: `scripts/need node` installs it, or names what is missing")
	}
	tests, err := filepath.Glob("*/test/*.test.js")
	if err != nil || len(tests) == 0 {
		t.Fatalf("no tests found: %v", err)
	}
	cmd := exec.CommandContext(t.Context(), node, append([]string{"--test", "--test-timeout=60000"}, tests...)...)
	cmd.Env = append(os.Environ(), "NO_COLOR=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("node --test: %v\n%s", err, out)
	}
}

// TypeScript reads the types in the client's comments, and emits what the package ships of them.
func TestTypes(t *testing.T) {
	if testing.Short() {
		t.Skip("installs TypeScript")
	}
	npm, err := exec.LookPath("npm")
	if err != nil {
		t.Fatal("npm is not installed: `scripts/need npm` installs it, or names what is missing")
	}
	run := func(args ...string) {
		cmd := exec.CommandContext(t.Context(), npm, args...)
		cmd.Dir = "client"
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("npm %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	if _, err := os.Stat("client/node_modules/typescript"); err != nil {
		run("ci", "--no-audit", "--no-fund")
	}
	out := t.TempDir()
	run("exec", "--", "tsc", "--outDir", out)
	index, err := os.ReadFile(filepath.Join(out, "index.d.ts"))
	if err != nil || !strings.Contains(string(index), "export declare function connect(") {
		t.Errorf("index.d.ts declares no connect (%v):\n%s", err, index)
	}
}
