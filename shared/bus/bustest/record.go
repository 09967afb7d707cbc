package bustest

import (
	"context"
	"slices"
	"sync"
	"testing"

	"github.com/parley-chat/parley/shared/bus"
)

// record is a Consumer, for all partitions of all replicas of a test, that writes
// down what comes.
type record struct {
	mu      sync.Mutex
	got     map[string][]int // by key
	batches []int            // sizes
	missed  []string
	closed  int
	inHand  map[int]int // partition → how many consume it now
	doubled bool        // a partition was consumed twice at a time
	owners  map[int]uint64
	before  func(bus.Partition, []said) error // runs first, without the lock
}

func newRecord() *record {
	return &record{got: map[string][]int{}, inHand: map[int]int{}, owners: map[int]uint64{}}
}

// own registers the record at a replica.
func (r *record) own(b *replica, t bus.Topic[said], group string) {
	bus.Own(b.Bus, t, group, func(_ context.Context, p bus.Partition) (bus.Consumer[said], error) {
		return r.open(p), nil
	})
}

func (r *record) open(p bus.Partition) bus.Consumer[said] {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.owners[p.Number] = p.Generation
	return &recording{r, p}
}

type recording struct {
	*record
	partition bus.Partition
}

func (r *recording) Consume(_ context.Context, batch []said) error {
	r.enter(r.partition.Number)
	defer r.leave(r.partition.Number)
	if r.before != nil {
		if err := r.before(r.partition, batch); err != nil {
			return err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.batches = append(r.batches, len(batch))
	for _, e := range batch {
		r.got[e.Key] = append(r.got[e.Key], e.N)
	}
	return nil
}

func (r *recording) Missed(_ context.Context, scope string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.missed = append(r.missed, scope)
}

func (r *recording) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed++
}

func (r *record) enter(p int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.inHand[p]++
	r.doubled = r.doubled || r.inHand[p] > 1
}

func (r *record) leave(p int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.inHand[p]--
}

func (r *record) of(key string) []int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.got[key])
}

func (r *record) has(key string, want ...int) func() bool {
	return func() bool { return slices.Equal(r.of(key), want) }
}

func (r *record) hasMissed(scope string) func() bool {
	return func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return slices.Contains(r.missed, scope)
	}
}

func (r *record) missedNone(t *testing.T) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.missed) > 0 {
		t.Errorf("Missed was called for %v", r.missed)
	}
}

func (r *record) owned() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.owners)
}

// firsts leaves out what came again.
func firsts(numbers []int) []int {
	seen := map[int]bool{}
	var out []int
	for _, n := range numbers {
		if !seen[n] {
			seen[n] = true
			out = append(out, n)
		}
	}
	return out
}

// upTo is 1 … n.
func upTo(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i + 1
	}
	return out
}
