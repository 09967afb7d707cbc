package chaos

import (
	"os"
	"path/filepath"
	"testing"
)

func TestCutTailKeepsTransactionsWhole(t *testing.T) {
	const (
		set   = "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n"
		multi = "*1\r\n$5\r\nMULTI\r\n" + set + "*1\r\n$4\r\nEXEC\r\n"
		note  = "#TS:1763765123\r\n"
		torn  = "*3\r\n$3\r\nSET\r\n$1\r\n"
	)
	for name, c := range map[string]struct {
		file, want string
		n          int
	}{
		"one":                   {set + set, set, 1},
		"a transaction is one":  {set + multi, set, 1},
		"comments do not count": {set + note + set, set + note, 1},
		"a torn end goes":       {set + set + torn, set, 1},
		"more than there is":    {set + set, "", 5},
		"an empty file":         {"", "", 1},
		"an open transaction":   {set + "*1\r\n$5\r\nMULTI\r\n" + set, set, 1},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "aof")
			if err := os.WriteFile(path, []byte(c.file), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := cutTail(path, c.n); err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != c.want {
				t.Errorf("%q is left, want %q", got, c.want)
			}
		})
	}
}
