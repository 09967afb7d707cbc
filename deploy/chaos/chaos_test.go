package chaos

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestChaos breaks everything once, in its shortest form, under the load of 200
// clients. SEED and ONLY replay. The services are built with the race detector; the
// load and the proxies, through which all their traffic goes, are a program without
// it, so that they do not slow down what they measure.
func TestChaos(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes minutes")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
	defer cancel()
	bin := t.TempDir()
	if err := Build(ctx, bin, true); err != nil {
		t.Fatal(err)
	}
	build := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-o", bin+string(filepath.Separator), "../cmd/chaos")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	setting := func(name, standard string) string {
		if text := os.Getenv(name); text != "" {
			return text
		}
		return standard
	}
	run := exec.CommandContext(ctx, filepath.Join(bin, "chaos"), "-bin", bin, "-patient", "-rooms", "60", "-rate", "70",
		"-seeds", setting("SEED", "1"), "-only", setting("ONLY", ""), "-clients", setting("CLIENTS", "200"))
	run.Cancel = func() error { return run.Process.Signal(os.Interrupt) }
	run.WaitDelay = time.Minute
	out, err := run.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	run.Stderr = run.Stdout
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		t.Log(lines.Text())
	}
	if err := run.Wait(); err != nil {
		t.Fatal(err)
	}
}
