// Package natstest starts real NATS servers with JetStream for tests: one per
// test, on a free port of 127.0.0.1, with its files in a temporary directory, so
// that what was acknowledged survives a kill.
package natstest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// startTimeout is how long a server may take until JetStream answers, recovery
// included. The machines that run tests are slow and shared.
const startTimeout = 30 * time.Second

// Options of a server; the zero value is what tests want as a rule.
type Options struct {
	Args []string // more arguments for nats-server, such as "--user", "a", "--pass", "b"
	User string   // user information of the URL, such as "a:b@"; for servers that ask for it
}

// Server is a running nats-server. Its methods fail the test when they cannot do
// what they say; they are for one goroutine at a time.
type Server struct {
	URL  string // nats://127.0.0.1:port
	Addr string // 127.0.0.1:port
	Dir  string // where it keeps its files and its log, nats.log
	Name string // its own

	t       testing.TB
	binary  string
	args    []string
	process *exec.Cmd
	output  *bytes.Buffer // what it wrote before it had a log
	ended   chan struct{} // closed when the process has been waited for
}

// Start starts a server, waits until JetStream answers, and ends it with the test.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	s := &Server{t: t, binary: find(t), args: o.Args, Dir: t.TempDir()}
	t.Cleanup(s.Kill)
	var err error
	for range 5 { // the free port may be taken by somebody else before the server has it
		s.Addr = freeAddr(t)
		s.URL = "nats://" + o.User + s.Addr
		s.Name = fmt.Sprintf("test-%d-%s", os.Getpid(), s.Addr)
		if err = s.start(); err == nil {
			return s
		}
	}
	t.Fatalf("start nats-server: %v", err)
	return nil
}

// StartCluster starts servers that are one JetStream cluster, waits until it has a
// leader, and ends them with the test. Streams in it can have as many replicas.
func StartCluster(t testing.TB, size int) []*Server {
	t.Helper()
	var err error
	for range 5 {
		servers := cluster(t, size)
		if err = startAll(servers); err == nil {
			return servers
		}
		for _, s := range servers {
			s.kill()
		}
	}
	t.Fatalf("start a cluster of nats-server: %v", err)
	return nil
}

func cluster(t testing.TB, size int) []*Server {
	routes := make([]string, size)
	for i := range routes {
		routes[i] = "nats://" + freeAddr(t)
	}
	servers := make([]*Server, size)
	for i := range servers {
		s := &Server{t: t, binary: find(t), Dir: t.TempDir(), Addr: freeAddr(t)}
		s.URL = "nats://" + s.Addr
		s.Name = fmt.Sprintf("test-%d-%s", os.Getpid(), s.Addr)
		s.args = []string{"--cluster_name", "test-" + routes[0], "--cluster", routes[i], "--routes", strings.Join(routes, ",")}
		servers[i] = s
		t.Cleanup(s.Kill)
	}
	return servers
}

func startAll(servers []*Server) error {
	for _, s := range servers {
		if err := s.launch(); err != nil {
			return err
		}
	}
	for _, s := range servers { // none is ready before there is a majority
		if err := s.await(); err != nil {
			return err
		}
	}
	return nil
}

// Kill ends the server as kill -9 does, and waits for its end. It may have been killed already;
// one that has ended by itself, as by a crash, fails the test with what it wrote.
func (s *Server) Kill() {
	s.t.Helper()
	if s.process == nil {
		return
	}
	select {
	case <-s.ended:
		log, _ := os.ReadFile(s.log())
		s.t.Errorf("nats-server has ended by itself: %v; it wrote:\n%s%s", s.process.ProcessState, s.output, log)
	default:
	}
	s.kill()
}

func (s *Server) kill() {
	s.t.Helper()
	if s.process == nil {
		return
	}
	if err := s.process.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		s.t.Errorf("kill nats-server: %v", err)
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
	s.t.Fatalf("start nats-server again: %v", err)
}

// Pause stops the server with SIGSTOP: connections stay open and nothing answers. It
// returns when all its threads stand still.
func (s *Server) Pause() {
	s.t.Helper()
	s.signal(syscall.SIGSTOP)
	var status syscall.WaitStatus
	for {
		_, err := syscall.Wait4(s.process.Process.Pid, &status, syscall.WUNTRACED, nil)
		if err == nil && status.Stopped() {
			return
		}
		if !errors.Is(err, syscall.EINTR) {
			s.t.Fatalf("pause nats-server: %v, status %v", err, status)
		}
	}
}

// Resume undoes Pause.
func (s *Server) Resume() { s.t.Helper(); s.signal(syscall.SIGCONT) }

// Flush removes everything while clients stay connected: streams are deleted, buckets
// are emptied. (nats-server 2.9 crashes when a bucket is deleted that is being
// read.)
func (s *Server) Flush() {
	s.t.Helper()
	js := s.JetStream()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	names := js.StreamNames(ctx)
	for name := range names.Name() {
		if err := flush(ctx, js, name); err != nil {
			s.t.Fatalf("flush stream %s: %v", name, err)
		}
	}
	if err := names.Err(); err != nil {
		s.t.Fatalf("list streams: %v", err)
	}
}

func flush(ctx context.Context, js jetstream.JetStream, name string) error {
	if !strings.HasPrefix(name, "KV_") {
		return js.DeleteStream(ctx, name)
	}
	stream, err := js.Stream(ctx, name)
	if err != nil {
		return err
	}
	return stream.Purge(ctx)
}

// Wipe kills the server and starts it again on the same port, without its files.
func (s *Server) Wipe() {
	s.t.Helper()
	s.Kill()
	if err := os.RemoveAll(s.store()); err != nil {
		s.t.Fatalf("wipe nats-server: %v", err)
	}
	s.Run()
}

// Client is a new client of the server, closed with the test.
func (s *Server) Client() *nats.Conn {
	s.t.Helper()
	nc, err := nats.Connect(s.URL, nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond))
	if err != nil {
		s.t.Fatalf("connect to nats-server: %v", err)
	}
	s.t.Cleanup(nc.Close)
	return nc
}

// JetStream is a new client's JetStream.
func (s *Server) JetStream() jetstream.JetStream {
	s.t.Helper()
	js, err := jetstream.New(s.Client())
	if err != nil {
		s.t.Fatal(err)
	}
	return js
}

func (s *Server) signal(sig syscall.Signal) {
	s.t.Helper()
	if s.process == nil {
		s.t.Fatalf("send %v to nats-server: it is not running", sig)
	}
	if err := s.process.Process.Signal(sig); err != nil {
		s.t.Fatalf("send %v to nats-server: %v", sig, err)
	}
}

func (s *Server) start() error {
	if err := s.launch(); err != nil {
		return err
	}
	return s.await()
}

func (s *Server) launch() error {
	host, port, err := net.SplitHostPort(s.Addr)
	if err != nil {
		return err
	}
	args := append([]string{
		"--addr", host, "--port", port, "--name", s.Name, "--log", s.log(),
		"--jetstream", "--store_dir", s.store(),
	}, s.args...)
	process := exec.Command(s.binary, args...)
	s.output = new(bytes.Buffer)
	process.Stdout, process.Stderr = s.output, s.output
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

func (s *Server) log() string   { return filepath.Join(s.Dir, "nats.log") }
func (s *Server) store() string { return filepath.Join(s.Dir, "store") }

func (s *Server) await() error {
	if err := s.awaitJetStream(); err != nil {
		s.kill()
		log, _ := os.ReadFile(s.log())
		return fmt.Errorf("%w; it wrote:\n%s%s", err, s.output, log)
	}
	return nil
}

// awaitJetStream waits until JetStream answers and the server is ours: on a port that
// was free a moment ago somebody else's may answer.
func (s *Server) awaitJetStream() error {
	deadline := time.Now().Add(startTimeout)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		err := s.ask()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("no answer in %v: %w", startTimeout, err)
		}
		select {
		case <-s.ended:
			return errors.New("it ended at once")
		case <-tick.C:
		}
	}
}

func (s *Server) ask() error {
	nc, err := nats.Connect(s.URL, nats.NoReconnect(), nats.Timeout(startTimeout))
	if err != nil {
		return err
	}
	defer nc.Close()
	if got := nc.ConnectedServerName(); got != s.Name {
		return fmt.Errorf("server %s answers on its port, not ours (%s)", got, s.Name)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_, err = js.AccountInfo(ctx)
	return err
}

func find(t testing.TB) string {
	t.Helper()
	if path, err := exec.LookPath("nats-server"); err == nil {
		return path
	}
	for _, path := range []string{"/usr/sbin/nats-server", "/usr/local/bin/nats-server", "/opt/homebrew/bin/nats-server"} {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	t.Fatal("nats-server is neither in PATH nor in /usr/sbin: install NATS 2.9 or newer to run this test")
	return ""
}

func freeAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("find a free port: %v", err)
	}
	defer func() { _ = l.Close() }()
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
}
