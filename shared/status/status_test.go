package status

import (
	"context"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/parley-chat/parley/shared/bus"
	"github.com/parley-chat/parley/shared/bus/membus"
	"github.com/parley-chat/parley/shared/event"
	"github.com/parley-chat/parley/shared/topic"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestMeasuresAreSaid(t *testing.T) {
	backend := membus.New()
	b, err := bus.New(backend, bus.Config{Partitions: 2, Name: "edge-1", LeaseTTL: 600 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	said := make(chan event.Event, 100)
	bus.Handle(b, topic.Events(), topic.Notifier, func(_ context.Context, batch []event.Event) error {
		for _, e := range batch {
			said <- e
		}
		return nil
	})
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = b.Run(ctx) })
	running.Go(func() {
		Run(ctx, Config{Bus: b, Service: "notifier", Group: topic.Notifier, Every: 20 * time.Millisecond, Fill: func(m *event.Measures) {
			m.Notifier = &event.NotifierMeasures{Rooms: 3}
		}})
	})
	Run(ctx, Config{Bus: b}) // never: it returns at once
	timeout := time.After(20 * time.Second)
	for whole := false; !whole; {
		select {
		case e := <-said:
			m := e.Measured
			if e.Room != event.StatusRoom || m == nil || m.Process != "edge-1" || m.Service != "notifier" || m.Notifier == nil || m.Memory == 0 || m.At < m.Since {
				t.Fatalf("said %+v", e)
			}
			whole = m.Bus.Heard > 0 && len(m.Bus.Leases) == 2 && len(m.Bus.Lag) > 0
		case <-timeout:
			t.Fatal("nothing whole was said in 20 s")
		}
	}
	cancel()
	running.Wait()
	_ = b.Close()
	_ = backend.Close()
	if !Spoke("status-notifier-x") || Spoke("chat-03") {
		t.Error("scopes are mixed up")
	}
}
