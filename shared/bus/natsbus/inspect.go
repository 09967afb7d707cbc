package natsbus

import (
	"context"
	"errors"
	"strconv"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/parley-chat/parley/shared/bus"
)

var _ bus.Inspector = (*Backend)(nil)

// Scan implements [bus.Inspector]. A place is a sequence number of the stream.
func (b *Backend) Scan(ctx context.Context, topic, behind string, limit int) (found []bus.Stored, err error) {
	from, err := sequence(behind)
	if err != nil {
		return nil, err
	}
	err = b.within(ctx, topic, func(ctx context.Context, stream jetstream.Stream) error {
		for next := from + 1; len(found) < limit; {
			msg, err := stream.GetMsg(ctx, next, jetstream.WithGetMsgSubject(b.subject(topic)))
			if errors.Is(err, jetstream.ErrMsgNotFound) {
				return nil
			}
			if err != nil {
				return err
			}
			found = append(found, bus.StoredMessage(topic, strconv.FormatUint(msg.Sequence, 10), msg.Time, open(msg.Data)))
			next = msg.Sequence + 1
		}
		return nil
	})
	return found, unavailable("scan topic "+topic, err)
}

// Newest implements [bus.Inspector]. What was trimmed counts, too.
func (b *Backend) Newest(ctx context.Context, topic string) (place string, err error) {
	err = b.within(ctx, topic, func(_ context.Context, stream jetstream.Stream) error {
		if last := stream.CachedInfo().State.LastSeq; last > 0 {
			place = strconv.FormatUint(last, 10)
		}
		return nil
	})
	return place, unavailable("look at topic "+topic, err)
}

// Remove implements [bus.Inspector].
func (b *Backend) Remove(ctx context.Context, topic, place string) (removed bool, err error) {
	at, err := sequence(place)
	if err != nil {
		return false, err
	}
	err = b.within(ctx, topic, func(ctx context.Context, stream jetstream.Stream) error {
		err := stream.DeleteMsg(ctx, at)
		if errors.Is(err, jetstream.ErrMsgDeleteUnsuccessful) || errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil
		}
		removed = err == nil
		return err
	})
	return removed, unavailable("remove "+place+" from "+topic, err)
}

// Holder implements [bus.Inspector].
func (b *Backend) Holder(ctx context.Context, name string) (holder string, generation uint64, err error) {
	err = b.state.do(ctx, func(ctx context.Context, o *opened) error {
		e, err := o.read(ctx, leaseKey(name))
		if err != nil {
			return err
		}
		now, err := b.clock.now(ctx, o)
		if err != nil {
			return err
		}
		l := parseLease(e.value)
		if generation = l.generation; now.Sub(e.created) < l.ttl {
			holder = l.holder
		}
		return nil
	})
	return holder, generation, unavailable("look at lease "+name, err)
}

// Settled implements [bus.Inspector].
func (b *Backend) Settled(ctx context.Context, name string) (value string, err error) {
	err = b.state.do(ctx, func(ctx context.Context, o *opened) error {
		e, err := o.read(ctx, settledKey(name))
		value = e.value
		return err
	})
	return value, unavailable("look what is settled as "+name, err)
}

// within calls f with the topic's stream; not where there is none.
func (b *Backend) within(ctx context.Context, topic string, f func(context.Context, jetstream.Stream) error) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	if err := b.ready(ctx); err != nil {
		return err
	}
	stream, err := b.js.Stream(ctx, b.streamName(topic))
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return f(ctx, stream)
}

func sequence(place string) (uint64, error) {
	if place == "" {
		return 0, nil
	}
	return strconv.ParseUint(place, 10, 64)
}
