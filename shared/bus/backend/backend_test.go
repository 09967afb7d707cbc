package backend

import (
	"strings"
	"testing"
)

func TestOpen(t *testing.T) {
	for _, url := range []string{"memory://", "redis://127.0.0.1:1/0", "redis+cluster://a:1,b:1", "redis+sentinel://a:1/m", "nats://127.0.0.1:1"} {
		b, err := Open(t.Context(), url, Options{Prefix: "p", Name: "test"})
		if err != nil {
			t.Errorf("Open(%s): %v", url, err)
			continue
		}
		if b.Durable() == IsMemory(url) {
			t.Errorf("%s: Durable is %v", url, b.Durable())
		}
		if err := b.Close(); err != nil {
			t.Errorf("Close of %s: %v", url, err)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	for _, url := range []string{"", "kafka://u:secret@a", "redis://:bad:port", "nats://a:bad"} {
		_, err := Open(t.Context(), url, Options{})
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("Open(%q): %v", url, err)
		}
	}
}
