package deployment

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"
)

// ownEngine starts a Docker engine for this test alone, and returns the settings with
// which programs find it. All that it stores is in a folder that goes with it, and it
// leaves the machine's network as it is: no rules, no forwarding; ports are published
// by a program of its own.
func ownEngine(t *testing.T) ([]string, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("no Docker engine answers, and root alone can start one")
	}
	path, err := exec.LookPath("dockerd")
	if err != nil {
		return nil, errors.New("no Docker engine answers, and dockerd is not installed")
	}
	dir, err := os.MkdirTemp("", "parley-engine-") // short: sockets have short names
	if err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	host := "unix://" + filepath.Join(dir, "docker.sock")
	cmd := exec.Command(path, "--host="+host, "--data-root="+filepath.Join(dir, "data"), "--exec-root="+filepath.Join(dir, "run"),
		"--pidfile="+filepath.Join(dir, "pid"), "--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false")
	cmd.Stdout, cmd.Stderr = log, log
	// It ends when the tests do, however they end.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	ended, err := startOnThread(cmd)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(patience(60 * time.Second)):
			_ = cmd.Process.Kill()
			<-ended
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Logf("the engine's folder stays: %v", err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience(60*time.Second))
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := exec.CommandContext(ctx, "docker", "--host", host, "info").Run()
		if err == nil {
			return settingsFor(host)
		}
		select {
		case <-tick.C:
			continue
		case <-ended:
		case <-ctx.Done():
		}
		said, _ := os.ReadFile(log.Name())
		return nil, fmt.Errorf("the Docker engine does not start: %s", lastLine(string(said)))
	}
}

func settingsFor(host string) ([]string, error) {
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		return nil, err
	}
	return []string{"DOCKER_HOST=" + host, fmt.Sprintf("EDGE_FILES=%d", min(files.Max, 200_000))}, nil
}

// startOnThread starts the program from a thread that lasts as long as the program
// does: a thread's end is what Pdeathsig is about. The channel is closed at its end.
func startOnThread(cmd *exec.Cmd) (<-chan struct{}, error) {
	started, ended := make(chan error), make(chan struct{})
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(ended)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // its exit code says nothing after a signal
		}
	}()
	return ended, <-started
}

// inGroup has the program's children end with it when its time is over.
func inGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}

// TestEngineThatDoesNotStart: the reason is one line, and nothing stays.
func TestEngineThatDoesNotStart(t *testing.T) {
	bin, temp := t.TempDir(), t.TempDir()
	script := "#!/bin/sh\necho starting\necho no: this machine does not let it\nexit 1\n"
	if err := os.WriteFile(filepath.Join(bin, "dockerd"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin)
	t.Setenv("TMPDIR", temp)
	want := "the Docker engine does not start: no: this machine does not let it"
	if os.Geteuid() != 0 {
		want = "no Docker engine answers, and root alone can start one"
	}
	t.Run("start", func(t *testing.T) {
		if _, err := ownEngine(t); err == nil || err.Error() != want {
			t.Errorf("%v, want: %s", err, want)
		}
	})
	if left, err := filepath.Glob(filepath.Join(temp, "*")); err != nil || len(left) > 0 {
		t.Errorf("it leaves %v %v", left, err)
	}
}
