package redisclient

import (
	"context"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/parley-chat/parley/shared/redistest"
)

func TestErrorsAreCountedByKind(t *testing.T) {
	server := redistest.Start(t, redistest.Options{})
	registry := prometheus.NewRegistry()
	open := func(name string) redis.UniversalClient {
		o, err := Options(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		o.ReadTimeout, o.DialerRetries = 200*time.Millisecond, 1
		client := redis.NewUniversalClient(o)
		CountErrors(client, registry, name)
		t.Cleanup(func() { _ = client.Close() })
		return client
	}
	ctx := context.Background()
	rooms, other := open("rooms"), open("registry")
	_ = rooms.Get(ctx, "nothing").Err()
	_ = rooms.EvalSha(ctx, "0000000000000000000000000000000000000000", nil).Err()
	for key, n := range series(t, registry) {
		if n != 0 {
			t.Errorf("%s is %v after what is no failure", key, n)
		}
	}
	_ = rooms.Set(ctx, "text", "x", 0).Err()
	_ = rooms.Incr(ctx, "text").Err()
	server.Pause()
	_ = rooms.Get(ctx, "text").Err()
	server.Resume()
	server.Kill()
	_ = other.Get(ctx, "text").Err()
	seen := series(t, registry)
	for _, want := range []string{"rooms reply", "rooms timeout", "registry dial"} {
		if seen[want] == 0 {
			t.Errorf("%s was not counted: %v", want, seen)
		}
	}
	CountErrors(open("x"), nil, "x") // no registry: nothing happens
}

// series are the counts by client and kind.
func series(t *testing.T, registry prometheus.Gatherer) map[string]float64 {
	t.Helper()
	seen := map[string]float64{}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.Metric {
			seen[m.Label[0].GetValue()+" "+m.Label[1].GetValue()] = m.GetCounter().GetValue()
		}
	}
	return seen
}
