package manifests

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// unit reads a unit's sections; a key given twice keeps its last value.
func unit(t *testing.T, path string) map[string]map[string]string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sections := map[string]map[string]string{}
	var section map[string]string
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "[") && strings.HasSuffix(line, "]"):
			section = map[string]string{}
			sections[line] = section
		default:
			key, value, ok := strings.Cut(line, "=")
			if !ok || section == nil {
				t.Fatalf("%s: %q is neither a section nor a setting", path, line)
			}
			section[key] = value
		}
	}
	return sections
}

func TestUnits(t *testing.T) {
	for _, name := range ours {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(deploy, "systemd", "parley-"+name+".service")
			service := unit(t, path)["[Service]"]
			stop, err := time.ParseDuration(service["TimeoutStopSec"])
			if err != nil || stop <= endsIn(t, name, map[string]string{"PARLEY_DRAIN": "20s", "PARLEY_DRAIN_DELAY": "5s"}) {
				t.Errorf("TimeoutStopSec=%s is not beyond the drain: %v", service["TimeoutStopSec"], err)
			}
			if service["ExecStart"] != "/usr/local/bin/parley-"+name || service["EnvironmentFile"] != "-/etc/parley/"+name+".env" {
				t.Errorf("starts %s with %s", service["ExecStart"], service["EnvironmentFile"])
			}
			for key, want := range map[string]string{"Restart": "on-failure", "RestartPreventExitStatus": "2", "DynamicUser": "yes", "NoNewPrivileges": "yes", "ProtectSystem": "strict"} {
				if service[key] != want {
					t.Errorf("%s=%s, want %s", key, service[key], want)
				}
			}
			verify(t, path, name)
		})
	}
}

// verify has systemd itself read the unit, where it is installed.
func verify(t *testing.T, path, name string) {
	t.Helper()
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Log("systemd-analyze is not here: the unit was only parsed")
		return
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// It wants the program to be there.
	text := strings.Replace(string(raw), "ExecStart=/usr/local/bin/parley-"+name, "ExecStart="+filepath.Join(binaries, name), 1)
	copied := filepath.Join(t.TempDir(), "parley-"+name+".service")
	if err := os.WriteFile(copied, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(analyze, "verify", "--recursive-errors=no", "--man=no", copied).CombinedOutput(); err != nil {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	} else if len(out) > 0 {
		t.Logf("systemd-analyze verify: %s", out)
	}
}
