package beat

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestUntil(t *testing.T) {
	tests := []struct{ now, every, want time.Duration }{
		{0, time.Second, time.Second},
		{1, time.Second, time.Second - 1},
		{300 * time.Millisecond, 250 * time.Millisecond, 200 * time.Millisecond},
		{time.Second, time.Second, time.Second},
		{5*time.Second - 1, time.Second, 1},
	}
	for _, test := range tests {
		if got := until(test.now, test.every); got != test.want {
			t.Errorf("%s past the beginning, every %s: in %s, want %s", test.now, test.every, got, test.want)
		}
	}
}

// Tickers that began at different times tick together, and a slow receiver leaves beats out.
func TestTickersAreInStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began = time.Now()
		time.Sleep(100 * time.Millisecond)
		one := NewTicker(time.Second)
		defer one.Stop()
		time.Sleep(600 * time.Millisecond)
		other := NewTicker(500 * time.Millisecond)
		defer other.Stop()
		var at []time.Duration
		tick := func(ticker *Ticker, busy time.Duration) {
			<-ticker.C
			at = append(at, time.Since(began))
			time.Sleep(busy)
			ticker.Again()
		}
		tick(one, 0)
		tick(other, 700*time.Millisecond)
		tick(one, 0)
		tick(other, 0)
		want := []time.Duration{time.Second, time.Second, 2 * time.Second, 2 * time.Second}
		for i := range want {
			if at[i] != want[i] {
				t.Fatalf("ticks at %v, want %v", at, want)
			}
		}
	})
}
