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
	"strings"
	"time"
)

// mutant is a patch that breaks the product, and what is to show it. A patch begins
// with a line "# what it does" and a line "# faults: F1,F2"; "# for: 30s" has them
// happen for longer.
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
		} else {
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
	caught := 0
	for _, path := range paths {
		m, err := readMutant(path)
		if err != nil {
			return err
		}
		began := time.Now()
		how, err := m.hunt(ctx, cfg)
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

// hunt tells by what the mutant was caught; empty: it was not.
func (m mutant) hunt(ctx context.Context, cfg Config) (string, error) {
	dir, err := os.MkdirTemp(Memory(), "parley-mutant-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	overlay, err := m.overlay(ctx, dir)
	if err != nil {
		return "", err
	}
	if err := buildOverlay(ctx, dir, overlay); err != nil {
		return "", err
	}
	cfg.Bin, cfg.Dir, cfg.Only, cfg.For, cfg.First = dir, dir, m.faults, m.lasts, true
	cfg.Logf = func(string, ...any) {}
	r, err := Run(ctx, cfg)
	switch {
	case ctx.Err() != nil:
		return "", ctx.Err()
	case err != nil:
		return err.Error(), nil // the product does not even start
	}
	if err := r.Err(); err != nil {
		first, _, _ := strings.Cut(err.Error(), "\n")
		return fmt.Sprintf("%.250s", first), nil
	}
	return "", nil
}

// overlay applies the patch to copies and returns the file that `go build -overlay` reads.
func (m mutant) overlay(ctx context.Context, dir string) (string, error) {
	root, err := projectRoot()
	if err != nil {
		return "", err
	}
	raw, err := os.ReadFile(m.path)
	if err != nil {
		return "", err
	}
	tree := filepath.Join(dir, "tree")
	replace := map[string]string{}
	for line := range strings.Lines(string(raw)) {
		file, ok := strings.CutPrefix(strings.TrimSpace(line), "+++ b/")
		if !ok {
			continue
		}
		source, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			return "", err
		}
		to := filepath.Join(tree, file)
		if err := errors.Join(os.MkdirAll(filepath.Dir(to), 0o755), os.WriteFile(to, source, 0o644)); err != nil {
			return "", err
		}
		replace[filepath.Join(root, file)] = to
	}
	apply := exec.CommandContext(ctx, "git", "apply", "-")
	apply.Dir, apply.Stdin = tree, bytes.NewReader(raw)
	apply.Env = append(os.Environ(), "GIT_CEILING_DIRECTORIES="+dir)
	if out, err := apply.CombinedOutput(); err != nil {
		return "", fmt.Errorf("the patch does not apply any more: %w\n%s", err, out)
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "overlay.json")
	return path, os.WriteFile(path, text, 0o644)
}

// buildOverlay builds the three services with the patch.
func buildOverlay(ctx context.Context, dir, overlay string) error {
	root, err := projectRoot()
	if err != nil {
		return err
	}
	for _, service := range []string{"ingress", "chat", "notifier"} {
		build := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-overlay", overlay, "-o", dir+string(filepath.Separator), "./cmd/"+service)
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
