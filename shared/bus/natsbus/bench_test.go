package natsbus

import (
	"log/slog"
	"sync"
	"testing"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/parley-chat/parley/shared/natstest"
)

func benchmark(b *testing.B) (*Backend, <-chan *message.Message) {
	server := natstest.Start(b, natstest.Options{})
	backend, err := Open(b.Context(), server.URL, Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = backend.Close() })
	sub, err := backend.Subscriber(b.Context(), "g")
	if err != nil {
		b.Fatal(err)
	}
	in, err := sub.Subscribe(b.Context(), "a")
	if err != nil {
		b.Fatal(err)
	}
	return backend, in
}

func send(b *testing.B, backend *Backend) {
	if err := backend.Publisher().Publish("a", message.NewMessage(watermill.NewUUID(), make([]byte, 1000))); err != nil {
		b.Error(err)
	}
}

// One message at a time: publish, read, acknowledge.
func BenchmarkHop(b *testing.B) {
	backend, in := benchmark(b)
	for b.Loop() {
		var sending sync.WaitGroup
		sending.Go(func() { send(b, backend) })
		(<-in).Ack()
		sending.Wait()
	}
}

// Publishing and reading side by side, each one message at a time.
func BenchmarkFlow(b *testing.B) {
	backend, in := benchmark(b)
	b.ResetTimer()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range b.N {
			send(b, backend)
		}
	}()
	for range b.N {
		(<-in).Ack()
	}
	<-done
}

// Reading what lies there.
func BenchmarkRead(b *testing.B) {
	backend, in := benchmark(b)
	for range b.N {
		send(b, backend)
	}
	b.ResetTimer()
	for range b.N {
		(<-in).Ack()
	}
}
