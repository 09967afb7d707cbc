// Package redistest starts real Redis servers for tests: one per test, on a free
// port of 127.0.0.1, in a temporary directory, with appendonly and
// `appendfsync always`, so that what was acknowledged survives a kill.
package redistest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// startTimeout is how long a server may take to answer its first PING, loading
// included. The machines that run tests are slow and shared.
const startTimeout = 30 * time.Second

// Options of a server; the zero value is what tests want as a rule.
type Options struct {
	Args []string // more arguments for redis-server, such as "--maxmemory", "2mb"; they win over the defaults
}

// Server is a running redis-server. Its methods fail the test when they cannot do
// what they say; they are for one goroutine at a time.
type Server struct {
	URL  string // redis://127.0.0.1:port/0
	Addr string // 127.0.0.1:port
	Dir  string // where it keeps its files and its log, redis.log

	t       testing.TB
	binary  string
	args    []string
	process *exec.Cmd
	ended   chan struct{} // closed when the process has been waited for
}

// Start starts a server, waits until it answers, and ends it with the test.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	s := &Server{t: t, binary: find(t), args: o.Args, Dir: t.TempDir()}
	t.Cleanup(s.Kill)
	var err error
	for range 5 { // the free port may be taken by somebody else before the server has it
		s.Addr = freeAddr(t)
		s.URL = "redis://" + s.Addr + "/0"
		if err = s.start(); err == nil {
			return s
		}
	}
	t.Fatalf("start redis-server: %v", err)
	return nil
}

// Kill ends the server as kill -9 does, and waits for its end. It may be dead already.
func (s *Server) Kill() {
	s.t.Helper()
	if s.process == nil {
		return
	}
	if err := s.process.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		s.t.Errorf("kill redis-server: %v", err)
	}
	<-s.ended
	s.process = nil
}

// Restart kills the server and starts it again on the same port and files.
func (s *Server) Restart() {
	s.t.Helper()
	s.Kill()
	s.Run()
}

// Run starts the server again after Kill, on the same port and files.
func (s *Server) Run() {
	s.t.Helper()
	var err error
	for range 5 {
		if err = s.start(); err == nil {
			return
		}
	}
	s.t.Fatalf("start redis-server again: %v", err)
}

// Pause stops the server with SIGSTOP: connections stay open and nothing answers.
func (s *Server) Pause() { s.t.Helper(); s.signal(syscall.SIGSTOP) }

// Resume undoes Pause.
func (s *Server) Resume() { s.t.Helper(); s.signal(syscall.SIGCONT) }

// Flush removes everything from it.
func (s *Server) Flush() {
	s.t.Helper()
	if err := s.Client().FlushAll(context.Background()).Err(); err != nil {
		s.t.Fatalf("flush Redis: %v", err)
	}
}

// Client is a new client of the server, closed with the test.
func (s *Server) Client() *redis.Client {
	client := s.client()
	s.t.Cleanup(func() { _ = client.Close() })
	return client
}

func (s *Server) client() *redis.Client {
	return redis.NewClient(&redis.Options{Addr: s.Addr, ContextTimeoutEnabled: true, DisableIdentity: true})
}

func (s *Server) signal(sig syscall.Signal) {
	s.t.Helper()
	if s.process == nil {
		s.t.Fatalf("send %v to redis-server: it is not running", sig)
	}
	if err := s.process.Process.Signal(sig); err != nil {
		s.t.Fatalf("send %v to redis-server: %v", sig, err)
	}
}

func (s *Server) start() error {
	if err := s.launch(); err != nil {
		return err
	}
	if err := s.awaitPing(s.process.Process.Pid); err != nil {
		s.Kill()
		log, _ := os.ReadFile(filepath.Join(s.Dir, "redis.log"))
		return fmt.Errorf("%w; it wrote:\n%s", err, log)
	}
	return nil
}

// launch starts the process and does not wait until it answers.
func (s *Server) launch(more ...string) error {
	host, port, err := net.SplitHostPort(s.Addr)
	if err != nil {
		return err
	}
	logFile := filepath.Join(s.Dir, "redis.log")
	args := append([]string{
		"--bind", host, "--port", port, "--dir", s.Dir, "--logfile", logFile,
		"--save", "", "--appendonly", "yes", "--appendfsync", "always", "--repl-diskless-sync-delay", "0",
	}, append(slices.Clone(s.args), more...)...)
	process := exec.Command(s.binary, args...)
	output, err := os.OpenFile(logFile, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer func() { _ = output.Close() }()
	process.Stdout, process.Stderr = output, output // what it says before it has read its settings
	if err := process.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = process.Wait() // killed by us as a rule
	}()
	s.process, s.ended = process, ended
	return nil
}

// awaitPing waits until the server answers and is the process with this id: on a
// port that was free a moment ago somebody else's server may answer.
func (s *Server) awaitPing(pid int) error {
	client := s.client()
	defer func() { _ = client.Close() }()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		err := client.Ping(ctx).Err()
		if err == nil {
			return checkPID(ctx, client, pid)
		}
		select {
		case <-s.ended:
			return errors.New("it ended at once")
		case <-ctx.Done():
			return fmt.Errorf("no answer in %v: %w", startTimeout, err)
		case <-tick.C:
		}
	}
}

func checkPID(ctx context.Context, client *redis.Client, pid int) error {
	info, err := client.InfoMap(ctx, "server").Result()
	if err != nil {
		return err
	}
	if got := info["Server"]["process_id"]; got != strconv.Itoa(pid) {
		return fmt.Errorf("process %s answers on its port, not ours (%d)", got, pid)
	}
	return nil
}

func find(t testing.TB) string {
	t.Helper()
	if path, err := exec.LookPath("redis-server"); err == nil {
		return path
	}
	for _, path := range []string{"/usr/bin/redis-server", "/usr/local/bin/redis-server", "/opt/homebrew/bin/redis-server"} {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	t.Fatal("redis-server is neither in PATH nor in /usr/bin: install Redis 7.0 or newer to run this test")
	return ""
}

func freeAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("find a free port: %v", err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}
