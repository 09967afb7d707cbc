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
		{"after a wave: half of the heap is garbage", heap{allocated: 1001 * mib, live: 40 * mib, objects: 75 * mib, free: 5 * mib}, true},
		{"after a wave: collected, and kept", heap{allocated: 1001 * mib, live: 40 * mib, objects: 40 * mib, free: 35 * mib}, true},
		{"given back already", heap{allocated: 1001 * mib, live: 40 * mib, objects: 41 * mib, free: 1 * mib}, false},
		{"given back, and what could not be is within pages in use", heap{allocated: 1001 * mib, live: 40 * mib, objects: 41 * mib, free: 8 * mib, stuck: 7 * mib}, false},
		{"given back once, and a wave since", heap{allocated: 1001 * mib, live: 40 * mib, objects: 41 * mib, free: 20 * mib, stuck: 7 * mib}, true},
		{"what was stuck is in use again", heap{allocated: 1001 * mib, live: 40 * mib, objects: 41 * mib, free: 2 * mib, stuck: 7 * mib}, false},
		{"busy", heap{allocated: 1200 * mib, live: 40 * mib, objects: 75 * mib, free: 5 * mib}, false},
		{"small, with a third to spare", heap{allocated: 1001 * mib, live: 4 * mib, objects: 5 * mib, free: 1 * mib}, true},
		{"small", heap{allocated: 1001 * mib, live: 4 * mib, objects: 4*mib + mib/2, free: mib / 2}, false},
		{"a small part of much", heap{allocated: 1001 * mib, live: 400 * mib, objects: 410 * mib, free: 10 * mib}, false},
		{"a collection that found more than there is now", heap{allocated: 1001 * mib, live: 60 * mib, objects: 50 * mib, free: mib}, false},
	}
	for _, test := range tests {
		if got := test.now.worthwhile(before); got != test.want {
			t.Errorf("%s: %t, want %t", test.name, got, test.want)
		}
	}
}
