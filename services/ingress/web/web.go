// Package web serves the chat page, the status board and the JavaScript client from the binary, under headers that leave injected script
// nothing to do. The files are plain ES modules and CSS: what is in this folder is what the browser gets.
package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"
)

//go:embed index.html style.css logo.svg client.js app/*.js client/*.js board/*.html board/*.css board/*.js
var files embed.FS

// Auth is how the page asks people who they are: Dev, or JWT, which any other value means, too.
type Auth string

// The ways of PARLEY_AUTH.
const (
	Dev Auth = "dev" // a name is enough
	JWT Auth = "jwt" // a token is asked for, or taken from the fragment #token=
)

const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self' ws: wss:; " +
	"img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"

// asset is one file as it goes out.
type asset struct {
	content     []byte
	contentType string
	etag        string
	public      bool // other origins may import it
}

// Handler serves `/` (the page), `/status` (the board), `/client.js` and what they load; anything else is 404. Everything is revalidated by ETag,
// so that a deploy never leaves a browser with half of the old page. It is safe for concurrent use.
func Handler(auth Auth) http.Handler {
	assets := load(auth)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		serve(w, r, assets)
	})
}

func serve(w http.ResponseWriter, r *http.Request, assets map[string]asset) {
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		h.Set("Allow", "GET, HEAD")
		http.Error(w, "only GET and HEAD are allowed here", http.StatusMethodNotAllowed)
		return
	}
	a, ok := assets[r.URL.Path]
	if !ok {
		http.Error(w, "nothing here; the page is at /, the socket at /ws", http.StatusNotFound)
		return
	}
	if a.public {
		h.Set("Access-Control-Allow-Origin", "*")
		h.Set("Cross-Origin-Resource-Policy", "cross-origin")
	}
	h.Set("Content-Type", a.contentType)
	h.Set("Cache-Control", "no-cache")
	h.Set("ETag", a.etag)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(a.content))
}

func load(auth Auth) map[string]asset {
	assets := map[string]asset{}
	for _, dir := range []string{".", "app", "client", "board"} {
		names, _ := fs.Glob(files, path.Join(dir, "*.*")) // errs only on a bad pattern
		for _, name := range names {
			content, _ := files.ReadFile(name) // embedded: it is there
			if path.Base(name) == "index.html" && auth != Dev {
				content = bytes.Replace(content, []byte(`data-auth="dev"`), []byte(`data-auth="jwt"`), 1)
			}
			assets[address(name)] = newAsset(name, content)
		}
	}
	return assets
}

func address(name string) string {
	switch name {
	case "index.html":
		return "/"
	case "board/index.html":
		return "/status"
	}
	return "/" + name
}

func newAsset(name string, content []byte) asset {
	sum := sha256.Sum256(content)
	return asset{
		content:     content,
		contentType: contentTypes[path.Ext(name)],
		etag:        `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`,
		public:      name == "client.js" || strings.HasPrefix(name, "client/"),
	}
}

// The host's own MIME table is not asked: on some it calls .js text/plain, which nosniff forbids to run.
var contentTypes = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
}
