// Package layout holds the tree to its architecture: which package may import
// which. The rules are one table; a test reads the imports of every source file
// of every module and holds them against it, so that a shortcut between
// services fails the check even where the compiler would take it.
package layout

import (
	"cmp"
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Module is the prefix of all our import paths.
const Module = "github.com/parley-chat/parley/"

// rule says what the packages of one path may import besides the standard
// library and libraries. A path that ends in /... stands for the folder and all
// below it, * for one folder's name. The first rule that fits a package is the
// one that counts.
type rule struct {
	packages string
	may      []string // ours: path below Module; others: import path
	never    []string // wins over may
	bare     bool     // not even libraries
}

// Broker clients and the like, by short names.
const (
	watermill   = "github.com/ThreeDotsLabs/watermill/..."
	redisstream = "github.com/ThreeDotsLabs/watermill-redisstream/..."
	goRedis     = "github.com/redis/go-redis/v9/..."
	natsGo      = "github.com/nats-io/nats.go/..."
	gorilla     = "github.com/gorilla/websocket"
	chi         = "github.com/go-chi/chi/v5/..."
	kong        = "github.com/alecthomas/kong"
	yaml        = "gopkg.in/yaml.v3"
	jwt         = "github.com/golang-jwt/jwt/v5/..."
	keyfunc     = "github.com/MicahParks/..."
)

// libraries decide nothing about the architecture: whoever is not bare may use them.
var libraries = []string{
	"github.com/prometheus/client_golang/...", "go.opentelemetry.io/...", "golang.org/x/...",
	"github.com/google/uuid", "github.com/cespare/xxhash/v2", "github.com/fxamacker/cbor/v2",
	"github.com/klauspost/compress/...",
}

// table is the import table of the architecture.
var table = []rule{
	{packages: "shared/event", bare: true},
	{packages: "shared/topic", may: []string{"shared/event", "shared/bus"}, bare: true},
	{packages: "shared/status", may: []string{"shared/beat", "shared/event", "shared/topic", "shared/bus"}, bare: true},
	{packages: "shared/beat", bare: true},
	{packages: "shared/bus", may: []string{"shared/beat", watermill}},
	{packages: "shared/bus/membus", may: []string{"shared/bus", watermill}},
	{packages: "shared/bus/redisbus", may: []string{"shared/beat", "shared/bus", "shared/redisclient", watermill, redisstream, goRedis}},
	{packages: "shared/bus/natsbus", may: []string{"shared/bus", watermill, natsGo}},
	{packages: "shared/bus/backend", may: []string{"shared/redisclient", "shared/bus", "shared/bus/membus", "shared/bus/redisbus", "shared/bus/natsbus"}},
	{packages: "shared/bus/bustest", may: []string{"shared/bus", watermill}},
	{packages: "shared/bus/*", may: []string{"shared/bus", watermill}},
	{packages: "shared/redisclient", may: []string{goRedis}},
	{packages: "shared/redistest", may: []string{goRedis}}, // a Redis for tests; tests alone import it
	{packages: "shared/natstest", may: []string{natsGo}},   // and a NATS
	{packages: "shared/tracing"},
	{packages: "shared/process", may: []string{kong, yaml}},

	{packages: "services/ingress/protocol", bare: true},
	{packages: "services/ingress/protocol/client", may: []string{"services/ingress/protocol", gorilla}},
	{packages: "services/ingress/protocol/...", may: []string{"services/ingress/protocol"}},
	{packages: "services/ingress/web", bare: true},
	{packages: "services/ingress/internal/socket", may: []string{"services/ingress/protocol", gorilla}},
	{packages: "services/ingress/internal/identity", may: []string{jwt, keyfunc}},
	{packages: "services/ingress/internal/...", may: []string{"shared/event", "services/ingress/protocol", "services/ingress/internal/..."}},

	{packages: "services/chat/internal/room", may: []string{"shared/event"}, bare: true},
	{packages: "services/chat/internal/store", may: []string{"shared/event", "shared/redisclient", "services/chat/internal/room", goRedis}},
	{packages: "services/chat/internal/...", may: []string{"shared/event", "services/chat/internal/..."}},
	{packages: "services/notifier/internal/presence", may: []string{"shared/event"}, bare: true},
	{packages: "services/notifier/internal/registry", may: []string{"shared/event", "shared/redisclient", "services/notifier/internal/presence", goRedis}},
	{packages: "services/notifier/internal/...", may: []string{"shared/event", "services/notifier/internal/..."}},

	{packages: "services/ingress/cmd/*", may: []string{"services/ingress", "shared/bus", "shared/bus/backend", "shared/process"}, bare: true},
	{packages: "services/chat/cmd/*", may: []string{"services/chat", "shared/bus", "shared/bus/backend", "shared/process"}, bare: true},
	{packages: "services/notifier/cmd/*", may: []string{"services/notifier", "shared/bus", "shared/bus/backend", "shared/process"}, bare: true},
	{packages: "services/ingress", may: []string{"shared/beat", "shared/event", "shared/topic", "shared/bus", "shared/status", "shared/process", "shared/tracing", "services/ingress/protocol/...", "services/ingress/web", "services/ingress/internal/...", chi}},
	{packages: "services/chat", may: []string{"shared/beat", "shared/event", "shared/topic", "shared/bus", "shared/status", "shared/process", "shared/tracing", "services/chat/internal/...", chi}},
	{packages: "services/notifier", may: []string{"shared/beat", "shared/event", "shared/topic", "shared/bus", "shared/status", "shared/process", "shared/tracing", "services/notifier/internal/...", chi}},

	// What stands around the services may use anything, but messaging only through the bus.
	{packages: "deploy/...", may: []string{"*/..."}, never: []string{watermill, redisstream}},
}

// testsMay is what tests may import besides what their package may: brokers to
// test against and libraries for testing, but no other service.
var testsMay = []string{"shared/...", watermill, goRedis, natsGo, gorilla, jwt, "go.uber.org/goleak", "pgregory.net/rapid", "github.com/anishathalye/porcupine"}

// finding is one import that the table does not allow.
type finding struct {
	file, imported, reason string
}

func (f finding) String() string {
	return fmt.Sprintf("%s imports %s: %s", f.file, f.imported, f.reason)
}

// check holds every Go file below root against the table.
func check(root string) ([]finding, error) {
	var findings []finding
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		if entry.IsDir() {
			if path != root && (strings.HasPrefix(name, ".") || name == "testdata" || name == "node_modules" || name == "bin") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		file, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		imports, err := importsOf(path)
		if err != nil {
			return err
		}
		findings = append(findings, checkFile(filepath.ToSlash(file), imports)...)
		return nil
	})
	return findings, err
}

func importsOf(path string) ([]string, error) {
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
	if err != nil {
		return nil, err
	}
	var imports []string
	for _, spec := range file.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return nil, err
		}
		imports = append(imports, imported)
	}
	return imports, nil
}

// checkFile holds the imports of one file, named relative to the root, against
// the table.
func checkFile(file string, imports []string) []finding {
	pkg := strings.TrimSuffix(file[:strings.LastIndexByte("/"+file, '/')], "/")
	i := slices.IndexFunc(table, func(r rule) bool { return fits(r.packages, pkg) })
	if i < 0 {
		return []finding{{file, cmp.Or(strings.Join(imports, ", "), "nothing"), "no rule for package " + pkg + ": add one to the table in deploy/layout and to docs/architecture.md"}}
	}
	test := strings.HasSuffix(file, "_test.go")
	var findings []finding
	for _, imported := range imports {
		if !allowed(table[i], pkg, imported, test) {
			findings = append(findings, finding{file, imported, explain(table[i])})
		}
	}
	return findings
}

func allowed(r rule, pkg, imported string, test bool) bool {
	ours, isOurs := strings.CutPrefix(imported, Module)
	if first, _, _ := strings.Cut(imported, "/"); !strings.Contains(first, ".") {
		return true // standard library
	}
	one := func(pattern string) bool { return fits(pattern, imported) || isOurs && fits(pattern, ours) }
	switch {
	case slices.ContainsFunc(r.never, one):
		return false
	case slices.ContainsFunc(r.may, one):
		return true
	case test && (ours == pkg || slices.ContainsFunc(testsMay, one) || slices.ContainsFunc(libraries, one)):
		return true
	}
	return !r.bare && slices.ContainsFunc(libraries, one)
}

func explain(r rule) string {
	may := r.packages + " may import the standard library"
	if len(r.may) > 0 {
		may += ", " + strings.Join(r.may, ", ")
	}
	if !r.bare {
		may += " and plain libraries"
	}
	if len(r.never) > 0 {
		may += ", but never " + strings.Join(r.never, ", ")
	}
	return may
}

// fits matches a path with a pattern: element by element, * for any one, /...
// at the end for whatever follows, also nothing.
func fits(pattern, path string) bool {
	base, deep := strings.CutSuffix(pattern, "/...")
	want, have := strings.Split(base, "/"), strings.Split(path, "/")
	if len(have) < len(want) || len(have) > len(want) && !deep {
		return false
	}
	for i := range want {
		if want[i] != "*" && want[i] != have[i] {
			return false
		}
	}
	return true
}
