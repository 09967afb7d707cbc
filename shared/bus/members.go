package bus

import (
	"context"
	"errors"
	"time"
)

// Announce keeps member in the set until ctx ends, then withdraws it and returns
// nil: it blocks, like Run. A broker that is away is waited for. lapsed (may be
// nil) is called, from the same goroutine, when the member had gone from the set
// meanwhile and was put in anew.
func (b *Bus) Announce(ctx context.Context, set, member string, lapsed func()) error {
	if err := errors.Join(checkName("set", set), checkName("member", member)); err != nil {
		return err
	}
	b.keepAnnounced(ctx, set, member, lapsed)
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
	defer cancel()
	if err := b.backend.Withdraw(ending, set, member); err != nil {
		b.log.Warn("withdraw; it goes by itself", "set", set, "member", member, "err", err)
	}
	return nil
}

func (b *Bus) keepAnnounced(ctx context.Context, set, member string, lapsed func()) {
	known := false
	wait := newBackoff(50*time.Millisecond, b.cfg.LeaseTTL/6)
	for ctx.Err() == nil {
		heard := b.alarm.heard()
		call, cancel := context.WithTimeout(ctx, min(callTimeout, b.cfg.LeaseTTL/3))
		fresh, err := b.backend.Announce(call, set, member, b.cfg.LeaseTTL)
		cancel()
		if err != nil {
			if ctx.Err() == nil {
				b.log.Warn("announce", "set", set, "member", member, "err", err)
			}
			wait.sleep(ctx)
			continue
		}
		wait.reset()
		if fresh && known && lapsed != nil {
			lapsed()
		}
		known = true
		sleep(ctx, b.cfg.LeaseTTL/3, heard)
	}
}

// Members lists the live members of the set, sorted. An error is an [ErrUnavailable]:
// it says nothing about who is there.
func (b *Bus) Members(ctx context.Context, set string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	members, err := b.backend.Members(ctx, set)
	if err != nil {
		return nil, unavailable(err)
	}
	return members, nil
}

// Drop removes a topic with all that is in it. Dropping none is no error.
func (b *Bus) Drop(ctx context.Context, topicName string) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	b.depths.forget(topicName)
	b.ensured.Delete(topicName)
	if err := b.backend.DropTopic(ctx, topicName); err != nil {
		return unavailable(err)
	}
	return nil
}
