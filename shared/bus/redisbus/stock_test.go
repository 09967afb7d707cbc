package redisbus

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/parley-chat/parley/shared/redistest"
)

// What only the stock driver's way of reading has: entries that are pending with a
// consumer, and the claims that bring them back.

// What a dead client's last read is given comes by the background claim.
func TestStockStolenEntryComesBack(t *testing.T) {
	server := redistest.Start(t, fast)
	b := open(t, server.URL+"?driver=stock")
	r := subscribe(t, b, events, "g")
	publish(t, b, events, "1")
	r.want("1")
	client := server.Client()
	publish(t, b, events, "2")
	msg := r.next() // in work, so that the thief gets the one after the next
	publish(t, b, events, "3", "4", "5")
	eventually(t, "the reader has read ahead", func() bool { return pending(t, client, eventsKey, "g") >= 3 })
	if err := client.XReadGroup(t.Context(), &redis.XReadGroupArgs{
		Group: "g", Consumer: "thief", Count: 1, Streams: []string{eventsKey, ">"}}).Err(); err != nil {
		t.Fatal(err)
	}
	msg.Ack()
	got := map[string]bool{}
	for range 3 {
		msg := r.next()
		got[string(msg.Payload)] = true
		msg.Ack()
	}
	if !got["3"] || !got["4"] || !got["5"] {
		t.Errorf("got %v", got)
	}
}

// A dead consumer that has nothing pending goes; one that has something stays until it is claimed.
func TestStockDeadConsumersAreSwept(t *testing.T) {
	server := redistest.Start(t, fast)
	b := open(t, server.URL+"?driver=stock")
	client := server.Client()
	ctx := t.Context()
	if err := b.EnsureTopic(ctx, events, []string{"g"}, 0); err != nil {
		t.Fatal(err)
	}
	publish(t, b, events, "1")
	client.XGroupCreateConsumer(ctx, eventsKey, "g", "empty")
	client.XReadGroup(ctx, &redis.XReadGroupArgs{Group: "g", Consumer: "holds", Streams: []string{eventsKey, ">"}})
	sweep := func() int {
		t.Helper()
		n, err := joinScript.Run(ctx, client, []string{eventsKey}, "g", 20).Int()
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	eventually(t, "the empty one is swept", func() bool { return sweep() == 1 })
	left := client.XInfoConsumers(ctx, eventsKey, "g").Val()
	if len(left) != 1 || left[0].Name != "holds" {
		t.Errorf("left: %v", left)
	}
	subscribe(t, b, events, "g").want("1")
	eventually(t, "the other is swept", func() bool { return sweep() == 1 })
}

// A message that is in work for longer than the claim interval is not claimed from ourselves.
func TestStockSlowHandlerGetsMessageOnce(t *testing.T) {
	b := open(t, redistest.Start(t, fast).URL+"?driver=stock")
	publish(t, b, events, "slow", "next")
	r := subscribe(t, b, events, "g")
	msg := r.next()
	select {
	case again := <-r.in:
		t.Fatalf("%q came while the first was in work", again.Payload)
	case <-time.After(3 * claimInterval / 2): // nothing can be waited for: it must not come
	}
	msg.Ack()
	r.want("next")
}

// A command that the server will never take ends the subscription instead of being tried for ever.
func TestStockForbiddenCommandEndsSubscription(t *testing.T) {
	for _, command := range []string{"xpending", "xclaim", "xreadgroup", "xack"} {
		t.Run(command, func(t *testing.T) {
			server := redistest.Start(t, fast)
			b := open(t, server.URL+"?driver=stock")
			publish(t, b, events, "1")
			client := server.Client()
			client.XGroupCreate(t.Context(), eventsKey, "g", "0")
			err := client.XReadGroup(t.Context(), &redis.XReadGroupArgs{Group: "g", Consumer: "dead", Streams: []string{eventsKey, ">"}}).Err()
			if err != nil {
				t.Fatal(err)
			}
			if err := client.Do(t.Context(), "ACL", "SETUSER", "u", "on", ">p", "~*", "+@all", "-"+command).Err(); err != nil {
				t.Fatal(err)
			}
			limited := open(t, "redis://u:p@"+server.Addr+"?driver=stock")
			r := subscribe(t, limited, events, "g")
			for deadline := time.After(patience); ; {
				select {
				case msg, ok := <-r.in:
					if !ok {
						return
					}
					msg.Ack()
				case <-deadline:
					t.Fatal("the subscription goes on")
				}
			}
		})
	}
}
