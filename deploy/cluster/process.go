package cluster

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"
)

// Process is one program of the cluster. It can be ended and started again, with
// the same settings and ports. Safe for concurrent use.
type Process struct {
	Name    string // "ingress-1", "redis"
	Kind    string // the program: "ingress", "chat", "notifier", "redis", "nats"
	URL     string // where clients connect; empty where there are none
	Admin   string // http://host:port of its operators' listener; empty for brokers
	LogFile string // what it wrote, over all its starts

	path string
	args []string
	env  []string
	up   func(context.Context) error // says whether it serves
	end  syscall.Signal              // what ends it; 0: SIGTERM

	mu   sync.Mutex
	cmd  *exec.Cmd
	done chan struct{} // closed when cmd has ended
	err  error         // of cmd, once done
}

// Start starts the process and waits until it serves or ctx ends.
func (p *Process) Start(ctx context.Context) error { return p.StartWith(ctx) }

// StartWith is Start with more arguments, for this start only.
func (p *Process) StartWith(ctx context.Context, args ...string) error {
	if err := p.launch(args...); err != nil {
		return err
	}
	return p.WaitUp(ctx)
}

func (p *Process) launch(more ...string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil && !p.ended() {
		return fmt.Errorf("%s runs already, with process id %d", p.Name, p.cmd.Process.Pid)
	}
	log, err := os.OpenFile(p.LogFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(p.path, append(slices.Clone(p.args), more...)...)
	cmd.Env = append(os.Environ(), p.env...)
	cmd.Dir = filepath.Dir(p.LogFile)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = childAttributes()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", p.Name, err)
	}
	done := make(chan struct{})
	p.cmd, p.done, p.err = cmd, done, nil
	go func() {
		err := cmd.Wait()
		p.mu.Lock()
		p.err = err
		p.mu.Unlock()
		close(done)
	}()
	return nil
}

// WaitUp waits until the process serves. It fails early when the process ends.
func (p *Process) WaitUp(ctx context.Context) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := p.up(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s is not up: %w\n%s", p.Name, err, p.Tail(2000))
		case <-p.Done():
			return fmt.Errorf("%s ended while starting: %w\n%s", p.Name, p.Err(), p.Tail(2000))
		case <-tick.C:
		}
	}
}

// PID is the process id of the newest start; 0 before the first.
func (p *Process) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return 0
	}
	return p.cmd.Process.Pid
}

// Running tells whether it was started and has not ended.
func (p *Process) Running() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cmd != nil && !p.ended()
}

// Done is closed when the newest start has ended.
func (p *Process) Done() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.done
}

// Err is how the newest start ended; nil for exit code 0 or while it runs.
func (p *Process) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

func (p *Process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Kill ends it with SIGKILL and waits.
func (p *Process) Kill() { _ = p.Signal(syscall.SIGKILL); p.wait() }

// Pause stops it with SIGSTOP.
func (p *Process) Pause() error { return p.Signal(syscall.SIGSTOP) }

// Resume lets it go on after Pause.
func (p *Process) Resume() error { return p.Signal(syscall.SIGCONT) }

// Stop ends it with SIGTERM and waits, by force when ctx ends first.
func (p *Process) Stop(ctx context.Context) error {
	if !p.Running() {
		return nil
	}
	_ = p.Signal(cmp.Or(p.end, syscall.SIGTERM))
	select {
	case <-p.Done():
		if p.Kind == "nats" {
			return nil // nats-server ends with 1 after SIGTERM
		}
		return p.Err()
	case <-ctx.Done():
		p.Kill()
		return fmt.Errorf("%s did not end after SIGTERM: %w", p.Name, ctx.Err())
	}
}

// Signal sends a signal to it, if it runs.
func (p *Process) Signal(s syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil || p.ended() {
		return os.ErrProcessDone
	}
	return p.cmd.Process.Signal(s)
}

func (p *Process) wait() {
	if done := p.Done(); done != nil {
		<-done
	}
}

// Tail is the end of its log, for error messages.
func (p *Process) Tail(bytes int64) string {
	f, err := os.Open(p.LogFile)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > bytes {
		_, _ = f.Seek(-bytes, io.SeekEnd)
	}
	out, _ := io.ReadAll(f)
	return string(out)
}

// Faults are the lines of its log that no healthy run writes: reports of the race
// detector and panics.
func (p *Process) Faults() ([]string, error) {
	raw, err := os.ReadFile(p.LogFile)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []string
	for _, sign := range []string{"WARNING: DATA RACE", "\npanic: ", "\nfatal error: ", "panicked"} {
		if i := bytes.Index(raw, []byte(sign)); i >= 0 {
			out = append(out, string(raw[i:min(i+4000, len(raw))]))
		}
	}
	return out, nil
}

// Launch starts the process and does not wait until it serves.
func (p *Process) Launch() error { return p.launch() }

// ready asks /readyz on the operators' listener.
func ready(admin string) func(context.Context) error { return Answers(admin + "/readyz") }

// get wants 200 for a GET of the URL; its error has the answer's beginning.
func get(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s %s", url, res.Status, body[:min(len(body), 1000)])
	}
	return err
}
