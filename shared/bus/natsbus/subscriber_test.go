package natsbus

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// cutOff ends the subscriptions' connections as the death of the process would:
// nothing more is written.
func cutOff(r *reading) {
	s := r.sub.(*subscriber)
	s.mu.Lock()
	defer s.mu.Unlock()
	for one := range s.open {
		one.conn.Close()
	}
}

// What a dead reader had in hand comes first, at once, and in order.
func TestDeadReader(t *testing.T) {
	b, _ := start(t)
	publish(t, b, "a", numbers(1, 200)...)
	r := subscribe(t, b, "a", "g")
	r.want(numbers(1, 100)...)
	_ = r.next()
	eventually(t, "acknowledged", func() bool {
		d, err := b.Depth(t.Context(), "a", "g")
		return err == nil && d.Messages == 100
	})
	cutOff(r)
	r.wantEnd()
	publish(t, b, "a", "201")
	began := time.Now()
	next := subscribe(t, b, "a", "g")
	next.want("101")
	if d := time.Since(began); d > 2*time.Second {
		t.Errorf("what the dead reader had came after %v", d)
	}
	next.want(numbers(102, 201)...)
}

// Two readers of a group by mistake: nothing is lost, whoever ends.
func TestTwoReaders(t *testing.T) {
	b, _ := start(t)
	publish(t, b, "a", numbers(1, 20)...)
	old := subscribe(t, b, "a", "g")
	old.want("1")
	inHand := old.next()
	young := subscribe(t, b, "a", "g")
	young.want(numbers(2, 15)...)
	inHand.Ack()
	old.want("3", "4")
	young.close()
	old.close()
	r := subscribe(t, b, "a", "g")
	first := r.next()
	var n int
	if _, err := fmt.Sscan(string(first.Payload), &n); err != nil || n > 16 {
		t.Fatalf("after both ended %q came first, want 16 at most", first.Payload)
	}
	first.Ack()
	r.want(numbers(n+1, 20)...)
}

// A reader that takes long finds all there is afterwards, though heartbeats came meanwhile.
func TestSlowReader(t *testing.T) {
	b, _ := start(t)
	publish(t, b, "a", "1")
	r := subscribe(t, b, "a", "g")
	msg := r.next()
	wait := time.NewTimer(silence + heartbeat)
	defer wait.Stop()
	publish(t, b, "a", numbers(2, 300)...)
	<-wait.C
	msg.Ack()
	r.want(numbers(2, 300)...)
}

func TestContextEnds(t *testing.T) {
	b, _ := start(t)
	publish(t, b, "a", "1", "2")
	sub, err := b.Subscriber(t.Context(), "g")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	in, err := sub.Subscribe(ctx, "a")
	if err != nil {
		t.Fatal(err)
	}
	r := &reading{t, sub, in}
	r.want("1")
	msg := r.next()
	cancel()
	select {
	case <-msg.Context().Done():
	case <-time.After(patience):
		t.Fatal("the message's context goes on")
	}
	r.wantEnd()
	r.close()
	subscribe(t, b, "a", "g").want("2")
}

// The server dies with everything trimmed: it goes on to count, and the cursor is right.
func TestRestartOfAnEmptyTopic(t *testing.T) {
	b, server := start(t)
	publish(t, b, "a", numbers(1, 10)...)
	r := subscribe(t, b, "a", "g")
	r.want(numbers(1, 10)...)
	eventually(t, "acknowledged", func() bool {
		d, err := b.Depth(t.Context(), "a", "g")
		return err == nil && d.Messages == 0
	})
	if err := b.Trim(t.Context(), "a", []string{"g"}); err != nil {
		t.Fatal(err)
	}
	server.Restart()
	r.wantEnd()
	eventually(t, "connected again", func() bool { return tryPublish(t.Context(), b, "a", "11") == nil })
	subscribe(t, b, "a", "g").want("11")
}

// A topic that was dropped and made again, or a bucket that was lost: the cursor of
// the one before means nothing.
func TestCursorOfAnother(t *testing.T) {
	b, server := start(t)
	publish(t, b, "a", numbers(1, 5)...)
	r := subscribe(t, b, "a", "g")
	r.want(numbers(1, 5)...)
	r.close()
	if err := server.JetStream().DeleteStream(t.Context(), b.streamName("a")); err != nil {
		t.Fatal(err)
	}
	publish(t, b, "a", "6", "7")
	if d, err := b.Depth(t.Context(), "a", "g"); err != nil || d.Messages != 2 {
		t.Fatalf("Depth: %+v, %v; want 2", d, err)
	}
	r = subscribe(t, b, "a", "g")
	r.want("6", "7")
	eventually(t, "acknowledged", func() bool {
		d, err := b.Depth(t.Context(), "a", "g")
		return err == nil && d.Messages == 0
	})
	if err := server.JetStream().DeleteKeyValue(t.Context(), b.cursors.name); err != nil {
		t.Fatal(err)
	}
	publish(t, b, "a", "8")
	r.want("8")
	r.wantEnd() // its cursor cannot be written
	r.close()
	subscribe(t, b, "a", "g").want("6", "7", "8")
}

// A server that lost its newest messages gives their numbers again.
func TestCursorBeyondTheEnd(t *testing.T) {
	b, _ := start(t)
	publish(t, b, "a", "1", "2")
	stream, err := b.js.Stream(t.Context(), b.streamName("a"))
	if err != nil {
		t.Fatal(err)
	}
	err = b.cursors.do(t.Context(), func(ctx context.Context, o *opened) error {
		_, err := o.PutString(ctx, cursorKey("a", "g"), fmt.Sprint(stream.CachedInfo().Created.UnixNano(), " ", 100))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	r := subscribe(t, b, "a", "g")
	publish(t, b, "a", "3")
	r.want("3")
	r.close()
	publish(t, b, "a", "4")
	subscribe(t, b, "a", "g").want("4")
}

func TestConsumersGo(t *testing.T) {
	b, _ := start(t)
	for range 3 {
		r := subscribe(t, b, "a", "g")
		publish(t, b, "a", time.Now().String())
		r.next().Ack()
		r.close()
	}
	eventually(t, "the consumers are gone", func() bool {
		stream, err := b.js.Stream(t.Context(), b.streamName("a"))
		return err == nil && stream.CachedInfo().State.Consumers == 0
	})
}

func TestConsumerDeleted(t *testing.T) {
	b, server := start(t)
	r := subscribe(t, b, "a", "g")
	publish(t, b, "a", "1")
	r.want("1")
	js := server.JetStream()
	stream, err := js.Stream(t.Context(), b.streamName("a"))
	if err != nil {
		t.Fatal(err)
	}
	for name := range stream.ConsumerNames(t.Context()).Name() {
		if err := stream.DeleteConsumer(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	r.wantEnd()
}

func TestStranger(t *testing.T) {
	b, _ := start(t)
	b.strangerAge = 50 * time.Millisecond
	publish(t, b, "a", "1", "2")
	subscribe(t, b, "a", "known").want("1", "2")
	stranger := subscribe(t, b, "a", "stranger")
	stranger.want("1")
	stranger.close()
	exists := func() bool {
		var e entry
		err := b.cursors.do(t.Context(), func(ctx context.Context, o *opened) (err error) {
			e, err = o.read(ctx, cursorKey("a", "stranger"))
			return err
		})
		return err != nil || e.revision > 0
	}
	if !exists() {
		t.Fatal("a group that reads has no cursor")
	}
	eventually(t, "the stranger is destroyed and the rest trimmed", func() bool {
		if err := b.Trim(t.Context(), "a", []string{"known"}); err != nil {
			t.Fatal(err)
		}
		stream, err := b.js.Stream(t.Context(), b.streamName("a"))
		return err == nil && stream.CachedInfo().State.Msgs == 0 && !exists()
	})
}

// What is written for a topic: one stream with no limits, one message per cursor.
func TestStored(t *testing.T) {
	b, _ := start(t)
	publish(t, b, "a.b", numbers(1, 50)...)
	r := subscribe(t, b, "a.b", "g")
	r.want(numbers(1, 50)...)
	r.close()
	info, err := b.js.Stream(t.Context(), "t=a=2Eb")
	if err != nil {
		t.Fatal(err)
	}
	config := info.CachedInfo().Config
	if config.Storage != jetstream.FileStorage || config.Retention != jetstream.LimitsPolicy || config.MaxMsgs > 0 || config.MaxBytes > 0 || config.MaxAge > 0 {
		t.Errorf("stream %+v: want one on disk without limits", config)
	}
	cursors, err := b.js.Stream(t.Context(), "KV_t_cursors")
	if err != nil {
		t.Fatal(err)
	}
	if n := cursors.CachedInfo().State.Msgs; n != 2 {
		t.Errorf("%d messages for one cursor, want it and the bucket's first", n)
	}
	if err := b.DropTopic(t.Context(), "a.b"); err != nil {
		t.Fatal(err)
	}
	cursors, err = b.js.Stream(t.Context(), "KV_t_cursors")
	if err != nil || cursors.CachedInfo().State.Msgs != 1 {
		t.Errorf("after DropTopic: %+v, %v; want no cursor", cursors.CachedInfo().State, err)
	}
}

// One of three replicas dies, whichever leads: publishing and reading go on.
func TestReplicaDies(t *testing.T) {
	if testing.Short() {
		t.Skip("three servers at once")
	}
	servers, url := startCluster(t)
	b := openBackend(t, url)
	publish(t, b, "a", numbers(1, 50)...)
	r := subscribe(t, b, "a", "g")
	r.want(numbers(1, 20)...)
	eventually(t, "acknowledged", func() bool {
		d, err := b.Depth(t.Context(), "a", "g")
		return err == nil && d.Messages == 30
	})
	info, err := b.ensure(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range servers {
		if s.Name == info.Cluster.Leader {
			s.Kill()
		}
	}
	for _, n := range numbers(51, 100) {
		eventually(t, "published", func() bool { return tryPublish(t.Context(), b, "a", n) == nil })
	}
	r.close() // whether it has ended or not
	eventually(t, "subscribed", func() bool {
		sub, err := b.Subscriber(t.Context(), "g")
		if err != nil {
			return false
		}
		in, err := sub.Subscribe(t.Context(), "a")
		r = &reading{t, sub, in}
		return err == nil
	})
	r.want(numbers(21, 100)...)
}
