package redistest

import "testing"

func TestTroubles(t *testing.T) {
	for _, x := range Troubles() {
		t.Run(x.Name, func(t *testing.T) {
			t.Parallel()
			s := x.Start(t)
			x.Begin(s)
			x.End(s)
		})
	}
}
