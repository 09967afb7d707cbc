package cluster

import (
	"context"
	"path/filepath"
	"syscall"
)

// Program describes a process that is none of Parley's: a balancer, or a broker
// with settings that a Cluster would not give it.
type Program struct {
	Name string // of the process, and of its log in Dir
	Path string // of the executable; a bare name is looked for
	Args []string
	Env  []string
	Dir  string                      // where it runs and its log is
	Up   func(context.Context) error // says whether it serves
	End  syscall.Signal              // what ends it; 0: SIGTERM
}

// Process returns the program as a Process that is not started yet.
func (p Program) Process() (*Process, error) {
	path, err := find(p.Path)
	if err != nil {
		return nil, err
	}
	return &Process{
		Name: p.Name, Kind: filepath.Base(path), LogFile: filepath.Join(p.Dir, p.Name+".log"),
		path: path, args: p.Args, env: p.Env, up: p.Up, end: p.End,
	}, nil
}

// Use has the next start take the executable of that name from another folder: an
// upgrade, or the way back.
func (p *Process) Use(bin string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.path = filepath.Join(bin, filepath.Base(p.path))
}

// FreePort is a port of 127.0.0.1 that nobody listens on and that this process has
// not been given before.
func FreePort() (string, error) { return freePort() }

// Greet is for a Program's Up: it sends hello (it may be empty) to the address and
// wants the answer to begin with want.
func Greet(address, hello, want string) func(context.Context) error {
	return func(ctx context.Context) error { return greet(ctx, address, hello, want) }
}

// Answers is for a Program's Up: it wants 200 for a GET of the URL.
func Answers(url string) func(context.Context) error {
	return func(ctx context.Context) error { return get(ctx, url) }
}
