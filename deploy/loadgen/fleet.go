package loadgen

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/rpc"
	"os"
	"os/exec"
	"sync"

	"github.com/parley-chat/parley/deploy/loadgen/crowd"
	"github.com/parley-chat/parley/deploy/loadgen/dialect"
)

// share is one process's part of the crowd: here, or in a worker.
type share interface {
	connect(ctx context.Context, window int) (crowd.Arrival, error)
	drop() error
	begin(crowd.Drive) error
	finish() (crowd.Tally, error)
	status() (crowd.Status, error)
	close() error
}

// fleet is a crowd over as many processes as it needs.
type fleet struct {
	config crowd.Config
	shares []share
	pids   []int // of the workers
}

func newFleet(ctx context.Context, cfg crowd.Config, worker []string) (*fleet, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg.Shares = max(cfg.Shares, (cfg.Connections()+crowd.MaxConnections-1)/crowd.MaxConnections)
	f := &fleet{config: cfg}
	if cfg.Shares == 1 {
		c, err := crowd.New(cfg)
		if err != nil {
			return nil, err
		}
		f.shares = []share{local{c}}
		return f, nil
	}
	if len(worker) == 0 {
		return nil, fmt.Errorf("%d connections in %d processes (each holds at most %d), but no worker program is given", cfg.Connections(), cfg.Shares, crowd.MaxConnections)
	}
	for cfg.Share = range cfg.Shares {
		w, err := startWorker(ctx, worker, cfg)
		if err != nil {
			return nil, errors.Join(err, f.close())
		}
		f.shares = append(f.shares, w)
		f.pids = append(f.pids, w.cmd.Process.Pid)
	}
	return f, nil
}

func (f *fleet) resumes() bool {
	d, err := dialect.ByName(f.config.Dialect)
	return err == nil && d.Resumes()
}

// perRoom is how many connections have a message of a room delivered.
func (f *fleet) perRoom() int {
	rooms := (f.config.Rooms + f.config.Every - 1) / f.config.Every
	return f.config.Connections() / rooms
}

// each runs fn for all shares at once.
func (f *fleet) each(fn func(share) error) error {
	errs := make([]error, len(f.shares))
	var wg sync.WaitGroup
	for i, s := range f.shares {
		wg.Go(func() { errs[i] = fn(s) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (f *fleet) connect(ctx context.Context, window int) (crowd.Arrival, error) {
	var mu sync.Mutex
	var all crowd.Arrival
	err := f.each(func(s share) error {
		a, err := s.connect(ctx, max(1, window/len(f.shares)))
		mu.Lock()
		defer mu.Unlock()
		all.Connected += a.Connected
		all.Retried += a.Retried
		all.Took = max(all.Took, a.Took)
		return err
	})
	return all, err
}

func (f *fleet) drop() error               { return f.each(share.drop) }
func (f *fleet) begin(d crowd.Drive) error { return f.each(func(s share) error { return s.begin(d) }) }
func (f *fleet) close() error              { return f.each(share.close) }
func (f *fleet) finish() (crowd.Tally, error) {
	var mu sync.Mutex
	var all crowd.Tally
	err := f.each(func(s share) error {
		t, err := s.finish()
		mu.Lock()
		defer mu.Unlock()
		all.Add(t)
		return err
	})
	return all, err
}

// status is what the shares say; one that does not answer counts as nothing, and
// fails at the next thing it is asked to do.
func (f *fleet) status() crowd.Status {
	var all crowd.Status
	for _, s := range f.shares {
		if at, err := s.status(); err == nil {
			all.Add(at)
		}
	}
	return all
}

// local is a share in this process.
type local struct{ crowd *crowd.Crowd }

func (l local) connect(ctx context.Context, window int) (crowd.Arrival, error) {
	return l.crowd.Connect(ctx, window)
}
func (l local) drop() error                   { l.crowd.Drop(); return nil }
func (l local) begin(d crowd.Drive) error     { l.crowd.Begin(d); return nil }
func (l local) finish() (crowd.Tally, error)  { return l.crowd.Finish(), nil }
func (l local) status() (crowd.Status, error) { return l.crowd.Status(), nil }
func (l local) close() error                  { return l.crowd.Close() }

// worker is a share in a process of its own, spoken to over its standard input
// and output.
type worker struct {
	cmd    *exec.Cmd
	client *rpc.Client
}

func startWorker(ctx context.Context, command []string, cfg crowd.Config) (*worker, error) {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start a worker: %w", err)
	}
	w := &worker{cmd: cmd, client: rpc.NewClient(pipe{out, in})}
	if err := w.client.Call("Worker.New", cfg, &struct{}{}); err != nil {
		return nil, errors.Join(fmt.Errorf("worker %d of %d: %w", cfg.Share+1, cfg.Shares, err), w.close())
	}
	return w, nil
}

func (w *worker) connect(ctx context.Context, window int) (a crowd.Arrival, err error) {
	call := w.client.Go("Worker.Connect", window, &a, make(chan *rpc.Call, 1))
	select {
	case <-call.Done:
		return a, call.Error
	case <-ctx.Done():
		return crowd.Arrival{}, ctx.Err()
	}
}

func (w *worker) drop() error               { return w.client.Call("Worker.Drop", 0, &struct{}{}) }
func (w *worker) begin(d crowd.Drive) error { return w.client.Call("Worker.Begin", d, &struct{}{}) }
func (w *worker) finish() (t crowd.Tally, err error) {
	err = w.client.Call("Worker.Finish", 0, &t)
	return t, err
}
func (w *worker) status() (s crowd.Status, err error) {
	err = w.client.Call("Worker.Status", 0, &s)
	return s, err
}

// close ends the worker by closing its standard input.
func (w *worker) close() error {
	err := w.client.Close()
	return errors.Join(err, w.cmd.Wait())
}

type pipe struct {
	io.ReadCloser
	in io.WriteCloser
}

func (p pipe) Write(b []byte) (int, error) { return p.in.Write(b) }
func (p pipe) Close() error                { return errors.Join(p.in.Close(), p.ReadCloser.Close()) }
