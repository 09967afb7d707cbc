package client_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const outside = `package main

import (
	"context"
	"fmt"

	"github.com/parley-chat/parley/services/ingress/protocol/client"
)

func main() {
	c, err := client.Dial(context.Background(), client.Config{URLs: []string{"wss://chat.example.org"}, User: "bot"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
}
`

// TestAnOutsideProgramBuilds: somebody else's module needs this one and nothing
// else of ours.
func TestAnOutsideProgramBuilds(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a program")
	}
	module, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	sums, err := os.ReadFile(filepath.Join(module, "go.sum"))
	if err != nil {
		t.Fatal(err)
	}
	const path = "github.com/parley-chat/parley/services/ingress/protocol"
	for name, content := range map[string]string{
		"go.mod": "module example.org/bot\n\ngo 1.26.0\n\nrequire " + path + " v0.0.0\n\nreplace " + path + " => " + module + "\n",
		"go.sum": string(sums), "main.go": outside,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run := func(args ...string) string {
		cmd := exec.CommandContext(t.Context(), "go", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=mod")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	run("build", "-o", filepath.Join(dir, "bot"), ".")
	for _, dep := range strings.Fields(run("list", "-deps", ".")) {
		if strings.HasPrefix(dep, "github.com/parley-chat/") && !strings.HasPrefix(dep, path) {
			t.Errorf("the client needs %s", dep)
		}
	}
}
