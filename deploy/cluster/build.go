package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// programs are the binaries and the module folder that each is built in.
var programs = []struct{ module, pkg string }{
	{"services/ingress", "./cmd/ingress"},
	{"services/chat", "./cmd/chat"},
	{"services/notifier", "./cmd/notifier"},
	{"deploy", "./cmd/standalone"},
	{"deploy", "./cmd/baseline"},
}

// Build builds the services' binaries and the standalone one into dir, each in its
// own module and without the workspace. With race they report data races.
func Build(ctx context.Context, dir string, race bool) error {
	root, err := root()
	if err != nil {
		return err
	}
	for _, p := range programs {
		args := []string{"build", "-o", dir + string(filepath.Separator)}
		if race {
			args = append(args, "-race")
		}
		cmd := exec.CommandContext(ctx, "go", append(args, p.pkg)...)
		cmd.Dir = filepath.Join(root, p.module)
		cmd.Env = append(os.Environ(), "GOWORK=off")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s in %s: %w\n%s", p.pkg, p.module, err, out)
		}
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
