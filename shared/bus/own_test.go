package bus

import (
	"context"
	"strings"
	"testing"
)

func TestWrongRegistrations(t *testing.T) {
	nop := func(context.Context, []int) error { return nil }
	for _, c := range []struct {
		name     string
		register func(*Bus)
		want     string
	}{
		{"name", func(b *Bus) { Handle(b, Topic[int]{Name: "a b", Groups: []string{"g"}}, "g", nop) }, `topic "a b"`},
		{"group", func(b *Bus) { Handle(b, Topic[int]{Name: "a", Groups: []string{"g"}}, "h", nop) }, "would be trimmed"},
		{"twice", func(b *Bus) {
			Handle(b, Topic[int]{Name: "a", Groups: []string{"g"}}, "g", nop)
			Handle(b, Topic[int]{Name: "a", Groups: []string{"g"}}, "g", nop)
		}, "two consumers"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, err := New(nil, Config{Partitions: 1, Name: "x"})
			if err != nil {
				t.Fatal(err)
			}
			defer b.Close()
			c.register(b)
			if err := b.Run(t.Context()); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Run: %v, want %q in it", err, c.want)
			}
		})
	}
}
