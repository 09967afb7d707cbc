package layout

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// root is the project, seen from this package.
const root = "../.."

// maxMain is how many lines a service's main may have: more is a decision that
// belongs elsewhere.
const maxMain = 40

func TestImports(t *testing.T) {
	findings, err := check(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range findings {
		t.Error(f)
	}
}

func TestMainsAreShort(t *testing.T) {
	mains, err := filepath.Glob(root + "/services/*/cmd/*/main.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range mains {
		if lines := bytes.Count(read(t, path), []byte("\n")); lines > maxMain {
			t.Errorf("%s has %d lines; a main has at most %d", path, lines, maxMain)
		}
	}
}

// TestModules holds go.mod files to what import rules cannot see: a module that
// is used from outside must not need a replace, and services do not know each other.
func TestModules(t *testing.T) {
	work := string(read(t, root+"/go.work"))
	for _, module := range []string{"shared", "services/ingress", "services/ingress/protocol", "services/chat", "services/notifier", "deploy", "deploy/manifests"} {
		mod := string(read(t, filepath.Join(root, module, "go.mod")))
		if !strings.HasPrefix(mod, "module "+Module+module+"\n") {
			t.Errorf("%s/go.mod does not begin with module %s%s", module, Module, module)
		}
		if !strings.Contains(work, "./"+module+"\n") {
			t.Errorf("go.work does not use ./%s", module)
		}
		if module == "services/ingress/protocol" && strings.Contains(mod, "replace ") {
			t.Errorf("%s/go.mod has a replace: nobody could import the client", module)
		}
		if strings.HasPrefix(module, "deploy") {
			continue
		}
		for _, other := range []string{"services/ingress", "services/chat", "services/notifier", "deploy"} {
			if other != module && strings.Contains(mod, Module+other+" ") {
				t.Errorf("%s/go.mod knows %s; only deploy knows services", module, other)
			}
		}
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// TestTable tests the test: what the table refuses and what it lets through.
func TestTable(t *testing.T) {
	for _, c := range []struct {
		file, imported string
		ok             bool
	}{
		{"shared/event/event.go", "time", true},
		{"shared/event/event.go", "github.com/google/uuid", false},
		{"shared/event/event_test.go", "pgregory.net/rapid", true},
		{"shared/topic/topic.go", Module + "shared/bus/redisbus", false},
		{"shared/bus/bus.go", Module + "shared/event", false},
		{"shared/bus/bus.go", "github.com/ThreeDotsLabs/watermill/message", true},
		{"shared/bus/bus.go", "github.com/redis/go-redis/v9", false},
		{"shared/bus/membus/membus.go", Module + "shared/bus/redisbus", false},
		{"shared/bus/redisbus/redisbus.go", "github.com/ThreeDotsLabs/watermill-redisstream/pkg/redisstream", true},
		{"shared/bus/redisbus/lease.go", Module + "shared/redisclient", true},
		{"shared/bus/natsbus/natsbus.go", "github.com/nats-io/nats.go/jetstream", true},
		{"shared/bus/natsbus/natsbus_test.go", "github.com/ThreeDotsLabs/watermill-redisstream/pkg/redisstream", false},
		{"shared/process/process.go", Module + "shared/bus", false},
		{"shared/new/new.go", "time", false},
		{"services/chat/chat.go", Module + "shared/bus", true},
		{"services/chat/chat.go", Module + "shared/bus/backend", false},
		{"services/chat/chat.go", Module + "services/notifier", false},
		{"services/chat/chat.go", "github.com/prometheus/client_golang/prometheus", true},
		{"services/chat/chat_test.go", Module + "shared/bus/membus", true},
		{"services/chat/chat_test.go", Module + "services/notifier", false},
		{"services/chat/internal/room/room.go", "github.com/redis/go-redis/v9", false},
		{"services/chat/internal/room/room.go", Module + "shared/event", true},
		{"services/chat/internal/store/redis.go", "github.com/redis/go-redis/v9", true},
		{"services/chat/internal/store/redis.go", Module + "shared/bus", false},
		{"services/chat/cmd/chat/main.go", Module + "shared/bus/backend", true},
		{"services/chat/cmd/chat/main.go", Module + "services/chat/internal/store", false},
		{"services/ingress/protocol/frame.go", Module + "shared/event", false},
		{"services/ingress/protocol/client/client.go", "github.com/gorilla/websocket", true},
		{"services/ingress/internal/socket/socket.go", Module + "shared/bus", false},
		{"services/ingress/ingress.go", "github.com/gorilla/websocket", false},
		{"deploy/e2e/e2e_test.go", Module + "services/ingress/protocol/client", true},
		{"deploy/standalone/standalone.go", Module + "services/chat", true},
		{"deploy/standalone/standalone.go", "github.com/ThreeDotsLabs/watermill/message", false},
	} {
		if findings := checkFile(c.file, []string{c.imported}); (len(findings) == 0) != c.ok {
			t.Errorf("%s importing %s: ok = %t, want %t (%v)", c.file, c.imported, len(findings) == 0, c.ok, findings)
		}
	}
}
