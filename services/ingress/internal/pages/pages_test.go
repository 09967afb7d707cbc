package pages

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

func TestCache(t *testing.T) {
	page := func(n int) *Page { return &Page{Entries: make([]byte, n-overhead-1)} }
	ask := func(limit int) Question { return Question{Room: "r", Limit: limit} }
	c := New(1000)
	c.Put(ask(1), page(400))
	c.Put(ask(2), page(400))
	c.Get(ask(1))
	c.Put(ask(3), page(400)) // the second was used least lately
	for limit, want := range map[int]bool{1: true, 2: false, 3: true} {
		if got := c.Get(ask(limit)) != nil; got != want {
			t.Errorf("page %d is kept: %t, want %t", limit, got, want)
		}
	}
	c.Put(ask(3), page(1001)) // more than there is room for; what it was is not true any more
	if c.Get(ask(3)) != nil || c.Bytes() != 400 {
		t.Errorf("%d bytes are kept, want 400 without page 3", c.Bytes())
	}
	if c := New(0); c.Bytes() != 0 {
		t.Error("an empty cache has bytes")
	}
}

// TestCacheProperty: whatever is put and got, the bytes stay within the bound and are
// those of the pages that are there, and a page got is the one put last.
func TestCacheProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.Int64Range(0, 5000).Draw(t, "max")
		c, last := New(limit), map[Question]*Page{}
		for i := range rapid.IntRange(1, 60).Draw(t, "steps") {
			q := Question{Room: fmt.Sprint(rapid.IntRange(0, 9).Draw(t, "room")), Limit: 50}
			if rapid.Bool().Draw(t, "put") {
				p := &Page{Head: uint64(i), Entries: make([]byte, rapid.IntRange(0, 2000).Draw(t, "size"))}
				c.Put(q, p)
				last[q] = p
			} else if p := c.Get(q); p != nil && p != last[q] {
				t.Fatalf("room %s: page %d, want %d", q.Room, p.Head, last[q].Head)
			}
			var sum int64
			for q := range last {
				if p := c.Get(q); p != nil {
					sum += int64(len(p.Entries) + len(q.Room) + overhead)
				}
			}
			if sum != c.Bytes() || sum > limit {
				t.Fatalf("%d bytes are counted, %d are there, %d are allowed", c.Bytes(), sum, limit)
			}
		}
	})
}
