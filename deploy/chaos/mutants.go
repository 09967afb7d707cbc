package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// mutant is a patch that breaks the product, and what is to show it. A patch begins
// with a line "# what it does" and a line "# faults: F1,F2"; "# for: 30s" has them
// happen for longer, and further lines say how it shows.
type mutant struct {
	path, about string
	faults      []string
	lasts       time.Duration
}

func readMutant(path string) (mutant, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return mutant{}, err
	}
	m := mutant{path: path}
	for line := range strings.Lines(string(raw)) {
		text, ok := strings.CutPrefix(strings.TrimSpace(line), "# ")
		if !ok {
			break
		}
		if names, ok := strings.CutPrefix(text, "faults: "); ok {
			m.faults = strings.Split(names, ",")
		} else if d, ok := strings.CutPrefix(text, "for: "); ok {
			if m.lasts, err = time.ParseDuration(d); err != nil {
				return m, fmt.Errorf("%s: %w", path, err)
			}
		} else if m.about == "" {
			m.about = text
		}
	}
	if m.about == "" || len(m.faults) == 0 {
		return m, fmt.Errorf("%s: it must begin with \"# what it does\" and \"# faults: …\"", path)
	}
	return m, nil
}

func (m mutant) name() string { return strings.TrimSuffix(filepath.Base(m.path), ".patch") }

// Mutants builds each patch in the folder, or the one patch, into a product of its own, runs the faults
// that are to show it, and says which were caught. It fails unless all were.
func Mutants(ctx context.Context, folder string, cfg Config) error {
	paths, err := filepath.Glob(filepath.Join(folder, "*.patch"))
	if strings.HasSuffix(folder, ".patch") {
		paths = []string{folder}
	}
	if err != nil || len(paths) == 0 {
		return errors.Join(err, fmt.Errorf("no *.patch in %s", folder))
	}
	whole, err := os.MkdirTemp(Memory(), "parley-whole-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(whole)
	if err := build(ctx, whole, "", false, services...); err != nil {
		return err
	}
	caught := 0
	for _, path := range paths {
		m, err := readMutant(path)
		if err != nil {
			return err
		}
		began := time.Now()
		how, err := m.hunt(ctx, whole, cfg)
		if err != nil {
			return fmt.Errorf("%s: %w", m.name(), err)
		}
		if how == "" {
			fmt.Printf("MISSED  %s: %s (%s)\n", m.name(), m.about, time.Since(began).Round(time.Second))
			continue
		}
		caught++
		fmt.Printf("caught  %s: %s (%s): %s\n", m.name(), m.about, time.Since(began).Round(time.Second), how)
	}
	fmt.Printf("caught %d/%d\n", caught, len(paths))
	if caught < len(paths) {
		return fmt.Errorf("%d mutants were not caught", len(paths)-caught)
	}
	return nil
}

// hunt tells by what the mutant was caught; empty: it was not. A run is short, and what
// it does to whom is drawn: one that shows nothing is followed by one with another seed.
func (m mutant) hunt(ctx context.Context, whole string, cfg Config) (how string, err error) {
	dir, err := os.MkdirTemp(Memory(), "parley-mutant-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	overlay, touched, err := m.overlay(ctx, dir)
	if err != nil {
		return "", err
	}
	for _, service := range services { // what the patch does not touch is as it was
		if !slices.Contains(touched, service) {
			if err := os.Link(filepath.Join(whole, service), filepath.Join(dir, service)); err != nil {
				return "", err
			}
		}
	}
	if err := build(ctx, dir, overlay, false, touched...); err != nil {
		return "", err
	}
	for try := range uint64(tries) {
		cfg := cfg
		cfg.Seed += try
		cfg.Dir = filepath.Join(dir, fmt.Sprint("seed-", cfg.Seed))
		if err := os.Mkdir(cfg.Dir, 0o755); err != nil {
			return "", err
		}
		cfg.Bin, cfg.Only, cfg.For, cfg.First = dir, m.faults, m.lasts, true
		cfg.Logf = func(string, ...any) {}
		if how, err = show(ctx, cfg); how != "" || err != nil {
			return how, err
		}
	}
	return "", nil
}

// tries is how many runs, with a seed each, a mutant has to show itself.
const tries = 3

// show runs once, and tells which invariant was violated first; empty: none. A run that
// could not be made, or not to its end, shows nothing.
func show(ctx context.Context, cfg Config) (string, error) {
	r, err := Run(ctx, cfg)
	if err == nil && ctx.Err() == nil {
		if err = r.violated(); err != nil {
			first, _, _ := strings.Cut(err.Error(), "\n")
			return fmt.Sprintf("%.250s", first), nil
		}
		err = r.Err()
	}
	if err != nil {
		fmt.Printf("a run with seed %d shows nothing: %v\n", cfg.Seed, err)
	}
	return "", ctx.Err()
}

// overlay applies the patch to copies, and returns the file that `go build -overlay` reads
// and the services that the patch changes.
func (m mutant) overlay(ctx context.Context, dir string) (path string, touched []string, err error) {
	root, err := projectRoot()
	if err != nil {
		return "", nil, err
	}
	raw, err := os.ReadFile(m.path)
	if err != nil {
		return "", nil, err
	}
	tree := filepath.Join(dir, "tree")
	replace := map[string]string{}
	var changed []string
	for line := range strings.Lines(string(raw)) {
		file, ok := strings.CutPrefix(strings.TrimSpace(line), "+++ b/")
		if !ok {
			continue
		}
		source, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			return "", nil, err
		}
		to := filepath.Join(tree, file)
		if err := errors.Join(os.MkdirAll(filepath.Dir(to), 0o755), os.WriteFile(to, source, 0o644)); err != nil {
			return "", nil, err
		}
		replace[filepath.Join(root, file)] = to
		changed = append(changed, file)
	}
	apply := exec.CommandContext(ctx, "git", "apply", "-")
	apply.Dir, apply.Stdin = tree, bytes.NewReader(raw)
	apply.Env = append(os.Environ(), "GIT_CEILING_DIRECTORIES="+dir)
	if out, err := apply.CombinedOutput(); err != nil {
		return "", nil, fmt.Errorf("the patch does not apply any more: %w\n%s", err, out)
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", nil, err
	}
	for _, service := range services {
		if slices.ContainsFunc(changed, func(file string) bool {
			return strings.HasPrefix(file, "services/"+service+"/") || !strings.HasPrefix(file, "services/")
		}) {
			touched = append(touched, service)
		}
	}
	path = filepath.Join(dir, "overlay.json")
	return path, touched, os.WriteFile(path, text, 0o644)
}

var services = []string{"ingress", "chat", "notifier"}

// build builds services, with an overlay unless that is empty, and with the race
// detector or without.
func build(ctx context.Context, dir, overlay string, race bool, services ...string) error {
	root, err := projectRoot()
	if err != nil {
		return err
	}
	for _, service := range services {
		build := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-overlay="+overlay, fmt.Sprintf("-race=%t", race), "-o", dir+string(filepath.Separator), "./cmd/"+service)
		build.Dir = filepath.Join(root, "services", service)
		build.Env = append(os.Environ(), "GOWORK=off")
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w\n%s", service, err, out)
		}
	}
	return nil
}

// projectRoot is the first folder above with a go.work.
func projectRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.work")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("no go.work in this folder or above: run it inside the project")
		}
	}
}

// Memory is a folder in memory where the system has one, else the one for temporary
// files: how fast a disk syncs is not what a run is about, and on a shared machine
// it decides everything.
func Memory() string {
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		return "/dev/shm"
	}
	return os.TempDir()
}
