package bustest

import (
	"slices"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/parley-chat/parley/shared/bus"
)

// Inspect has operators look into a backend that can be looked into from outside:
// nothing that they do is seen by a group. It is called by the backend's own tests.
func Inspect(t *testing.T, b bus.Backend) {
	t.Helper()
	ctx := t.Context()
	i, err := bus.Inspect(b)
	if err != nil {
		t.Fatal(err)
	}
	if found, err := i.Scan(ctx, "events-03", "", 10); err != nil || len(found) != 0 {
		t.Errorf("scan of a topic that is missing: %v, %v", found, err)
	}
	if place, err := i.Newest(ctx, "events-03"); err != nil || place != "" {
		t.Errorf("newest of a topic that is missing: %q, %v", place, err)
	}
	if err := b.EnsureTopic(ctx, "events-03", []string{"g"}, 0); err != nil {
		t.Fatal(err)
	}
	for _, payload := range []string{"a", "b", "c"} {
		msg := message.NewMessage("id-"+payload, []byte(payload))
		msg.Metadata.Set("k", payload)
		msg.SetContext(ctx)
		if err := b.Publisher().Publish("events-03", msg); err != nil {
			t.Fatal(err)
		}
	}
	first, err := i.Scan(ctx, "events-03", "", 2)
	if err != nil || len(first) != 2 {
		t.Fatalf("scan: %v, %v", first, err)
	}
	rest, err := i.Scan(ctx, "events-03", first[1].Place, 2)
	if err != nil || len(rest) != 1 {
		t.Fatalf("scan on: %v, %v", rest, err)
	}
	for n, s := range append(slices.Clone(first), rest...) {
		want := string(rune('a' + n))
		if string(s.Payload) != want || s.UUID != "id-"+want || s.Metadata["k"] != want || s.Topic != "events-03" || s.At.IsZero() {
			t.Errorf("scanned %+v, want %s", s, want)
		}
	}
	if place, err := i.Newest(ctx, "events-03"); err != nil || place != rest[0].Place {
		t.Errorf("newest: %q, %v; want %q", place, err, rest[0].Place)
	}
	for _, want := range []bool{true, false} {
		if was, err := i.Remove(ctx, "events-03", first[1].Place); err != nil || was != want {
			t.Errorf("remove: %v, %v; want %v", was, err, want)
		}
	}
	if left, err := i.Scan(ctx, "events-03", "", 10); err != nil || len(left) != 2 {
		t.Errorf("after removing one of three: %v, %v", left, err)
	}
	if d, err := b.Depth(ctx, "events-03", "g"); err != nil || d.Messages == 0 {
		t.Errorf("looking was reading: %+v, %v", d, err)
	}
	inspectLeases(t, b, i)
}

func inspectLeases(t *testing.T, b bus.Backend, i bus.Inspector) {
	t.Helper()
	ctx := t.Context()
	name := bus.LeaseName("events", "g", 3)
	if holder, _, err := i.Holder(ctx, name); err != nil || holder != "" {
		t.Errorf("holder of a free lease: %q, %v", holder, err)
	}
	l, err := b.Lease(ctx, name, "me", bus.LeaseTTL)
	if err != nil || !l.Held {
		t.Fatalf("lease: %+v, %v", l, err)
	}
	if holder, generation, err := i.Holder(ctx, name); err != nil || holder != "me" || generation != l.Generation {
		t.Errorf("holder: %q, %d, %v; want me, %d", holder, generation, err, l.Generation)
	}
	if value, err := i.Settled(ctx, "x"); err != nil || value != "" {
		t.Errorf("what was not settled: %q, %v", value, err)
	}
	if _, err := b.Settle(ctx, "x", "1"); err != nil {
		t.Fatal(err)
	}
	if value, err := i.Settled(ctx, "x"); err != nil || value != "1" {
		t.Errorf("settled: %q, %v", value, err)
	}
}
