package bench

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// Machine is where and with what was measured.
type Machine struct {
	CPU     string
	Cores   int
	GiB     int
	System  string
	Go      string
	Redis   string
	Version string // of Parley
}

// ThisMachine asks the system; what it does not know stays empty.
func ThisMachine(ctx context.Context, version string) Machine {
	m := Machine{Cores: runtime.NumCPU(), Go: strings.TrimPrefix(runtime.Version(), "go"), Version: version}
	m.CPU = field("/proc/cpuinfo", "model name")
	if kb, err := strconv.Atoi(strings.TrimSuffix(field("/proc/meminfo", "MemTotal"), " kB")); err == nil {
		m.GiB = (kb + 1<<19) >> 20
	}
	if raw, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		release, _, _ := strings.Cut(strings.TrimSpace(string(raw)), "-")
		m.System = "Linux " + release
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if out, err := exec.CommandContext(ctx, "redis-server", "--version").Output(); err == nil {
		for word := range strings.FieldsSeq(string(out)) {
			if v, ok := strings.CutPrefix(word, "v="); ok {
				m.Redis = v
			}
		}
	}
	return m
}

// field is the value of the first line of a file that begins with name.
func field(file, name string) string {
	raw, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(raw)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func (m Machine) String() string {
	text := fmt.Sprintf("%d cores", m.Cores)
	if m.CPU != "" {
		text += " (" + m.CPU + ")"
	}
	if m.GiB > 0 {
		text += fmt.Sprintf(", %d GiB", m.GiB)
	}
	if m.System != "" {
		text += ", " + m.System
	}
	text += ", Go " + m.Go
	if m.Redis != "" {
		text += ", Redis " + m.Redis + " with appendfsync always"
	}
	return text + "; everything on loopback, and the load generator on the same cores"
}
