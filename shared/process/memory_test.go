package process

import "testing"

func TestWhenMemoryIsGivenBack(t *testing.T) {
	const mib = 1 << 20
	before := heap{allocated: 1000 * mib}
	tests := []struct {
		name string
		now  heap
		want bool
	}{
		{"after a wave: half of the heap is garbage", heap{1001 * mib, 40 * mib, 75 * mib, 5 * mib}, true},
		{"after a wave: collected, and kept", heap{1001 * mib, 40 * mib, 40 * mib, 35 * mib}, true},
		{"given back already", heap{1001 * mib, 40 * mib, 41 * mib, 2 * mib}, false},
		{"busy", heap{1200 * mib, 40 * mib, 75 * mib, 5 * mib}, false},
		{"small", heap{1001 * mib, 3 * mib, 5 * mib, 1 * mib}, false},
		{"a small part of much", heap{1001 * mib, 400 * mib, 410 * mib, 10 * mib}, false},
		{"a collection that found more than there is now", heap{1001 * mib, 60 * mib, 50 * mib, mib}, false},
	}
	for _, test := range tests {
		if got := test.now.worthwhile(before); got != test.want {
			t.Errorf("%s: %t, want %t", test.name, got, test.want)
		}
	}
}
