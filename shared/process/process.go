// Package process holds what every Parley program does alike: reading its
// settings, ending on signals with an exit code that means something, its
// logger, its health checks and metrics, and the operators' listener that
// serves them. A program's main names itself, its settings and one function,
// and calls Main; nothing here knows what the program is for.
package process

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.opentelemetry.io/otel/trace"
)

// Exit codes of every program.
const (
	ExitClean   = 0 // ended by itself, or by a signal after its drain
	ExitFailure = 1 // could not start or could not go on; also a second signal
	ExitConfig  = 2 // a setting is wrong; nothing was started
)

// Program describes one executable.
type Program struct {
	Name        string
	Description string
	// Version is shown by --version, in logs and in metrics; empty: what the
	// linker recorded.
	Version string
	// Defaults replaces the defaults of settings, by flag name: {"admin": "127.0.0.1:9101"}.
	Defaults map[string]string
	// Memory says that memory:// may be used, because all three services live
	// in this process. A service alone would talk to nobody, so it refuses.
	Memory bool
}

// Process is what a running program has besides its settings.
type Process struct {
	Name    string
	Version string
	Log     *slog.Logger
	Health  *Health
	Metrics *prometheus.Registry
	Admin   *Admin
	Traces  trace.TracerProvider // nil: off
}

// Main runs a program and ends the process with one of the exit codes above.
// cfg points to a struct that embeds Common; it is filled from flags,
// environment and file before run is called. SIGINT or SIGTERM cancels run's
// ctx and turns /readyz to 503, so that run can drain; the admin listener stays
// until run has returned. A second signal ends the process at once.
func Main(prog Program, cfg Config, run func(context.Context, *Process) error) {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	src := Source{Args: os.Args[1:], Getenv: os.Getenv, Stdout: os.Stdout, Stderr: os.Stderr}
	os.Exit(execute(prog, cfg, src, signals, os.Exit, run))
}

// execute is Main with everything it touches outside as a parameter.
func execute(prog Program, cfg Config, src Source, signals <-chan os.Signal, exit func(int), run func(context.Context, *Process) error) int {
	var own builtin
	settings, err := read(prog, cfg, &own, src)
	if errors.Is(err, ErrShown) {
		return ExitClean
	}
	if err != nil {
		return complain(src, prog, err)
	}
	common := cfg.common()
	if own.Healthcheck != "" {
		if err := healthcheck(own.Healthcheck, common.Admin); err != nil {
			return complain(src, prog, err)
		}
		return ExitClean
	}
	p := newProcess(prog, common, src)

	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	p.Health.Add("drain", func() error {
		if ctx.Err() != nil {
			return errors.New("the process is ending")
		}
		return nil
	})
	generic := p.Health.count() + 1
	p.Health.Add("start", func() error {
		if p.Health.count() == generic { // nobody has said yet what it takes to be ready
			return errors.New("the process is starting")
		}
		return nil
	})
	watched := watch(ctx, p.Log, signals, cancel, func() {
		fmt.Fprintf(src.Stderr, "%s: second signal: ended at once, without draining\n", prog.Name)
		exit(ExitFailure)
	})
	defer watched()

	if err := p.Admin.Listen(); err != nil {
		return complain(src, prog, err)
	}
	var endTraces func() error
	if p.Traces, endTraces, err = newTraces(ctx, prog.Name, common.Node, p.Version, src); err != nil {
		return complain(src, prog, err)
	}
	p.Log.Info("started", "version", p.Version, "admin", p.Admin.Addr(), "settings", settings)

	adminCtx, stopAdmin := context.WithCancel(context.Background())
	adminEnded := make(chan error, 1)
	var memory sync.WaitGroup
	memory.Go(func() { giveBack(adminCtx) })
	go func() {
		err := p.Admin.Run(adminCtx)
		if err != nil {
			cancel(err)
		}
		adminEnded <- err
	}()
	err = run(ctx, p)
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = nil
	}
	if bad := endTraces(); bad != nil {
		p.Log.Warn("traces", "err", bad)
	}
	stopAdmin()
	memory.Wait()
	if err = errors.Join(err, <-adminEnded); err != nil {
		return complain(src, prog, err)
	}
	p.Log.Info("ended")
	return ExitClean
}

func newProcess(prog Program, common *Common, src Source) *Process {
	p := &Process{Name: prog.Name, Version: prog.version(), Health: &Health{}}
	p.Log = NewLogger(src.Stderr, common.LogLevel, common.LogFormat).With("service", prog.Name, "node", common.Node)
	p.Metrics = newRegistry(prog.Name, p.Version)
	p.Admin = NewAdmin(common.Admin, common.AdminToken, p.Health, p.Metrics, p.Log)
	return p
}

func newRegistry(name, version string) *prometheus.Registry {
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "parley_build_info",
		Help:        "Always 1; the labels say which program in which version this is.",
		ConstLabels: prometheus.Labels{"service": name, "version": version},
	})
	build.Set(1)
	registry := prometheus.NewRegistry()
	registry.MustRegister(build,
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		collectors.NewBuildInfoCollector())
	return registry
}

// watch cancels on the first signal and calls end on the second. The returned
// function stops watching and waits for the goroutine.
func watch(ctx context.Context, log *slog.Logger, signals <-chan os.Signal, cancel context.CancelCauseFunc, end func()) func() {
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for first := true; ; first = false {
			select {
			case <-stop:
				return
			case sig := <-signals:
				if !first {
					end()
					return
				}
				log.Info("draining", "signal", sig.String())
				cancel(fmt.Errorf("%w by signal: %s", context.Canceled, sig))
			}
		}
	})
	return func() { close(stop); wg.Wait() }
}

// complain writes an error as one line and picks the exit code.
func complain(src Source, prog Program, err error) int {
	fmt.Fprintf(src.Stderr, "%s: %s\n", prog.Name, strings.ReplaceAll(err.Error(), "\n", "; "))
	var bad *ConfigError
	if errors.As(err, &bad) {
		return ExitConfig
	}
	return ExitFailure
}

// buildVersion is set by the linker (make build, the Docker file).
var buildVersion string

// version is what was set, else what the linker recorded: a module version or
// the first digits of the commit.
func (prog Program) version() string {
	if version := cmp.Or(prog.Version, buildVersion); version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return s.Value[:12]
		}
	}
	if info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}
