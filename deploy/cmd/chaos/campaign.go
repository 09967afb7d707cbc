package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/parley-chat/parley/deploy/chaos"
)

// campaign is a run for each seed, and what is told of them.
type campaign struct {
	cfg           chaos.Config
	seeds         string
	page, results string
	keep          string
	forget        bool // nothing is to be kept
	race          bool
	storm         int
}

// run makes one run after the other. What one of them came to is written down
// before the next begins, and one that fails does not keep the others from running.
func (c *campaign) run(ctx context.Context) (err error) {
	var seeds []uint64
	for text := range strings.FieldsFuncSeq(c.seeds, func(r rune) bool { return r == ',' }) {
		seed, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			return fmt.Errorf("-seeds: %w", err)
		}
		seeds = append(seeds, seed)
	}
	c.cfg.Commit = commit(ctx)
	dir, err := os.MkdirTemp(chaos.Memory(), "parley-chaos-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if c.forget = c.keep == ""; c.forget {
		c.keep = dir
	}
	if c.results == "" {
		c.results = filepath.Join(dir, "results")
	}
	if c.cfg.Bin == "" {
		c.cfg.Bin = dir
		if err := chaos.Build(ctx, dir, c.race); err != nil {
			return err
		}
	}
	var broken error
	for _, seed := range seeds {
		if ctx.Err() != nil {
			return errors.Join(broken, ctx.Err())
		}
		if err := c.one(ctx, seed); err != nil {
			broken = errors.Join(broken, fmt.Errorf("seed %d: %w", seed, err))
		}
		broken = errors.Join(broken, c.write(ctx))
	}
	if c.storm > 0 && ctx.Err() == nil {
		broken = errors.Join(broken, c.blow(ctx), c.write(ctx))
	}
	if len(seeds) == 0 && c.storm == 0 { // the page alone, of what was found before
		broken = errors.Join(broken, c.write(ctx))
	}
	return broken
}

// one makes the run of a seed.
func (c *campaign) one(ctx context.Context, seed uint64) error {
	cfg := c.cfg
	cfg.Seed, cfg.Dir = seed, filepath.Join(c.keep, fmt.Sprintf("seed-%d", seed))
	if err := empty(cfg.Dir); err != nil {
		return err
	}
	r, err := tryRun(ctx, cfg)
	if err != nil {
		return err
	}
	err = r.Err()
	if c.forget {
		err = errors.Join(err, os.RemoveAll(cfg.Dir)) // the next one may need the memory
	}
	return errors.Join(err, r.Save(c.results))
}

// blow makes the storm, with the machine to itself.
func (c *campaign) blow(ctx context.Context) error {
	cfg := c.cfg
	cfg.Dir = c.keep
	s, err := chaos.RunStorm(ctx, cfg, c.storm)
	if err != nil {
		return err
	}
	return errors.Join(s.Save(c.results), s.Err())
}

// write writes the report about everything so far: to the file, if there is to be
// one, and to the terminal.
func (c *campaign) write(ctx context.Context) error {
	all, err := chaos.ReadCampaign(c.results, func(commit string) bool { return sameProduct(ctx, commit, c.cfg.Commit) })
	if err != nil {
		return err
	}
	if len(all.Runs) == 0 && all.Storm == nil {
		return fmt.Errorf("%s has no results of commit %s: nothing is reported", c.results, c.cfg.Commit)
	}
	err = all.Write(os.Stdout)
	if c.page == "" {
		return err
	}
	f, createErr := os.Create(c.page)
	if createErr != nil {
		return errors.Join(err, createErr)
	}
	return errors.Join(err, all.Write(f), f.Close())
}

// sameProduct tells whether the commits differ in no service and in nothing shared by
// them; what is not committed is like nothing else.
func sameProduct(ctx context.Context, one, other string) bool {
	if one == other {
		return true
	}
	diff := exec.CommandContext(ctx, "git", "diff", "--quiet", one, other, "--", ":/services", ":/shared", ":/go.work")
	return diff.Run() == nil
}

// commit is the state of the source; a report that was renewed is none of it.
func commit(ctx context.Context) string {
	name, err := exec.CommandContext(ctx, "git", "describe", "--tags", "--always").Output()
	if err != nil {
		return "unknown"
	}
	text := strings.TrimSpace(string(name))
	changed, err := exec.CommandContext(ctx, "git", "status", "--porcelain", "--untracked-files=no", "--", ":/", ":(top,exclude)docs/reliability.md").Output()
	if err != nil || len(changed) > 0 {
		text += "-dirty"
	}
	return text
}
