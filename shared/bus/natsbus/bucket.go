package natsbus

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// bucket is a key-value bucket that is made when it is first used, and again when it
// is gone.
type bucket struct {
	backend *Backend
	name    string

	mu     sync.Mutex
	opened *opened
}

type opened struct {
	jetstream.KeyValue
	stream jetstream.Stream
}

// do calls f with the bucket; twice, when the bucket turns out to be gone.
func (t *bucket) do(ctx context.Context, f func(ctx context.Context, o *opened) error) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	if err := t.backend.ready(ctx); err != nil {
		return err
	}
	t.mu.Lock()
	o := t.opened
	t.mu.Unlock()
	if o != nil {
		if err := f(ctx, o); !isGone(err) {
			return err
		}
	}
	o, err := t.open(ctx)
	if err != nil {
		return fmt.Errorf("bucket %s: %w", t.name, err)
	}
	t.mu.Lock()
	t.opened = o
	t.mu.Unlock()
	return f(ctx, o)
}

// forget has the next call look for the bucket and make it where it is missing, as after a
// connection was lost: the server may come back empty, see open.
func (t *bucket) forget() {
	t.mu.Lock()
	t.opened = nil
	t.mu.Unlock()
}

// madeKey is written first into every bucket, as soon as the server takes it.
const (
	madeKey   = "made"
	madeTries = 50 // each tryPause after the other
)

// open makes the bucket as a stream, because CreateKeyValue would turn direct
// reading on: that may answer from a replica that is behind, and where the bucket
// is gone it gets no answer at all but a timeout. Nothing is read before the bucket
// holds something: nats-server 2.9 tells of a stream that it is still making, and crashes
// when that is read; it stores only once it is made.
func (t *bucket) open(ctx context.Context) (*opened, error) {
	stream, err := t.backend.makeStream(ctx, jetstream.StreamConfig{
		Name: "KV_" + t.name, Subjects: []string{"$KV." + t.name + ".>"}, MaxMsgsPerSubject: 1,
		Storage: jetstream.FileStorage, Replicas: t.backend.target.replicas,
		Discard: jetstream.DiscardNew, AllowRollup: true, DenyDelete: true,
	})
	if err != nil {
		return nil, err
	}
	kv, err := t.backend.js.KeyValue(ctx, t.name)
	if err != nil {
		return nil, err
	}
	o := &opened{KeyValue: kv, stream: stream}
	if stream.CachedInfo().State.LastSeq == 0 {
		_, err = t.backend.js.Publish(ctx, o.subject(madeKey), nil, jetstream.WithRetryWait(tryPause), jetstream.WithRetryAttempts(madeTries))
	}
	return o, err
}

// entry is what a key holds; a key without one has revision 0.
type entry struct {
	value    string
	revision uint64
	created  time.Time // by the server's clock
}

func (o *opened) read(ctx context.Context, key string) (entry, error) {
	e, err := o.Get(ctx, key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return entry{}, nil
	}
	if err != nil {
		return entry{}, err
	}
	return entry{value: string(e.Value()), revision: e.Revision(), created: e.Created()}, nil
}

// replace writes the key if it still has the revision. ok is false if it has not.
func (o *opened) replace(ctx context.Context, key, value string, revision uint64) (ok bool, err error) {
	_, err = o.Update(ctx, key, []byte(value), revision)
	if errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
		return false, nil
	}
	return err == nil, err
}

// keys lists what is below the key's tokens, as one token each.
func (o *opened) keys(ctx context.Context, tokens string) ([]string, error) {
	prefix := o.subject(tokens) + "."
	info, err := o.stream.Info(ctx, jetstream.WithSubjectFilter(prefix+"*"))
	if err != nil {
		return nil, err
	}
	keys := make([]string, 0, len(info.State.Subjects))
	for subject := range info.State.Subjects {
		keys = append(keys, strings.TrimPrefix(subject, prefix))
	}
	return keys, nil
}

// remove takes a key away if it still has the revision, without the marker that
// deleting leaves: names of nodes are never used again, so markers would only grow in number.
func (o *opened) remove(ctx context.Context, key string, revision uint64) error {
	return o.stream.Purge(ctx, jetstream.WithPurgeSubject(o.subject(key)), jetstream.WithPurgeSequence(revision+1))
}

func (o *opened) subject(key string) string { return "$KV." + o.Bucket() + "." + key }

// clock knows the server's time: the lower bound of it that the writing and reading of
// a key has shown. The servers' clocks may differ from ours and, after another
// of them has become the bucket's leader, from what they were: so a sample is short-lived.
type clock struct {
	mu     sync.Mutex
	server time.Time
	read   time.Time // ours
}

const (
	clockKey    = "clock"
	clockMaxAge = 250 * time.Millisecond
)

func (c *clock) now(ctx context.Context, o *opened) (time.Time, error) {
	c.mu.Lock()
	server, age := c.server, time.Since(c.read)
	c.mu.Unlock()
	if age < clockMaxAge {
		return server.Add(age), nil
	}
	if _, err := o.Put(ctx, clockKey, nil); err != nil {
		return time.Time{}, err
	}
	e, err := o.Get(ctx, clockKey)
	if err != nil {
		return time.Time{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.server, c.read = e.Created(), time.Now()
	return c.server, nil
}
