package store

import (
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/parley-chat/parley/shared/event"
	"github.com/parley-chat/parley/shared/redistest"
)

// BenchmarkAppend is one batch of 64 entries in 16 rooms, with appendfsync always.
func BenchmarkAppend(b *testing.B) {
	server := redistest.Start(b, redistest.Options{})
	e := newRedis(&redis.UniversalOptions{Addrs: []string{server.Addr}, MaxRetries: -1}, "test", Fast)
	defer e.close()
	l, err := (&Store{e}).Open(b.Context(), part, 1)
	if err != nil {
		b.Fatal(err)
	}
	var head uint64
	for b.Loop() {
		batch := make([]Write, 16)
		for i := range batch {
			batch[i] = write(event.RoomID(fmt.Sprint("room", i)), head+1, head+4)
			if head > 1000 {
				batch[i].Floor = head - 1000
			}
		}
		head += 4
		if err := l.Append(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed())/float64(time.Microsecond)/float64(b.N)/64, "µs/entry")
}
