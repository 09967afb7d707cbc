package redisbus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/redis/go-redis/v9"

	"github.com/parley-chat/parley/shared/bus"
	"github.com/parley-chat/parley/shared/redistest"
)

const (
	events    = "events-03"
	eventsKey = "t:{p03}:events-03"
)

func TestPublishAndRead(t *testing.T) {
	b, server := start(t, redistest.Options{})
	publish(t, b, events, "1", "2")
	r := subscribe(t, b, events, "g")
	msg := r.next()
	if msg.UUID != "uuid-1" || msg.Metadata.Get("k") != "v" || string(msg.Payload) != "1" {
		t.Errorf("got %v", msg)
	}
	msg.Ack()
	r.want("2")
	publish(t, b, events, "3")
	r.want("3")
	r.close()
	if n := pending(t, server.Client(), eventsKey, "g"); n != 0 {
		t.Errorf("%d pending", n)
	}
	entry := server.Client().XRange(t.Context(), eventsKey, "-", "+").Val()[0]
	if len(entry.Values) != 2 {
		t.Errorf("fields %v", entry.Values)
	}
}

// An entry that nobody can read does not end the subscription: it comes marked.
func TestMalformedEntryIsHandedOn(t *testing.T) {
	b, server := start(t, fast)
	r := subscribe(t, b, events, "g")
	client := server.Client()
	for _, values := range [][]string{{"foreign", "entry"}, {"_watermill_message_uuid", "u", "e", "garbage"}} {
		if err := client.XAdd(t.Context(), &redis.XAddArgs{Stream: eventsKey, Values: values}).Err(); err != nil {
			t.Fatal(err)
		}
	}
	publish(t, b, events, "good")
	for _, want := range []string{"entry", "garbage"} {
		msg := r.next()
		if msg.Metadata.Get(bus.MetaMalformed) == "" || string(msg.Payload) != want {
			t.Errorf("got %q %v", msg.Payload, msg.Metadata)
		}
		msg.Ack()
	}
	r.want("good")
}

// What a dead reader was given comes first and in order, also when it is more than the
// driver claims at once; only then what is new.
func TestPendingComesFirst(t *testing.T) {
	b, server := start(t, fast)
	const old, all = 2*claimBatchSize + 300, 2*claimBatchSize + 350
	publish(t, b, events, numbers(1, old)...)
	client := server.Client()
	if err := client.XGroupCreate(t.Context(), eventsKey, "g", "0").Err(); err != nil {
		t.Fatal(err)
	}
	err := client.XReadGroup(t.Context(), &redis.XReadGroupArgs{
		Group: "g", Consumer: "dead", Count: old, Streams: []string{eventsKey, ">"}}).Err()
	if err != nil {
		t.Fatal(err)
	}
	publish(t, b, events, numbers(old+1, all)...)
	r := subscribe(t, b, events, "g")
	r.want(numbers(1, all)...)
	r.close()
	if n := pending(t, client, eventsKey, "g"); n != 0 {
		t.Errorf("%d pending", n)
	}
}

func TestNackComesAgainLater(t *testing.T) {
	b, _ := start(t, fast)
	publish(t, b, events, "1", "2")
	r := subscribe(t, b, events, "g")
	began := time.Now()
	for range 3 {
		msg := r.next()
		if string(msg.Payload) != "1" {
			t.Fatalf("got %q", msg.Payload)
		}
		msg.Nack()
	}
	r.want("1", "2")
	if took := time.Since(began); took < 3*nackSleep {
		t.Errorf("3 nacks took %v: a hot loop", took)
	}
}

// The group goes with a flush: who waits for a stream that is gone would wait for ever.
func TestFlushEndsSubscription(t *testing.T) {
	b, server := start(t, fast)
	r := subscribe(t, b, events, "g")
	publish(t, b, events, "1")
	r.want("1")
	server.Flush()
	r.wantEnd()
	publish(t, b, events, "2")
	subscribe(t, b, events, "g").want("2")
}

func TestDestroyedGroupEndsSubscription(t *testing.T) {
	b, server := start(t, fast)
	r := subscribe(t, b, events, "g")
	if err := server.Client().XGroupDestroy(t.Context(), eventsKey, "g").Err(); err != nil {
		t.Fatal(err)
	}
	r.wantEnd()
}

func TestWrongTypeIsPermanent(t *testing.T) {
	b, server := start(t, fast)
	server.Client().Set(t.Context(), eventsKey, "x", 0)
	sub, err := b.Subscriber(t.Context(), "g")
	if err != nil {
		t.Fatal(err)
	}
	_, err = sub.Subscribe(t.Context(), events)
	if err == nil || errors.Is(err, bus.ErrUnavailable) || !strings.Contains(err.Error(), events) {
		t.Errorf("%v: want a permanent error that names the topic", err)
	}
}

func TestKilledServerEndsSubscription(t *testing.T) {
	b, server := start(t, redistest.Options{})
	r := subscribe(t, b, events, "g")
	publish(t, b, events, "1")
	r.want("1")
	eventually(t, "a read waits", func() bool { return blocked(t, server.Client()) == 1 })
	server.Kill()
	server.Run()
	r.wantEnd()
	eventually(t, "publishing works again", func() bool { return tryPublish(t.Context(), b, events, "2") == nil })
	again := subscribe(t, b, events, "g")
	first := again.next()
	if string(first.Payload) == "1" { // its acknowledgement may not have been written down
		first.Ack()
		first = again.next()
	}
	if string(first.Payload) != "2" {
		t.Errorf("got %q", first.Payload)
	}
}

// A server that comes back while the reader is at work is read on from the cursor, also
// when the cursor was to be written down meanwhile.
func TestRestartWhileAtWork(t *testing.T) {
	for _, away := range []time.Duration{0, 2 * cursorPace} {
		t.Run(away.String(), func(t *testing.T) {
			b, server := start(t, redistest.Options{})
			r := subscribe(t, b, events, "g")
			publish(t, b, events, "1", "2")
			r.want("1")
			msg := r.next()
			server.Kill()
			<-time.After(away) // nothing can be waited for: the reader tells nobody that it could not write
			server.Run()
			eventually(t, "publishing works again", func() bool { return tryPublish(t.Context(), b, events, "3") == nil })
			msg.Ack()
			r.want("3")
		})
	}
}

// A publish whose reply is lost is not repeated by itself: that would be a duplicate.
func TestLostPublishReply(t *testing.T) {
	direct, server := start(t, fast)
	p := startProxy(t, server.Addr)
	b := open(t, "redis://"+p.addr)
	publish(t, b, events, "1")
	p.lose.Store(true)
	if err := tryPublish(t.Context(), b, events, "2"); !errors.Is(err, bus.ErrUnavailable) {
		t.Errorf("%v, want ErrUnavailable", err)
	}
	r := subscribe(t, direct, events, "g")
	r.want("1", "2")
	publish(t, direct, events, "3")
	r.want("3")
}

// What was acked before Close is acknowledged when it returns: the next owner does not get it again.
func TestCloseKeepsAck(t *testing.T) {
	b, server := start(t, redistest.Options{})
	client := server.Client()
	for i := range 20 {
		r := subscribe(t, b, events, "g")
		publish(t, b, events, fmt.Sprint(i))
		r.want(fmt.Sprint(i))
		r.close()
		if n := pending(t, client, eventsKey, "g"); n != 0 {
			t.Fatalf("round %d: %d pending after Close", i, n)
		}
	}
}

func blocked(t *testing.T, client *redis.Client) int {
	t.Helper()
	list, err := client.ClientList(t.Context()).Result()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(list, "cmd=xread")
}

func TestCloseIsQuickWhenServerHangs(t *testing.T) {
	b, server := start(t, fast)
	publish(t, b, events, "1")
	r := subscribe(t, b, events, "g")
	msg := r.next()
	server.Pause()
	defer server.Resume()
	msg.Ack()
	began := time.Now()
	r.close()
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("Close took %v", took)
	}
	if err := msg.Context().Err(); err == nil {
		t.Error("the message's context goes on")
	}
}

func TestCloseEndsSubscribe(t *testing.T) {
	b, server := start(t, fast)
	sub, err := b.Subscriber(t.Context(), "g")
	if err != nil {
		t.Fatal(err)
	}
	server.Pause()
	defer server.Resume()
	answer := make(chan error)
	go func() {
		_, err := sub.Subscribe(t.Context(), events)
		answer <- err
	}()
	eventually(t, "it subscribes", func() bool {
		s := sub.(batcher)
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.open) == 1
	})
	began := time.Now()
	if err := sub.Close(); err != nil {
		t.Error(err)
	}
	if err := <-answer; err == nil {
		t.Error("subscribed to a server that does not answer")
	}
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("Close took %v", took)
	}
}

func TestClosedSubscriberAndBackend(t *testing.T) {
	b, _ := start(t, fast)
	r := subscribe(t, b, events, "g")
	r.close()
	r.close()
	if _, err := r.sub.Subscribe(t.Context(), events); err == nil {
		t.Error("subscribed on a closed subscriber")
	}
	other := subscribe(t, b, events, "g")
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	other.wantEnd()
	if _, err := b.Subscriber(t.Context(), "g"); err == nil {
		t.Error("subscriber of a closed backend")
	}
	if _, err := b.Subscriber(t.Context(), ""); err == nil {
		t.Error("subscriber without a group")
	}
}

// When the reply to a read is lost, the next subscription reads again.
func TestLostReadReply(t *testing.T) {
	direct, server := start(t, fast)
	p := startProxy(t, server.Addr)
	b := open(t, "redis://"+p.addr)
	r := subscribe(t, b, events, "g")
	publish(t, direct, events, "1")
	r.want("1")
	client := server.Client()
	eventually(t, "1 acknowledged", func() bool { return pending(t, client, eventsKey, "g") == 0 })
	p.lose.Store(true)
	publish(t, direct, events, "2")
	r.wantEnd()
	publish(t, direct, events, "3")
	subscribe(t, b, events, "g").want("2", "3")
}

// A message in work for long does not come again.
func TestSlowHandlerGetsMessageOnce(t *testing.T) {
	b, _ := start(t, fast)
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

// After Close no read of ours waits on the server: it would take the next entry with it.
func TestCloseLeavesNoReader(t *testing.T) {
	b, server := start(t, fast)
	client := server.Client()
	for range 5 {
		ctx, cancel := context.WithCancel(t.Context())
		sub, err := b.Subscriber(ctx, "g")
		if err != nil {
			t.Fatal(err)
		}
		in, err := sub.Subscribe(ctx, events)
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, "a read waits", func() bool { return blocked(t, client) == 1 })
		cancel() // alone, without Close
		r := &reader{t, sub, in}
		r.wantEnd()
		eventually(t, "no read waits", func() bool { return blocked(t, client) == 0 })
	}
	publish(t, b, events, "1")
	if n := pending(t, client, eventsKey, "g"); n != 0 {
		t.Errorf("%d entries went to a dead reader", n)
	}
}

// A command that the server will never take ends the subscription instead of being tried for ever.
func TestForbiddenCommandEndsSubscription(t *testing.T) {
	for _, command := range []string{"xpending", "xread", "xgroup|setid"} {
		t.Run(command, func(t *testing.T) {
			b, server := start(t, fast)
			publish(t, b, events, "1")
			client := server.Client()
			client.XGroupCreate(t.Context(), eventsKey, "g", "0")
			err := client.XReadGroup(t.Context(), &redis.XReadGroupArgs{Group: "g", Consumer: "dead", Streams: []string{eventsKey, ">"}}).Err()
			if err != nil {
				t.Fatal(err)
			}
			publish(t, b, events, "2")
			if err := client.Do(t.Context(), "ACL", "SETUSER", "u", "on", ">p", "~*", "+@all", "-"+command).Err(); err != nil {
				t.Fatal(err)
			}
			limited := open(t, "redis://u:p@"+server.Addr)
			sub, err := limited.Subscriber(t.Context(), "g")
			if err != nil {
				t.Fatal(err)
			}
			in, err := sub.Subscribe(t.Context(), events)
			if err != nil {
				return // refused at once
			}
			r := &reader{t, sub, in}
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

// What is acknowledged is written down at once when the reader has nothing else to do,
// and Depth is exact meanwhile.
func TestCursorIsWritten(t *testing.T) {
	b, server := start(t, fast)
	publish(t, b, events, numbers(1, 200)...)
	r := subscribe(t, b, events, "g")
	r.want(numbers(1, 150)...)
	_ = r.next() // in work for long
	client := server.Client()
	eventually(t, "150 are acknowledged", func() bool {
		d, err := b.Depth(t.Context(), events, "g")
		return err == nil && d.Messages == 50
	})
	if n := pending(t, client, eventsKey, "g"); n != 0 {
		t.Errorf("%d pending: a cursor has none", n)
	}
	if err := b.Trim(t.Context(), events, []string{"g"}); err != nil {
		t.Fatal(err)
	}
	if n := client.XLen(t.Context(), eventsKey).Val(); n != 50 {
		t.Errorf("%d entries after trimming, want the 50 that are not acknowledged", n)
	}
	r.close()
	r = subscribe(t, b, events, "g")
	r.want(numbers(151, 200)...)
	r.close()
	if d, err := b.Depth(t.Context(), events, "g"); err != nil || d.Messages != 0 {
		t.Errorf("Depth: %+v, %v", d, err)
	}
}

// One broker, two drivers: what one acknowledged the other does not get, and what one
// was given and did not acknowledge comes first.
func TestDriversTakeTurns(t *testing.T) {
	own, server := start(t, fast)
	stock := open(t, server.URL+"?driver=stock")
	publish(t, own, events, numbers(1, 30)...)
	for i, b := range []*Backend{own, stock, own, stock, own} {
		r := subscribe(t, b, events, "g")
		r.want(numbers(1+5*i, 5+5*i)...)
		_ = r.next() // and never acknowledged
		r.close()
	}
	if d, err := own.Depth(t.Context(), events, "g"); err != nil || d.Messages != 5 {
		t.Errorf("Depth: %+v, %v; want 5", d, err)
	}
	r := subscribe(t, own, events, "g")
	r.want(numbers(26, 30)...)
}

// A batch is what lies there; what follows a refused message comes again with it.
func TestBatches(t *testing.T) {
	b, _ := start(t, fast)
	publish(t, b, events, numbers(1, maxBatch+10)...)
	sub, err := b.Subscriber(t.Context(), "g")
	if err != nil {
		t.Fatal(err)
	}
	in, err := sub.(bus.Batcher).SubscribeBatches(t.Context(), events)
	if err != nil {
		t.Fatal(err)
	}
	next := func() (payloads []string, batch []*message.Message) {
		select {
		case batch = <-in:
		case <-time.After(patience):
			t.Fatal("no batch came")
		}
		for _, msg := range batch {
			payloads = append(payloads, string(msg.Payload))
		}
		return payloads, batch
	}
	got, batch := next()
	if !slices.Equal(got, numbers(1, maxBatch)) {
		t.Fatalf("got %v", got)
	}
	for _, msg := range batch[:maxBatch-2] {
		msg.Ack()
	}
	batch[maxBatch-2].Nack()
	got, batch = next()
	if !slices.Equal(got, numbers(maxBatch-1, maxBatch)) {
		t.Fatalf("after the refusal got %v", got)
	}
	for _, msg := range batch {
		msg.Ack()
	}
	if got, _ = next(); !slices.Equal(got, numbers(maxBatch+1, maxBatch+10)) {
		t.Fatalf("got %v", got)
	}
	if err := sub.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestDriverOfTheURL(t *testing.T) {
	for url, want := range map[string]string{
		"redis://h/1":                             "redis://h/1 false <nil>",
		"redis://h/1?driver=stock":                "redis://h/1 true <nil>",
		"redis://h?read_timeout=1s&driver=cursor": "redis://h?read_timeout=1s false <nil>",
		"redis://h?driver=fast":                   " false driver=fast: want cursor (the default) or stock (watermill-redisstream's subscriber)",
	} {
		rest, stock, err := cutDriver(url)
		if got := fmt.Sprint(rest, " ", stock, " ", err); got != want {
			t.Errorf("%s: got %q, want %q", url, got, want)
		}
	}
}
