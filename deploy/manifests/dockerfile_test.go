package manifests

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const root = "../.."

// instructions of the Dockerfile, one a line.
func instructions(t *testing.T) []string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(deploy, "docker/Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for line := range strings.Lines(strings.ReplaceAll(string(raw), "\\\n", "")) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			out = append(out, line)
		}
	}
	return out
}

// TestDockerfile: what is copied is in the project and in the context, the targets that
// scripts/images builds are there, and what runs is nobody and asks for its own health.
func TestDockerfile(t *testing.T) {
	ignore, err := os.ReadFile(filepath.Join(root, ".dockerignore"))
	if err != nil {
		t.Fatal(err)
	}
	copies := 0
	for _, line := range instructions(t) {
		fields := strings.Fields(line)
		if fields[0] != "COPY" || strings.HasPrefix(fields[1], "--from") {
			continue
		}
		for _, service := range ours {
			for _, source := range fields[1 : len(fields)-1] {
				source = strings.ReplaceAll(source, "${SERVICE}", service)
				copies++
				kept := slices.ContainsFunc(strings.Split(string(ignore), "\n"), func(rule string) bool {
					folder, ok := strings.CutPrefix(rule, "!")
					return ok && (source == folder || strings.HasPrefix(source, folder+"/"))
				})
				if !kept {
					t.Errorf("%s is copied, and .dockerignore leaves it out", source)
				}
				if _, err := os.Stat(filepath.Join(root, source)); err != nil && !strings.HasPrefix(source, "bin/image/") {
					t.Errorf("%s is copied: %v", source, err)
				}
			}
		}
	}
	if copies == 0 {
		t.Error("nothing is copied")
	}
	script, err := os.ReadFile(filepath.Join(root, "scripts/images"))
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Join(instructions(t), "\n")
	for _, target := range regexp.MustCompile(`target=([a-z]+)`).FindAllStringSubmatch(string(script), -1) {
		if !strings.Contains(text, " AS "+target[1]+"\n") {
			t.Errorf("no stage %s", target[1])
		}
	}
	for _, want := range []string{"FROM scratch AS base\n", "USER 65532:65532\n", `ENTRYPOINT ["/parley"]`, `CMD ["/parley", "--healthcheck=live"]`, "CGO_ENABLED=0"} {
		if !strings.Contains(text, want) {
			t.Errorf("the Dockerfile lacks %q", want)
		}
	}
	// A builder that makes stages in turn must reach the local one before it pulls.
	if strings.Index(text, " AS local\n") > strings.Index(text, "FROM golang") {
		t.Error("the local stage stands after one that pulls")
	}
}
