package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
)

// source is a binary and the module folder that it is built in.
type source struct{ module, pkg string }

var (
	// standalone holds all that the services are made of.
	standalone = source{"deploy", "./cmd/standalone"}
	services   = []source{{"services/ingress", "./cmd/ingress"}, {"services/chat", "./cmd/chat"}, {"services/notifier", "./cmd/notifier"}}
	baseline   = source{"deploy", "./cmd/baseline"}
)

// Build builds the services' binaries and the standalone one into dir, each in its
// own module and without the workspace, and the hand-written server to compare with.
// With race they report data races, and that one, which is only measured, is left out.
func Build(ctx context.Context, dir string, race bool) error {
	root, err := root()
	if err != nil {
		return err
	}
	flags := []string{"build", "-o", dir + string(filepath.Separator)}
	others := services
	if race {
		// Without what only debuggers read they are linked in half the time.
		flags = append(flags, "-race", "-ldflags=-w")
	} else {
		others = append(slices.Clone(services), baseline)
	}
	// What is compiled for the first is there for the others, which are linked at once.
	if err := standalone.build(ctx, root, flags); err != nil {
		return err
	}
	return each(others, func(s source) error { return s.build(ctx, root, flags) })
}

func (s source) build(ctx context.Context, root string, flags []string) error {
	cmd := exec.CommandContext(ctx, "go", append(slices.Clone(flags), s.pkg)...)
	cmd.Dir = filepath.Join(root, s.module)
	cmd.Env = append(os.Environ(), "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s in %s: %w\n%s", s.pkg, s.module, err, out)
	}
	return nil
}

// root is the folder of the project: the first above this one with a go.work.
func root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.work")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("no go.work in this folder or above: run it inside the project")
		}
		dir = parent
	}
}
