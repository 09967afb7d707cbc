package event

import (
	"testing"
	"time"
)

func TestLatencyBuckets(t *testing.T) {
	for _, c := range []struct {
		took time.Duration
		want int
	}{
		{0, 0}, {125 * time.Microsecond, 0}, {126 * time.Microsecond, 1}, {250 * time.Microsecond, 2}, {251 * time.Microsecond, 3},
		{time.Millisecond, 6}, {128 * time.Millisecond, 20}, {time.Hour, LatencyBuckets - 1}, {-time.Second, 0},
	} {
		if got := LatencyBucket(c.took); got != c.want {
			t.Errorf("LatencyBucket(%s) = %d, want %d", c.took, got, c.want)
		}
	}
}
