package bus

import (
	"testing"

	"pgregory.net/rapid"
)

func TestPlan(t *testing.T) {
	for _, c := range []struct{ partitions, members, owned, take, give int }{
		{8, 1, 0, 8, 0},
		{8, 1, 8, 0, 0},
		{8, 2, 8, 0, 4},
		{8, 2, 1, 3, 0},
		{8, 3, 8, 0, 5},
		{8, 3, 2, 1, 0},
		{8, 20, 1, 0, 0},
		{1, 2, 0, 1, 0},
		{8, 0, 0, 8, 0}, // it counts itself even when the set does not
	} {
		if take, give := plan(c.partitions, c.members, c.owned); take != c.take || give != c.give {
			t.Errorf("plan(%d, %d, %d) takes %d and gives %d; want %d, %d", c.partitions, c.members, c.owned, take, give, c.take, c.give)
		}
	}
}

// Members that plan in any order, on what is free, settle: all is owned, nobody
// has more than a fair share, and nothing moves any more.
func TestPlanSettles(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		partitions := rapid.IntRange(1, 64).Draw(t, "partitions")
		owned := make([]int, rapid.IntRange(1, 12).Draw(t, "members"))
		free := partitions
		for i := range owned {
			owned[i] = rapid.IntRange(0, free).Draw(t, "owned")
			free -= owned[i]
		}
		for range 2 {
			for i := range owned {
				take, give := plan(partitions, len(owned), owned[i])
				take = min(take, free)
				owned[i] += take - give
				free += give - take
			}
		}
		if free != 0 {
			t.Fatalf("%d partitions are nobody's: %v", free, owned)
		}
		for i := range owned {
			if take, give := plan(partitions, len(owned), owned[i]); min(take, free)+give != 0 {
				t.Fatalf("still moving: %v", owned)
			}
		}
	})
}
