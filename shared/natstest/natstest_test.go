package natstest

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

func TestServer(t *testing.T) {
	s := Start(t, Options{})
	ctx := t.Context()
	js := s.JetStream()
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "s", Subjects: []string{"s.>"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(ctx, "s.a", []byte("v")); err != nil {
		t.Fatal(err)
	}
	s.Restart()
	stream, err := s.JetStream().Stream(ctx, "s")
	if err != nil {
		t.Fatal(err)
	}
	if msg, err := stream.GetMsg(ctx, 1); err != nil || string(msg.Data) != "v" {
		t.Fatalf("after a kill: %v, %v; want what was acknowledged", msg, err)
	}

	js = s.JetStream()
	s.Pause()
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if _, err := js.AccountInfo(short); err == nil {
		t.Error("a paused server answers")
	}
	s.Resume()
	s.Flush()
	if info, err := s.JetStream().AccountInfo(ctx); err != nil || info.Streams != 0 {
		t.Errorf("after Flush: %+v, %v; want no streams", info, err)
	}
	if _, err := s.JetStream().CreateStream(ctx, jetstream.StreamConfig{Name: "s"}); err != nil {
		t.Fatal(err)
	}
	s.Wipe()
	if info, err := s.JetStream().AccountInfo(ctx); err != nil || info.Streams != 0 {
		t.Errorf("after Wipe: %+v, %v; want no streams", info, err)
	}
}

func TestCluster(t *testing.T) {
	servers := StartCluster(t, 3)
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	config := jetstream.StreamConfig{Name: "s", Subjects: []string{"s"}, Replicas: 3}
	js := servers[0].JetStream()
	for { // the leader may not know yet that all are there
		_, err := js.CreateStream(ctx, config)
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
	}
	servers[1].Kill()
	for {
		_, err := js.Publish(ctx, "s", nil)
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
	}
	servers[1].Run()
}
