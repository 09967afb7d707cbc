package deployment

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// engine is a Docker engine that has shown that it runs containers.
type engine struct {
	t       *testing.T
	env     []string // what the programs that talk to it need
	compose string   // the command that is Compose here
	dir     string   // for what images are made of
}

// findEngine returns the engine that runs here, or one of its own that ends with the
// test. The error says in a line why there is none.
func findEngine(t *testing.T) (*engine, error) {
	if _, err := exec.LookPath("docker"); err != nil {
		return nil, errors.New("no docker program is installed")
	}
	e := &engine{t: t, dir: t.TempDir()}
	if _, err := e.try(10*time.Second, "docker", "info"); err != nil {
		if e.env, err = ownEngine(t); err != nil {
			return nil, err
		}
	}
	if err := e.probe(); err != nil {
		return nil, err
	}
	// Not three times as long where others share the machine: it must leave time to go
	// on without it.
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	out, err := e.run(ctx, filepath.Join(project, "scripts/compose"))
	if err != nil {
		return nil, fmt.Errorf("no Compose: %w", err)
	}
	e.compose = lastLine(out)
	return e, nil
}

// probe runs the smallest image there can be, with a network and a port published.
func (e *engine) probe() error {
	dir := filepath.Join(e.dir, "probe")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := copyFile(filepath.Join(binaries, "chat"), filepath.Join(dir, "chat")); err != nil {
		return err
	}
	name := fmt.Sprintf("parley-probe-%d", os.Getpid())
	if err := e.build(dir, name, "FROM scratch\nCOPY chat /chat\nUSER 65532:65532\nENTRYPOINT [\"/chat\"]\n"); err != nil {
		return err
	}
	e.t.Cleanup(func() {
		_, _ = e.try(20*time.Second, "docker", "network", "rm", name)
		_, _ = e.try(20*time.Second, "docker", "image", "rm", "--force", name)
	})
	if _, err := e.try(30*time.Second, "docker", "network", "create", name); err != nil {
		return err
	}
	out, err := e.try(60*time.Second, "docker", "run", "--rm", "--network", name, "--publish", "127.0.0.1::8080",
		"--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges:true", name, "--version")
	if err == nil && !strings.Contains(out, "chat ") {
		err = fmt.Errorf("docker run: the container says %q", lastLine(out))
	}
	return err
}

// build makes an image of what is in the folder.
func (e *engine) build(dir, tag, dockerfile string) error {
	file := filepath.Join(e.dir, "Dockerfile")
	if err := os.WriteFile(file, []byte(dockerfile), 0o644); err != nil {
		return err
	}
	_, err := e.try(3*time.Minute, "docker", "build", "--file", file, "--tag", tag, dir)
	return err
}

// try runs a program in the project's root and returns all that it wrote. Its error
// is one line.
func (e *engine) try(d time.Duration, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience(d))
	defer cancel()
	return e.run(ctx, args...)
}

func (e *engine) run(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir = project
	cmd.Env = append(os.Environ(), "MAKEFLAGS=", "MFLAGS=", "MAKELEVEL=")
	cmd.Env = append(cmd.Env, e.env...)
	inGroup(cmd)
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("not done in time: %w", err)
		}
		err = fmt.Errorf("%s %s: %w: %s", filepath.Base(args[0]), strings.Join(args[1:min(2, len(args))], " "), err, lastLine(string(out)))
	}
	return string(out), err
}

// must is try that fails the test, with all that the program wrote.
func (e *engine) must(d time.Duration, args ...string) string {
	e.t.Helper()
	out, err := e.try(d, args...)
	if err != nil {
		e.t.Fatalf("%v: %v\n%s", args, err, out)
	}
	return out
}

func lastLine(out string) string {
	lines := strings.Split(strings.TrimSpace(out), "\n")
	return lines[len(lines)-1]
}

func copyFile(from, to string) error {
	raw, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return os.WriteFile(to, raw, 0o755)
}
