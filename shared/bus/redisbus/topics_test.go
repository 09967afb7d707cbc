package redisbus

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/parley-chat/parley/shared/bus"
	"github.com/parley-chat/parley/shared/redistest"
)

// take has a consumer of the group read n entries and acknowledge those with these positions.
func take(t *testing.T, client *redis.Client, group string, n int, ack ...int) {
	t.Helper()
	streams, err := client.XReadGroup(t.Context(), &redis.XReadGroupArgs{
		Group: group, Consumer: "c", Count: int64(n), Streams: []string{eventsKey, ">"}}).Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range ack {
		client.XAck(t.Context(), eventsKey, group, streams[0].Messages[i-1].ID)
	}
}

func TestTrim(t *testing.T) {
	b, server := start(t, fast)
	client := server.Client()
	for _, c := range []struct {
		name  string
		named []string
		read  func(t *testing.T)
		left  int64
	}{
		{"nobody has read", []string{"a", "b"}, func(*testing.T) {}, 10},
		{"one has read nothing", []string{"a", "b"}, func(t *testing.T) { take(t, client, "a", 5, 1, 2, 3, 4, 5) }, 10},
		{"the slower counts", []string{"a", "b"}, func(t *testing.T) {
			take(t, client, "a", 5, 1, 2, 3, 4, 5)
			take(t, client, "b", 3, 1, 2, 3)
		}, 7},
		{"what is pending stays", []string{"a", "b"}, func(t *testing.T) {
			take(t, client, "a", 10, 1, 2, 4, 5, 6, 7, 8, 9, 10)
			take(t, client, "b", 10, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
		}, 8},
		{"all is done", []string{"a", "b"}, func(t *testing.T) {
			take(t, client, "a", 10, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
			take(t, client, "b", 10, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
		}, 0},
		{"a group that is not there yet", []string{"a", "b", "c"}, func(t *testing.T) {
			take(t, client, "a", 10, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
			take(t, client, "b", 10, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
		}, 10},
		{"a stranger does not count", []string{"a"}, func(t *testing.T) { take(t, client, "a", 4, 1, 2, 3, 4) }, 6},
		{"nobody is named", nil, func(t *testing.T) { take(t, client, "a", 1, 1) }, 10},
	} {
		t.Run(c.name, func(t *testing.T) {
			server.Flush()
			ctx := t.Context()
			if err := b.EnsureTopic(ctx, events, []string{"a", "b"}, 0); err != nil {
				t.Fatal(err)
			}
			publish(t, b, events, numbers(1, 10)...)
			c.read(t)
			for range 2 { // again changes nothing
				if err := b.Trim(ctx, events, c.named); err != nil {
					t.Fatal(err)
				}
			}
			if left := client.XLen(ctx, eventsKey).Val(); left != c.left {
				t.Errorf("%d left, want %d", left, c.left)
			}
		})
	}
	if err := b.Trim(t.Context(), "no-such-topic", []string{"a"}); err != nil {
		t.Error(err)
	}
}

// IDs have 64 bits twice; the script must not compare them as Lua numbers.
func TestTrimLargeIDs(t *testing.T) {
	b, server := start(t, fast)
	client := server.Client()
	ctx := t.Context()
	ids := []string{"9007199254740993-9007199254740992", "9007199254740993-9007199254740993", "9007199254740993-18446744073709551615"}
	for _, id := range ids {
		client.XAdd(ctx, &redis.XAddArgs{Stream: eventsKey, ID: id, Values: []string{"f", "v"}})
	}
	if err := b.EnsureTopic(ctx, events, []string{"a", "b"}, 0); err != nil {
		t.Fatal(err)
	}
	take(t, client, "a", 2, 1, 2)
	take(t, client, "b", 3, 1)
	if err := b.Trim(ctx, events, []string{"a", "b"}); err != nil {
		t.Fatal(err)
	}
	left := client.XRange(ctx, eventsKey, "-", "+").Val()
	if len(left) != 2 || left[0].ID != ids[1] {
		t.Errorf("left: %v", left)
	}
}

// A group that nobody names is reported once, and destroyed when it does not read.
func TestStrangers(t *testing.T) {
	server := redistest.Start(t, fast)
	var log bytes.Buffer
	b, err := Open(t.Context(), server.URL, Options{Prefix: "t", Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = b.Close() }()
	ctx, client := t.Context(), server.Client()
	if err := b.EnsureTopic(ctx, events, []string{"a", "reads", "sleeps", "never"}, 0); err != nil {
		t.Fatal(err)
	}
	publish(t, b, events, numbers(1, 10)...)
	take(t, client, "sleeps", 1, 1)
	trim := func() []string {
		t.Helper()
		take(t, client, "reads", 1, 1)
		if err := b.Trim(ctx, events, []string{"a"}); err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, g := range client.XInfoGroups(ctx, eventsKey).Val() {
			names = append(names, g.Name)
		}
		return names
	}
	if names := trim(); len(names) != 4 {
		t.Fatalf("an hour is not over, and left are %v", names)
	}
	b.strangerAge = 30 * time.Millisecond
	publish(t, b, events, numbers(1, 1000)...)
	eventually(t, "those who do not read are gone, and who reads is not", func() bool {
		names := trim()
		return len(names) == 2 && names[0] == "a" && names[1] == "reads"
	})
	for _, want := range []string{"group=reads", "group=sleeps", "group=never"} {
		reported := 0
		for line := range strings.Lines(log.String()) {
			if strings.Contains(line, "nobody names does not hold") && strings.Contains(line, want) {
				reported++
			}
		}
		if reported != 1 {
			t.Errorf("%s was reported %d times:\n%s", want, reported, log.String())
		}
	}
}

func TestDepth(t *testing.T) {
	b, server := start(t, fast)
	ctx, client := t.Context(), server.Client()
	depth := func(group string) bus.Depth {
		t.Helper()
		d, err := b.Depth(ctx, events, group)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	if d := depth("g"); d != (bus.Depth{}) {
		t.Errorf("no topic: %v", d)
	}
	if err := b.EnsureTopic(ctx, events, []string{"g"}, 0); err != nil {
		t.Fatal(err)
	}
	if d := depth("g"); d != (bus.Depth{}) {
		t.Errorf("empty topic: %v", d)
	}
	const n, size = 100, 10_000 // twice: it is in the UUID, too
	for range n {
		publish(t, b, events, strings.Repeat("x", size))
	}
	for _, c := range []struct {
		name string
		do   func()
		want int64
	}{
		{"all unread", func() {}, n},
		{"some pending", func() { take(t, client, "g", 10, 1, 2, 3) }, n - 3},
		{"some trimmed", func() {
			take(t, client, "g", 10, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
			_ = b.Trim(ctx, events, []string{"g"})
		}, n - 13},
		{"all read", func() { take(t, client, "g", n) }, n - 13},
	} {
		c.do()
		d := depth("g")
		if d.Messages != c.want {
			t.Errorf("%s: %d messages, want %d", c.name, d.Messages, c.want)
		}
		if want := 2 * c.want * size; d.Bytes < want/2 || d.Bytes > want*2 {
			t.Errorf("%s: %d bytes, want about %d", c.name, d.Bytes, want)
		}
	}
	if d := depth("none yet"); d.Messages != client.XLen(ctx, eventsKey).Val() {
		t.Errorf("a group to come: %v", d)
	}
}

func TestTopicTTL(t *testing.T) {
	b, server := start(t, fast)
	ctx, client := t.Context(), server.Client()
	const topic, key = "deliveries-edge1-4f2a", "t:{deliveries-edge1-4f2a}:deliveries-edge1-4f2a"
	for range 2 {
		if err := b.EnsureTopic(ctx, topic, []string{"g"}, time.Minute); err != nil {
			t.Fatal(err)
		}
		if ttl := client.PTTL(ctx, key).Val(); ttl <= 50*time.Second || ttl > time.Minute {
			t.Errorf("time to live: %v", ttl)
		}
		publish(t, b, topic, "x") // does not take the expiry away
	}
	if err := b.EnsureTopic(ctx, topic, []string{"g"}, time.Millisecond); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it has gone by itself", func() bool { return client.Exists(ctx, key).Val() == 0 })
	for range 2 {
		if err := b.EnsureTopic(ctx, topic, []string{"g"}, 0); err != nil {
			t.Fatal(err)
		}
	}
	if ttl := client.PTTL(ctx, key).Val(); ttl != -1 {
		t.Errorf("time to live: %v, want none", ttl)
	}
	for range 2 {
		if err := b.DropTopic(ctx, topic); err != nil {
			t.Fatal(err)
		}
	}
	if client.Exists(ctx, key).Val() != 0 {
		t.Error("it is still there")
	}
	client.Set(ctx, key, "x", 0)
	if err := b.EnsureTopic(ctx, topic, []string{"g"}, 0); err == nil || errors.Is(err, bus.ErrUnavailable) {
		t.Errorf("wrong type: %v", err)
	}
}

// A full server refuses what is published, and nothing else: leases and announcements
// stay, and readers can come and read it empty.
func TestFullServer(t *testing.T) {
	b, _ := start(t, redistest.Options{Args: []string{"--maxmemory", "4mb", "--appendfsync", "no"}})
	ctx := t.Context()
	if err := b.EnsureTopic(ctx, events, []string{"g"}, 0); err != nil {
		t.Fatal(err)
	}
	// Scripts that the server does not know yet have to be taken, too.
	published := 0
	payload := strings.Repeat("x", 32<<10)
	var err error
	for err == nil {
		if err = tryPublish(ctx, b, events, payload); err == nil {
			published++
		}
	}
	if !errors.Is(err, bus.ErrUnavailable) || !strings.Contains(err.Error(), "OOM") || published == 0 {
		t.Fatalf("after %d: %v", published, err)
	}
	for range 2 {
		if l, err := b.Lease(ctx, "l", "me", time.Minute); err != nil || !l.Held {
			t.Errorf("lease: %v %v", l, err)
		}
		if _, err := b.Announce(ctx, "s", "m", time.Minute); err != nil {
			t.Errorf("announce: %v", err)
		}
	}
	if members, err := b.Members(ctx, "s"); err != nil || len(members) != 1 {
		t.Errorf("members: %v %v", members, err)
	}
	if d, err := b.Depth(ctx, events, "g"); err != nil || d.Messages != int64(published) {
		t.Errorf("depth: %v %v", d, err)
	}
	r := subscribe(t, b, events, "g")
	for range published {
		r.want(payload)
	}
	r.close()
	if err := b.Trim(ctx, events, []string{"g"}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it takes messages again", func() bool { return tryPublish(ctx, b, events, "x") == nil })
}
