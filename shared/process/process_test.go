package process

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// lockedBuffer is written by the program and read by the test after it ended.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// start executes a program and returns its exit code and what it wrote.
func start(t *testing.T, signals chan os.Signal, exit func(int), args []string, run func(context.Context, *Process) error) (int, string) {
	t.Helper()
	var cfg demo
	var out lockedBuffer
	src := Source{Args: append([]string{"--admin=127.0.0.1:0"}, args...), Getenv: func(string) string { return "" }, Stdout: &out, Stderr: &out}
	code := execute(program, &cfg, src, signals, exit, run)
	return code, out.String()
}

func TestExitCodes(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	for name, c := range map[string]struct {
		args []string
		err  error
		code int
		says string
	}{
		"clean":             {code: ExitClean},
		"help":              {args: []string{"--help"}, code: ExitClean, says: "Usage: demo"},
		"failure, one line": {err: errors.New("no\nway"), code: ExitFailure, says: "demo: no; way\n"},
		"bad setting":       {args: []string{"--partitions=x"}, code: ExitConfig, says: "demo: PARLEY_PARTITIONS (--partitions): "},
		"bad setting later": {err: BadSetting("PARLEY_AUTH", "no"), code: ExitConfig, says: "demo: PARLEY_AUTH (--auth): no\n"},
		"busy port":         {args: []string{"--admin=" + busy.Addr().String()}, code: ExitFailure, says: "demo: PARLEY_ADMIN (--admin): listen tcp "},
		"no admin":          {args: []string{"--admin=off"}, code: ExitClean},
	} {
		t.Run(name, func(t *testing.T) {
			code, out := start(t, nil, nil, c.args, func(context.Context, *Process) error { return c.err })
			if code != c.code || !strings.Contains(out, c.says) {
				t.Errorf("exit %d, want %d with %q:\n%s", code, c.code, c.says, out)
			}
		})
	}
}

func TestFirstSignalDrains(t *testing.T) {
	signals := make(chan os.Signal, 2)
	code, out := start(t, signals, nil, nil, func(ctx context.Context, p *Process) error {
		if f := p.Health.Failing(); len(f) != 1 || f[0].Check != "start" {
			t.Errorf("ready before it has said what that takes: %v", f)
		}
		p.Health.Add("own", func() error { return nil })
		if f := p.Health.Failing(); len(f) != 0 {
			t.Errorf("not ready when all is well: %v", f)
		}
		signals <- syscall.SIGTERM
		<-ctx.Done()
		if f := p.Health.Failing(); len(f) != 1 || f[0].Check != "drain" {
			t.Errorf("ready while draining: %v", f)
		}
		return ctx.Err()
	})
	if code != ExitClean || !strings.Contains(out, `"msg":"draining"`) {
		t.Errorf("exit %d:\n%s", code, out)
	}
}

func TestSecondSignalEnds(t *testing.T) {
	signals := make(chan os.Signal, 2)
	exited := make(chan int, 1)
	_, out := start(t, signals, func(code int) { exited <- code }, nil, func(ctx context.Context, _ *Process) error {
		signals <- syscall.SIGTERM
		signals <- syscall.SIGINT
		if code := <-exited; code != ExitFailure {
			t.Errorf("exit %d", code)
		}
		return nil
	})
	if !strings.Contains(out, "demo: second signal") {
		t.Error(out)
	}
}

func TestFailureAfterSignalCounts(t *testing.T) {
	signals := make(chan os.Signal, 2)
	code, _ := start(t, signals, nil, nil, func(ctx context.Context, _ *Process) error {
		signals <- syscall.SIGTERM
		<-ctx.Done()
		return errors.New("lost something")
	})
	if code != ExitFailure {
		t.Errorf("exit %d", code)
	}
}
