package deployment

import (
	"debug/elf"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// TestBinariesOfImages: an image of nothing but the binary can run it.
func TestBinariesOfImages(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("images are of Linux programs; scripts/images compiles them for it")
	}
	for _, service := range []string{"ingress", "chat", "notifier"} {
		path := filepath.Join(binaries, service)
		program, err := elf.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer program.Close()
		for _, p := range program.Progs {
			if p.Type == elf.PT_INTERP {
				t.Errorf("%s wants a dynamic linker", service)
			}
		}
		cmd := exec.Command(path, "--version")
		cmd.Env = []string{} // as in a container
		if out, err := cmd.CombinedOutput(); err != nil || !strings.HasPrefix(string(out), service+" ") {
			t.Errorf("%s --version: %v %s", service, err, out)
		}
	}
}
