package main

import (
	"context"
	"flag"
	"os"
	"path/filepath"

	"github.com/parley-chat/parley/deploy/loadgen/bench"
)

// many is the flags of the commands that write a part of docs/performance.md.
type many struct {
	bin, page, picture, version string
	quick                       bool
}

func parseMany(command string, args []string) (many, error) {
	var m many
	flags := flag.NewFlagSet("loadgen "+command, flag.ExitOnError)
	flags.StringVar(&m.bin, "bin", "", "folder with the binaries; empty: build them")
	flags.StringVar(&m.page, "page", "", "the page whose generated part is renewed; empty: none, the part goes to the standard output")
	flags.StringVar(&m.picture, "picture", "", "growth: where the plot goes")
	flags.StringVar(&m.version, "version", "of this build", "of Parley, for the page")
	flags.BoolVar(&m.quick, "quick", false, "minutes instead of tens of minutes")
	return m, flags.Parse(args)
}

func runMany(ctx context.Context, command string, args []string) error {
	m, err := parseMany(command, args)
	if err != nil {
		return err
	}
	programs, clean, err := prepare(ctx, m.bin, true)
	if err != nil {
		return err
	}
	defer clean()
	programs.Progress = nil // a line for each measurement is enough
	machine := bench.ThisMachine(ctx, m.version)
	switch command {
	case "compare":
		r, err := bench.Compare(ctx, programs, machine, m.quick, os.Stderr)
		if err != nil {
			return err
		}
		return m.put(bench.Compared, r.Markdown())
	case "growth":
		g, err := bench.MeasureGrowth(ctx, programs, machine, m.quick, os.Stderr)
		if err != nil {
			return err
		}
		return m.putGrowth(g)
	default:
		o, err := bench.MeasureOverload(ctx, programs, machine, m.quick, os.Stderr)
		if err != nil {
			return err
		}
		return m.put(bench.Overloaded, o.Markdown())
	}
}

func (m many) put(s bench.Section, text string) error {
	if _, err := os.Stdout.WriteString(text); err != nil || m.page == "" {
		return err
	}
	return bench.Put(m.page, s, text)
}

func (m many) putGrowth(g bench.Growth) error {
	link := "growth.svg"
	if m.picture != "" {
		svg, err := g.Picture()
		if err != nil {
			return err
		}
		if err := os.WriteFile(m.picture, svg, 0o644); err != nil {
			return err
		}
		if link, err = filepath.Rel(filepath.Dir(m.page), m.picture); err != nil {
			return err
		}
	}
	return m.put(bench.Grown, g.Markdown(filepath.ToSlash(link)))
}
