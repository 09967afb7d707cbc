package natsbus

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/parley-chat/parley/shared/bus"
)

// dedupeWindow is how long the server knows a message's id: longer than a publish
// is tried, and short, because it keeps all ids of that time in memory.
const dedupeWindow = 30 * time.Second

// EnsureTopic implements [bus.Backend]. The groups need nothing: one without a cursor starts at
// the oldest message, and trimming waits for it. The time to live is ignored:
// see the package.
func (b *Backend) EnsureTopic(ctx context.Context, topic string, _ []string, _ time.Duration) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	if err := b.ready(ctx); err != nil {
		return err
	}
	_, err := b.ensure(ctx, topic)
	return unavailable("make topic "+topic, err)
}

// ensure makes the topic's stream where it is missing, and answers how it is.
func (b *Backend) ensure(ctx context.Context, topic string) (*jetstream.StreamInfo, error) {
	stream, err := b.makeStream(ctx, jetstream.StreamConfig{
		Name: b.streamName(topic), Subjects: []string{b.subject(topic)},
		Retention: jetstream.LimitsPolicy, Storage: jetstream.FileStorage, Replicas: b.target.replicas,
		// There is no limit. Should an operator set one, publishing fails at it; nothing unread is discarded.
		Discard:    jetstream.DiscardNew,
		Duplicates: dedupeWindow,
	})
	if err != nil {
		return nil, err
	}
	info := stream.CachedInfo()
	if !slices.Contains(info.Config.Subjects, b.subject(topic)) {
		return nil, fmt.Errorf("%w: stream %s takes %q, not %s: it was made by somebody else",
			errPermanent, info.Config.Name, info.Config.Subjects, b.subject(topic))
	}
	return info, nil
}

// DropTopic implements [bus.Backend].
func (b *Backend) DropTopic(ctx context.Context, topic string) error {
	return unavailable("drop topic "+topic, b.cursors.do(ctx, func(ctx context.Context, o *opened) error {
		if err := b.js.DeleteStream(ctx, b.streamName(topic)); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
			return err
		}
		return o.stream.Purge(ctx, jetstream.WithPurgeSubject(o.subject(escape(topic))+".*"))
	}))
}

// Trim implements [bus.Backend].
func (b *Backend) Trim(ctx context.Context, topic string, groups []string) error {
	return unavailable("trim topic "+topic, b.cursors.do(ctx, func(ctx context.Context, o *opened) error {
		stream, err := b.js.Stream(ctx, b.streamName(topic))
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := b.judgeStrangers(ctx, o, topic, groups); err != nil {
			return err
		}
		info := stream.CachedInfo()
		done := info.State.LastSeq
		for _, group := range groups {
			c, err := readCursor(ctx, o, topic, group, info)
			if err != nil {
				return err
			}
			done = min(done, c)
		}
		if len(groups) == 0 || done < info.State.FirstSeq {
			return nil
		}
		return stream.Purge(ctx, jetstream.WithPurgeSequence(done+1))
	}))
}

// Depth implements [bus.Backend].
func (b *Backend) Depth(ctx context.Context, topic, group string) (d bus.Depth, err error) {
	err = b.cursors.do(ctx, func(ctx context.Context, o *opened) error {
		d = bus.Depth{}
		stream, err := b.js.Stream(ctx, b.streamName(topic))
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		info := stream.CachedInfo()
		done, err := readCursor(ctx, o, topic, group, info)
		state := info.State
		if err != nil || state.Msgs == 0 || done >= state.LastSeq {
			return err
		}
		d.Messages = int64(state.LastSeq - max(done, state.FirstSeq-1))
		d.Bytes = int64(float64(d.Messages) * float64(state.Bytes) / float64(state.Msgs))
		return nil
	})
	return d, unavailable("look at topic "+topic, err)
}

// strangers are groups that no catalogue names, and since when their cursors have stood still.
type strangers struct {
	mu    sync.Mutex
	still map[string]still // by topic and group
}

type still struct {
	revision uint64
	since    time.Time
}

// judgeStrangers reports groups that nobody names once, and destroys those that have
// not read for strangerAge. A living reader writes its cursor now and then, also
// where there is nothing to read.
func (b *Backend) judgeStrangers(ctx context.Context, o *opened, topic string, named []string) error {
	groups, err := o.keys(ctx, escape(topic))
	if err != nil {
		return err
	}
	for _, escaped := range groups {
		group := unescape(escaped)
		if slices.Contains(named, group) {
			continue
		}
		e, err := o.read(ctx, cursorKey(topic, group))
		if err != nil {
			return err
		}
		known, idle := b.strangers.look(topic+" "+group, e.revision)
		if !known {
			b.logger.Warn("a group that nobody names does not hold trimming back, and is destroyed when it does not read",
				"topic", topic, "group", group, "after", b.strangerAge)
		}
		if e.revision == 0 || idle < b.strangerAge {
			continue
		}
		if err := o.remove(ctx, cursorKey(topic, group), e.revision); err != nil {
			return err
		}
		b.strangers.forget(topic + " " + group)
		b.logger.Warn("destroyed a group that nobody names and nobody reads", "topic", topic, "group", group, "idle", idle)
	}
	return nil
}

// look tells whether the group was seen before, and for how long it has stood still.
func (s *strangers) look(key string, revision uint64) (known bool, idle time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	last, known := s.still[key]
	if !known || last.revision != revision {
		if s.still == nil {
			s.still = map[string]still{}
		}
		last = still{revision, time.Now()}
		s.still[key] = last
	}
	return known, time.Since(last.since)
}

func (s *strangers) forget(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.still, key)
}

func (b *Backend) streamName(topic string) string { return b.prefix + "=" + escape(topic) }
func (b *Backend) subject(topic string) string    { return b.prefix + ".topic." + escape(topic) }

// escape makes one token of a name that streams, subjects and keys all take: no dots in it.
func escape(name string) string {
	var s strings.Builder
	for _, c := range []byte(name) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_', c == '-':
			s.WriteByte(c)
		default:
			fmt.Fprintf(&s, "=%02X", c)
		}
	}
	return s.String()
}

func unescape(token string) string {
	name, err := url.PathUnescape(strings.ReplaceAll(token, "=", "%"))
	if err != nil { // not one of ours
		return token
	}
	return name
}
