package membus

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/parley-chat/parley/shared/bus"
	"github.com/parley-chat/parley/shared/bus/bustest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// one lets a test's backends be one broker, as this one has no other way.
type one struct{ *Backend }

func (one) Close() error { return nil }

func TestConformance(t *testing.T) {
	b := New()
	t.Cleanup(func() { _ = b.Close() })
	bustest.Run(t, bustest.Harness{New: func(*testing.T) bus.Backend { return one{b} }})
}
