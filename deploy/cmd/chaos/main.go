// Command chaos breaks a Parley of its own on purpose and checks what it promises;
// it ends with an error when a promise is broken. See package chaos.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/parley-chat/parley/deploy/chaos"
)

func main() {
	c := campaign{cfg: chaos.Config{Logf: func(format string, args ...any) {
		fmt.Printf(time.Now().Format(time.TimeOnly)+" "+format+"\n", args...)
	}}}
	cfg := &c.cfg
	flag.StringVar(&c.seeds, "seeds", "1", "seeds, comma-separated: a run for each; empty: none, for the storm alone, or for the page of the results alone")
	only := flag.String("only", "", "faults, comma-separated; empty: all")
	flag.StringVar(&c.page, "report", "", "file to write the report to, as Markdown")
	flag.StringVar(&c.results, "results", "", "folder to keep results in: the report is about all in it that are of this commit, also of earlier runs")
	flag.StringVar(&c.keep, "keep", "", "folder to leave logs and histories in; empty: they go")
	flag.BoolVar(&c.race, "race", true, "build with the race detector")
	mutants := flag.String("mutants", "", "instead: folder of patches, each to be built in and caught")
	flag.IntVar(&c.storm, "storm", 0, "after the seeds: so many clients lose their lines at once")
	flag.StringVar(&cfg.Command, "command", "", "what was typed, for the report; empty: this line")
	flag.StringVar(&cfg.Bin, "bin", "", "folder with the binaries; empty: build them")
	flag.BoolVar(&cfg.NATS, "nats", false, "the bus on NATS")
	flag.BoolVar(&cfg.Full, "full", false, "faults in their long forms, too")
	flag.IntVar(&cfg.Clients, "clients", 200, "clients")
	flag.IntVar(&cfg.Rooms, "rooms", 0, "rooms; 0: a tenth of the clients")
	flag.IntVar(&cfg.Rate, "rate", 100, "messages/s")
	flag.DurationVar(&cfg.For, "for", 0, "faults follow each other for so long; 0: each once")
	flag.DurationVar(&cfg.Limit, "limit", 0, "no fault begins later, even if not each has been there once; 0: no limit")
	flag.IntVar(&cfg.Patience, "patience", 1, "for a machine that is shared: so many times the time to heal; above 1 also another try at half the rate, twice at most, where it is too busy to measure")
	flag.Parse()
	if *only != "" {
		cfg.Only = strings.Split(*only, ",")
	}
	if cfg.Command == "" {
		cfg.Command = "chaos " + strings.Join(os.Args[1:], " ")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	if *mutants != "" {
		err = chaos.Mutants(ctx, *mutants, *cfg)
	} else {
		err = c.run(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1)
	}
}

// tries are how often a run is done at most where the machine is too busy.
const tries = 3

// probe is how soon a run notices that: what it had done by then is lost.
const probe = time.Minute

// tryRun runs once, or again at half the rate where the machine was too busy at
// once. The last time it goes on all the same, and its times do not count then.
func tryRun(ctx context.Context, cfg chaos.Config) (*chaos.Result, error) {
	for try := 1; ; try++ {
		if cfg.Probe = 0; (cfg.Patience > 1 || cfg.For > 0) && try < tries {
			cfg.Probe = probe
		}
		r, err := chaos.Run(ctx, cfg)
		if err != nil || !r.Busy() || r.Err() != nil {
			return r, err
		}
		if !errors.Is(r.Stopped, chaos.ErrBusy) {
			fmt.Printf("machine too busy: the load waited %s (p99) for the processor, for %s it had none at all; times do not count\n", r.Lag, r.Stalled)
			return r, nil
		}
		cfg.Rate /= 2
		fmt.Printf("machine too busy: the load waited %s (p99) for the processor; again at %d messages/s\n", r.Lag, cfg.Rate)
		if err := empty(cfg.Dir); err != nil {
			return nil, err
		}
	}
}

// empty makes the folder, and has nothing in it.
func empty(dir string) error {
	return errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755))
}
