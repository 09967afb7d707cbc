package socket

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func prefixes(texts ...string) (out []netip.Prefix) {
	for _, text := range texts {
		out = append(out, netip.MustParsePrefix(text))
	}
	return out
}

func TestNetworkIsAnAddressOrASlash64(t *testing.T) {
	for address, want := range map[string]string{
		"192.0.2.1":           "192.0.2.1/32",
		"2001:db8:1:2:3:4::5": "2001:db8:1:2::/64",
	} {
		if got := network(netip.MustParseAddr(address)).String(); got != want {
			t.Errorf("%s is of %s, want %s", address, got, want)
		}
	}
}

func TestBucket(t *testing.T) {
	var b Bucket
	second := int64(time.Second)
	for i := range 3 {
		if !b.Take(second, 2, 3) {
			t.Fatalf("take %d of a burst of 3 was refused", i+1)
		}
	}
	if b.Take(second, 2, 3) {
		t.Error("the burst was exceeded")
	}
	if !b.Take(second+second/2, 2, 3) || b.Take(second+second/2, 2, 3) {
		t.Error("half a second at 2 a second is one more")
	}
}

func TestWheel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := NewWheel(50*time.Millisecond, time.Second)
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { w.Run(ctx) })
		began := time.Now()
		for _, delay := range []time.Duration{0, 40 * time.Millisecond, 500 * time.Millisecond, time.Second, 3700 * time.Millisecond} {
			called := make(chan time.Duration, 1)
			w.After(delay, func(time.Time) time.Duration { called <- time.Since(began); return 0 })
			if got := <-called; got < delay-50*time.Millisecond || got > delay+100*time.Millisecond {
				t.Errorf("due after %s was called after %s", delay, got)
			}
			began = time.Now()
		}
		var turns []time.Duration
		done := make(chan struct{})
		began = time.Now()
		w.After(100*time.Millisecond, func(time.Time) time.Duration {
			if turns = append(turns, time.Since(began)); len(turns) == 3 {
				close(done)
				return 0
			}
			return 200 * time.Millisecond
		})
		<-done
		if last := turns[2]; last < 400*time.Millisecond || last > 700*time.Millisecond {
			t.Errorf("turns at %v", turns)
		}
		stop()
		running.Wait()
	})
}

func TestMemoryPressureWithoutALimit(t *testing.T) {
	if MemoryPressure(0.9)() {
		t.Error("pressed without a limit")
	}
}

// TestAWriteThatBeganWellIsNotWaitedForLonger: patience begins with the last progress.
func TestAWriteThatBeganWellIsNotWaitedForLonger(t *testing.T) {
	const patience = 10 * time.Second
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		defer ours.Close()
		defer theirs.Close()
		go func() {
			for range 3 {
				time.Sleep(patience - time.Second)
				_, _ = theirs.Read(make([]byte, 1<<10))
			}
		}()
		began := time.Now()
		c := &Conn{net: ours}
		rest, err := c.drip(make([]byte, 32<<10), patience)
		if took := time.Since(began); !errors.Is(err, os.ErrDeadlineExceeded) || len(rest) != 29<<10 || took != 3*(patience-time.Second)+patience {
			t.Errorf("after %s %d bytes are left: %v", took, len(rest), err)
		}
	})
}
