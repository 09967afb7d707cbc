package manifests

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// The project's folders, seen from this package.
const (
	deploy   = ".."
	services = "../../services"
)

var binaries string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "parley-manifests-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binaries = dir
	for _, service := range ours {
		if err := goDo(filepath.Join(services, service), "build", "-o", dir+string(filepath.Separator), "./cmd/"+service); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return m.Run()
}

// ours are the services, and programs by the same names.
var ours = []string{"ingress", "chat", "notifier"}

func goDo(dir string, args ...string) error {
	cmd := exec.Command("go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go %v in %s: %w\n%s", args, dir, err, out)
	}
	return nil
}

var setting = regexp.MustCompile(`\[(PARLEY_[A-Z_]+)\]`)

// settings are the environment variables that a service knows, as its help has them.
func settings(t *testing.T, service string) map[string]bool {
	t.Helper()
	out, err := exec.Command(filepath.Join(binaries, service), "--help").Output()
	if err != nil {
		t.Fatal(err)
	}
	// The help is broken into lines, so that a name may be, too.
	known := map[string]bool{}
	for _, m := range setting.FindAllStringSubmatch(string(out), -1) {
		known[m[1]] = true
	}
	if len(known) < 10 {
		t.Fatalf("%s --help shows %d settings", service, len(known))
	}
	return known
}

// accepts starts the service's program far enough to check its settings, and fails the
// test for what it does not know or take. Paths below /run are looked for in files.
func accepts(t *testing.T, service string, env map[string]string, files string) {
	t.Helper()
	known := settings(t, service)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(binaries, service), "--healthcheck=live", "--admin=127.0.0.1:1")
	cmd.Env = []string{}
	for name, value := range env {
		if !strings.HasPrefix(name, "PARLEY_") {
			continue
		}
		if !known[name] {
			t.Errorf("%s is given %s, which is no setting of it", service, name)
		}
		if strings.HasSuffix(name, "_FILE") {
			value = filepath.Join(files, filepath.Base(value))
		}
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	out, err := cmd.CombinedOutput()
	var ended *exec.ExitError
	if !errors.As(err, &ended) || ended.ExitCode() != 1 { // 1: nobody answers there; 2: a setting is wrong
		t.Errorf("%s does not take what it is given: %v: %s", service, err, out)
	}
}

// duration is a setting's value.
func duration(t *testing.T, env map[string]string, name string) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(env[name])
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return d
}

// seen is what an edge takes beyond its delay and drain: clients that do not hang up
// have 10 s, and the bus is closed.
const seen = 12 * time.Second

// endsIn is how long a service may need to end after SIGTERM.
func endsIn(t *testing.T, service string, env map[string]string) time.Duration {
	if service != "ingress" {
		return 15 * time.Second
	}
	return duration(t, env, "PARLEY_DRAIN_DELAY") + duration(t, env, "PARLEY_DRAIN") + seen
}

// madeSecrets makes secrets as `make secrets` does.
func madeSecrets(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "secrets")
	if err := goDo(deploy, "run", "./cmd/secure", "-dir", dir); err != nil {
		t.Fatal(err)
	}
	return dir
}
