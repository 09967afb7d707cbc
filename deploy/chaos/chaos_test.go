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

// onNATS are the faults that every test run has on NATS; BUS=nats has all.
const onNATS = "F1,F2,F3,F4,F5,F14,F17n,F18,F28c"

// TestChaos breaks everything once, in its shortest form, under the load of 200
// clients, with the bus on Redis, and some of it on NATS. SEED, ONLY and BUS replay.
// The services are built with the race detector; the load and the proxies, through
// which all their traffic goes, are a program without it, so that they do not slow
// down what they measure.
func TestChaos(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes minutes")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 38*time.Minute)
	defer cancel()
	bin := t.TempDir()
	if err := Build(ctx, bin, true); err != nil {
		t.Fatal(err)
	}
	build := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-o", bin+string(filepath.Separator), "../cmd/chaos")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	bus := os.Getenv("BUS")
	if bus != "nats" {
		t.Run("Redis", func(t *testing.T) { breakAll(ctx, t, bin, setting("ONLY", ""), "9m") })
	}
	if bus != "redis" {
		standard, limit := onNATS, "4m"
		if bus != "" {
			standard, limit = "", "9m"
		}
		t.Run("NATS", func(t *testing.T) { breakAll(ctx, t, bin, setting("ONLY", standard), limit, "-nats") })
	}
}

func setting(name, standard string) string {
	if text := os.Getenv(name); text != "" {
		return text
	}
	return standard
}

// breakAll breaks what is named, or everything. On a machine that is too slow to do
// so within the limit, it says what it has left out.
func breakAll(ctx context.Context, t *testing.T, bin, only, limit string, more ...string) {
	patience := "6" // a slow machine is no news
	if os.Getenv("CI") != "" {
		patience = "12"
	}
	run := exec.CommandContext(ctx, filepath.Join(bin, "chaos"), append([]string{"-bin", bin, "-patience", patience, "-limit", limit, "-rooms", "60", "-rate", "70",
		"-seeds", setting("SEED", "1"), "-only", only, "-clients", setting("CLIENTS", "200")}, more...)...)
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
