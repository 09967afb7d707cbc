package topic

import (
	"fmt"
	"testing"

	"github.com/parley-chat/parley/shared/bus"
	"github.com/parley-chat/parley/shared/event"
)

// Bus and event reckon partitions apart from each other, since neither may import
// the other; services that compare them rely on equal answers.
func TestPartitionsAgree(t *testing.T) {
	keys := []string{"", "general", "~partition/", "~partition/x", "~partition/-1", "~partition/99"}
	for i := range 100 {
		keys = append(keys, fmt.Sprint("room", i), event.PartitionKey(i%16))
	}
	for _, key := range keys {
		for _, n := range []int{1, 8, 13} {
			if a, b := bus.PartitionOf(key, n), event.PartitionFor(key, n); a != b {
				t.Errorf("%q of %d: bus says %d, event %d", key, n, a, b)
			}
		}
	}
}
