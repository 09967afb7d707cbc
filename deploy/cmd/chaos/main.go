// Command chaos breaks a Parley of its own on purpose and checks what it promises;
// it ends with an error when a promise is broken. See package chaos.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/parley-chat/parley/deploy/chaos"
)

func main() {
	var cfg chaos.Config
	seeds := flag.String("seeds", "1", "seeds, comma-separated: a run for each")
	only := flag.String("only", "", "faults, comma-separated; empty: all")
	report := flag.String("report", "", "file to write the report to, as Markdown")
	keep := flag.String("keep", "", "folder to leave logs and histories in; empty: they go")
	race := flag.Bool("race", true, "build with the race detector")
	mutants := flag.String("mutants", "", "instead: folder of patches, each to be built in and caught")
	flag.StringVar(&cfg.Bin, "bin", "", "folder with the binaries; empty: build them")
	flag.BoolVar(&cfg.NATS, "nats", false, "the bus on NATS")
	flag.BoolVar(&cfg.Full, "full", false, "faults in their long forms")
	flag.IntVar(&cfg.Clients, "clients", 200, "clients")
	flag.IntVar(&cfg.Rooms, "rooms", 0, "rooms; 0: a tenth of the clients")
	flag.IntVar(&cfg.Rate, "rate", 100, "messages/s")
	flag.DurationVar(&cfg.For, "for", 0, "faults follow each other for so long; 0: each once")
	patient := flag.Bool("patient", false, "for a machine that is shared: three times the time to heal, and where it is too busy to measure, another try at half the rate while there is time")
	flag.Parse()
	if *patient {
		cfg.Patience = 3
	}
	if *only != "" {
		cfg.Only = strings.Split(*only, ",")
	}
	cfg.Logf = func(format string, args ...any) { fmt.Printf(format+"\n", args...) }
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	if *mutants != "" {
		err = chaos.Mutants(ctx, *mutants, cfg)
	} else {
		err = run(ctx, cfg, *seeds, *report, *keep, *race, *patient)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, cfg chaos.Config, seeds, report, keep string, race, patient bool) error {
	dir, err := os.MkdirTemp(chaos.Memory(), "parley-chaos-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if keep == "" {
		keep = dir
	}
	if cfg.Bin == "" {
		cfg.Bin = dir
		if err := chaos.Build(ctx, dir, race); err != nil {
			return err
		}
	}
	var results []*chaos.Result
	var broken error
	for text := range strings.SplitSeq(seeds, ",") {
		if cfg.Seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			return fmt.Errorf("-seeds: %w", err)
		}
		cfg.Dir = filepath.Join(keep, "seed-"+text)
		if err := os.MkdirAll(cfg.Dir, 0o755); err != nil {
			return err
		}
		r, err := tryRun(ctx, cfg, patient)
		if err != nil {
			return fmt.Errorf("seed %d: %w", cfg.Seed, err)
		}
		results = append(results, r)
		if err := r.Err(); err != nil {
			broken = errors.Join(broken, fmt.Errorf("seed %d: %w", cfg.Seed, err))
		}
	}
	return errors.Join(broken, write(report, results))
}

const (
	leastRate = 25              // messages/s; below that nothing is under load
	runTime   = 3 * time.Minute // a run that took longer is not repeated
)

// tryRun runs once, or again at half the rate where the machine was too busy.
func tryRun(ctx context.Context, cfg chaos.Config, patient bool) (*chaos.Result, error) {
	for {
		r, err := chaos.Run(ctx, cfg)
		if err != nil || !r.Busy() || r.Err() != nil {
			return r, err
		}
		if !patient || cfg.Rate/2 < leastRate || r.Took > runTime {
			fmt.Printf("machine too busy: the load waited %s (p99) for the processor, so times do not count\n", r.Lag)
			return r, nil
		}
		cfg.Rate /= 2
	}
}

// write writes the report to the file, and in any case to the terminal.
func write(path string, results []*chaos.Result) error {
	out := []*os.File{os.Stdout}
	if path != "" {
		f, err := os.Create(path)
		if err != nil {
			return err
		}
		defer f.Close()
		out = append(out, f)
	}
	commit, err := exec.Command("git", "describe", "--tags", "--always", "--dirty").Output()
	if err != nil {
		commit = []byte("unknown")
	}
	command := "make campaign"
	for _, f := range out {
		err := chaos.WriteReport(f, chaos.Commit(strings.TrimSpace(string(commit))), command, results)
		if err != nil {
			return err
		}
	}
	return nil
}
