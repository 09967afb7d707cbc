package ingress

import (
	"bytes"
	"testing"
)

func TestOutboxBounds(t *testing.T) {
	o := outbox{maxFrames: 4, maxBytes: 100}
	big := bytes.Repeat([]byte("x"), 200)
	if !o.push(big) {
		t.Error("a single frame above the bytes was refused")
	}
	if o.push([]byte("y")) {
		t.Error("a frame behind it was taken")
	}
	if !o.push([]byte("z")) {
		t.Error("a shut outbox must not be reported again")
	}
	if buf, _ := o.take(nil, 1000, nil); len(buf) != 0 {
		t.Errorf("a shut outbox still held %q", buf)
	}
}

func TestOutboxDropsVolatileFirst(t *testing.T) {
	o := outbox{maxFrames: 4, maxBytes: 100}
	if !o.offer([]byte("a")) || !o.offer([]byte("b")) || o.offer([]byte("c")) {
		t.Error("volatile frames may fill half of the queue, no more")
	}
	if !o.push([]byte("d")) {
		t.Error("a reply was refused")
	}
}

// Replies go out before entries, so that joined precedes what it begins.
func TestOutboxHoldsEntriesBackUntilRepliesAreOut(t *testing.T) {
	o := outbox{maxFrames: 4, maxBytes: 100}
	sub := &subscription{}
	o.push([]byte("aaaa"))
	o.push([]byte("bbbb"))
	if !o.touch(sub) || o.touch(sub) {
		t.Error("a subscription is news once")
	}
	buf, dirty := o.take(nil, 3, nil)
	if string(buf) != "aaaa\n" || dirty != nil {
		t.Errorf("took %q and %d subscriptions", buf, len(dirty))
	}
	if buf, dirty = o.take(nil, 100, nil); string(buf) != "bbbb\n" || len(dirty) != 1 {
		t.Errorf("took %q and %d subscriptions", buf, len(dirty))
	}
	if !o.touch(sub) {
		t.Error("a subscription that was handed out can be marked again")
	}
}

func TestOutboxLastWord(t *testing.T) {
	o := outbox{maxFrames: 1, maxBytes: 100}
	o.push([]byte("a"))
	o.last([]byte("b"))
	if !o.push([]byte("c")) || o.offer([]byte("d")) {
		t.Error("a shut outbox takes nothing and complains of nothing")
	}
	if buf, _ := o.take(nil, 100, nil); string(buf) != "a\nb\n" {
		t.Errorf("took %q", buf)
	}
}
