package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/term"

	"github.com/parley-chat/parley/deploy/cluster"
	"github.com/parley-chat/parley/deploy/loadgen"
	"github.com/parley-chat/parley/deploy/loadgen/bench"
	"github.com/parley-chat/parley/deploy/loadgen/page"
)

// workerCommand has this program hold a share of another's connections.
const workerCommand = "worker"

func run(ctx context.Context, args []string) error {
	if len(args) > 0 {
		switch args[0] {
		case workerCommand:
			return loadgen.Work(ctx, os.Stdin, os.Stdout)
		case "compare", "growth", "overload":
			return runMany(ctx, args[0], args[1:])
		}
	}
	return runOne(ctx, args)
}

// one is the flags of a single load.
type one struct {
	bin, system, url, dialect, pids string
	json, html                      string
	edges                           int
	quick                           bool
}

func runOne(ctx context.Context, args []string) error {
	var o one
	flags := flag.NewFlagSet("loadgen", flag.ExitOnError)
	name := flags.String("scenario", "C", "a preset: "+strings.Join(loadgen.Names, ", "))
	flags.BoolVar(&o.quick, "quick", false, "seconds instead of minutes")
	flags.StringVar(&o.bin, "bin", "", "folder with the binaries; empty: build them")
	flags.StringVar(&o.system, "system", "parley", "what to start: parley, stock (its bus with Watermill's own driver), standalone, baseline, durable (the baseline that stores)")
	flags.IntVar(&o.edges, "edges", 2, "edges of -system parley")
	flags.StringVar(&o.url, "url", "", "servers that run already, http://host:port, comma-separated, instead of -system")
	flags.StringVar(&o.dialect, "dialect", "parley", "with -url: parley or baseline")
	flags.StringVar(&o.pids, "pids", "", "with -url: processes to watch, as ingress-1=123,redis=456")
	flags.StringVar(&o.json, "json", "", "write the report to this file as JSON; - is the standard output")
	flags.StringVar(&o.html, "html", "", "write the report with its plots to this file, one page without outside parts")
	var set loadgen.Scenario
	flags.IntVar(&set.Rooms, "rooms", 0, "instead of the preset's: rooms")
	flags.IntVar(&set.Members, "members", 0, "members of each room")
	flags.IntVar(&set.Body, "body", 0, "bytes of a body")
	flags.Float64Var(&set.Rate, "rate", 0, "messages/s over all rooms")
	flags.IntVar(&set.Window, "window", 0, "unanswered sends over all rooms, instead of a rate")
	flags.IntVar(&set.Slow, "slow", 0, "further members who read 1 KiB a second or nothing, in percent of the others")
	flags.DurationVar(&set.Settle, "settle", 0, "after the last has joined")
	flags.DurationVar(&set.WarmUp, "warmup", 0, "under load, before measuring")
	flags.DurationVar(&set.Measure, "measure", 0, "how long to measure")
	var env list
	flags.Var(&env, "env", "a setting for -system parley, NAME=value; may be repeated")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("%q is no command: there are compare, growth and overload", flags.Arg(0))
	}
	scenario, err := loadgen.Preset(*name, o.quick)
	if err != nil {
		return err
	}
	flags.Visit(func(f *flag.Flag) { replace(&scenario, set, f.Name) })
	r, err := o.measure(ctx, scenario, env)
	if err != nil {
		return err
	}
	return o.write(r)
}

type list []string

func (l *list) String() string     { return strings.Join(*l, " ") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

// replace puts the value of a flag that was given in the preset's place.
func replace(s *loadgen.Scenario, by loadgen.Scenario, flag string) {
	switch flag {
	case "rooms":
		s.Rooms = by.Rooms
	case "members":
		s.Members = by.Members
	case "body":
		s.Body = by.Body
	case "rate":
		s.Rate, s.Window = by.Rate, 0
	case "window":
		s.Rate, s.Window = 0, by.Window
	case "slow":
		s.Slow = by.Slow
	case "settle":
		s.Settle = by.Settle
	case "warmup":
		s.WarmUp = by.WarmUp
	case "measure":
		s.Measure = by.Measure
	default:
		return
	}
	if !strings.Contains(s.About, "; -") {
		s.About += ";"
	}
	s.About += " -" + flag
}

func (o one) measure(ctx context.Context, scenario loadgen.Scenario, env []string) (r loadgen.Report, err error) {
	programs, clean, err := prepare(ctx, o.bin, o.url == "")
	if err != nil {
		return r, err
	}
	defer clean()
	if o.url == "" {
		system, err := o.toStart()
		if err != nil {
			return r, err
		}
		return programs.Measure(ctx, system.With(env...), scenario)
	}
	pids, err := parsePIDs(o.pids)
	if err != nil {
		return r, err
	}
	options := loadgen.Options{
		Target: loadgen.Target{
			URLs: strings.Split(o.url, ","), Dialect: o.dialect, Name: o.dialect,
			Processes: func() map[string]int { return pids },
		},
		Scenario: scenario, Worker: programs.Worker,
	}
	if programs.Progress != nil {
		options.Progress = programs.Progress
	}
	return loadgen.Run(ctx, options)
}

func (o one) toStart() (bench.System, error) {
	switch o.system {
	case "parley":
		return bench.Parley(o.edges), nil
	case "stock":
		return bench.Stock(), nil
	case "standalone":
		return bench.Standalone(), nil
	case "baseline", "durable":
		return bench.Baseline(o.system == "durable"), nil
	}
	return bench.System{}, fmt.Errorf("-system %s: parley, stock, standalone, baseline and durable are allowed", o.system)
}

// prepare finds or builds the binaries.
func prepare(ctx context.Context, bin string, needed bool) (p bench.Programs, clean func(), err error) {
	self, err := os.Executable()
	if err != nil {
		return p, nil, err
	}
	p = bench.Programs{Bin: bin, Worker: []string{self, workerCommand}}
	if term.IsTerminal(int(os.Stderr.Fd())) {
		p.Progress = os.Stderr
	}
	if bin != "" || !needed {
		p.Bin, err = filepath.Abs(bin) // the programs run elsewhere
		return p, func() {}, err
	}
	if p.Bin, err = os.MkdirTemp("", "parley-bin-"); err != nil {
		return p, nil, err
	}
	clean = func() { _ = os.RemoveAll(p.Bin) }
	fmt.Fprintln(os.Stderr, "building …")
	if err := cluster.Build(ctx, p.Bin, false); err != nil {
		clean()
		return p, nil, err
	}
	return p, clean, nil
}

func parsePIDs(text string) (map[string]int, error) {
	out := map[string]int{}
	for part := range strings.SplitSeq(text, ",") {
		if part == "" {
			continue
		}
		name, number, _ := strings.Cut(part, "=")
		pid, err := strconv.Atoi(number)
		if err != nil || pid <= 0 {
			return nil, fmt.Errorf("-pids %q: want name=process id, comma-separated", part)
		}
		out[name] = pid
	}
	return out, nil
}

// write writes the table, and the files that were asked for.
func (o one) write(r loadgen.Report) error {
	if o.json != "-" {
		if err := r.WriteTable(os.Stdout); err != nil {
			return err
		}
	}
	if o.html != "" {
		raw, err := page.HTML(r)
		if err != nil {
			return err
		}
		if err := os.WriteFile(o.html, raw, 0o644); err != nil {
			return err
		}
	}
	if o.json == "" {
		return nil
	}
	raw, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	raw = append(raw, '\n')
	if o.json == "-" {
		_, err = os.Stdout.Write(raw)
		return err
	}
	return os.WriteFile(o.json, raw, 0o644)
}
