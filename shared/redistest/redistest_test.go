package redistest

import (
	"context"
	"testing"
	"time"
)

func TestServer(t *testing.T) {
	s := Start(t, Options{})
	client := s.Client()
	ctx := t.Context()
	if err := client.Set(ctx, "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	s.Restart()
	if got, err := client.Get(ctx, "k").Result(); err != nil || got != "v" {
		t.Fatalf("after a kill: %q, %v; want what was acknowledged", got, err)
	}
	s.Pause()
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if err := client.Ping(short).Err(); err == nil {
		t.Error("a paused server answers")
	}
	s.Resume()
	s.Flush()
	if n := client.DBSize(ctx).Val(); n != 0 {
		t.Errorf("%d keys after Flush", n)
	}
	s.Kill()
	if err := client.Ping(ctx).Err(); err == nil {
		t.Error("a killed server answers")
	}
	s.Run()
	if err := client.Ping(ctx).Err(); err != nil {
		t.Error(err)
	}
}

func TestArgs(t *testing.T) {
	s := Start(t, Options{Args: []string{"--maxmemory", "3mb", "--appendfsync", "no"}})
	config := s.Client().ConfigGet(t.Context(), "appendfsync").Val()
	if config["appendfsync"] != "no" {
		t.Errorf("%v: want the test's own arguments to win", config)
	}
}
