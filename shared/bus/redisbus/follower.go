package redisbus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/redis/go-redis/v9"

	"github.com/parley-chat/parley/shared/beat"
)

const (
	// maxBatch is how many entries one read asks for: so many messages are in flight at most.
	maxBatch = 64
	// cursorPace is how long an acknowledgement may wait to be written down, so that one
	// write, which waits for the disk, does for what comes in that time. A crash repeats as much.
	cursorPace = 200 * time.Millisecond
)

// follower reads one stream for one group. Each partition has one reader by lease, so that the
// group needs no more than a cursor: entries are read with XREAD, which changes nothing on
// the server, and what is acknowledged is the group's last delivered id (XGROUP SETID),
// written together with the next read. Compared with XREADGROUP and XACK that is one
// small write for many messages instead of two for each, nothing is ever pending with
// a dead reader, and a read whose reply is lost has lost nothing. What the group was
// given through XREADGROUP (by the stock driver, say) and never acknowledged is read again first.
//
// Two readers of a group by mistake both write the cursor: each value is true,
// because all below it was acknowledged by somebody; a lower one only repeats.
type follower struct {
	parent *subscriber
	topic  string
	key    string
	client redis.UniversalClient
	most   int // messages in flight
	hand   func(context.Context, []*message.Message) bool
	finish func()
	cancel context.CancelCauseFunc
	ended  chan struct{}

	// What follows is run's alone, from start on.
	cursor  string    // id of the last entry acknowledged
	count   int64     // of entries up to it, for the server's lag
	waiting time.Time // since when an acknowledgement is not written down; zero: none is
	looked  bool      // the group was there a short while ago
}

func (f *follower) abort()                { f.cancel(context.Canceled) }
func (f *follower) over() <-chan struct{} { return f.ended }

func (f *follower) start(ctx context.Context) error {
	// Only this makes go-redis give a command up when the context is cancelled.
	defer context.AfterFunc(ctx, func() { _ = f.client.Close() })()
	reply, err := followScript.Run(ctx, f.client, []string{f.key}, f.parent.group, sweepAge.Milliseconds()).Slice()
	if err != nil {
		return err
	}
	var ok, counted bool
	if len(reply) == 2 {
		f.cursor, ok = reply[0].(string)
		f.count, counted = reply[1].(int64)
	}
	if !ok || !counted {
		return permanentReply(fmt.Sprintf("unexpected reply %v", reply))
	}
	return nil
}

// run reads and hands over until the subscription is over, then ends it.
func (f *follower) run(ctx context.Context) {
	defer context.AfterFunc(ctx, func() { _ = f.client.Close() })()
	for ctx.Err() == nil {
		entries, err := f.read(ctx)
		if err != nil {
			f.cancel(err) // no effect when it has ended already
			break
		}
		if !f.work(ctx, entries) {
			break
		}
	}
	f.saveLast()
	if err := context.Cause(ctx); err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		f.parent.backend.logger.Warn("subscription ended", "topic", f.topic, "group", f.parent.group, "err", err)
	}
	f.end()
}

// read asks for what is behind the cursor. With the same round trip it writes the cursor
// down when that is due, or looks whether the group is still there: XREAD would wait for
// ever on a stream that is gone, or that another one has replaced.
func (f *follower) read(ctx context.Context) ([]redis.XMessage, error) {
	block, short, save := max(beat.Next(blockTime), time.Millisecond), false, false
	if !f.waiting.IsZero() {
		rest := cursorPace - time.Since(f.waiting)
		if save = rest <= 0; !save {
			block, short = min(block, max(rest, time.Millisecond)), true
		}
	}
	pipe := f.client.Pipeline()
	var first redis.Cmder
	switch {
	case save:
		first = f.saving(ctx)
		_ = pipe.Process(ctx, first) // each command has its own error
	case !f.looked:
		first = pipe.XPending(ctx, f.key, f.parent.group)
	}
	read := pipe.XRead(ctx, &redis.XReadArgs{Streams: []string{f.key, f.cursor}, Count: maxBatch, Block: block})
	_, _ = pipe.Exec(ctx)
	if first != nil && first.Err() != nil {
		return nil, first.Err()
	}
	f.looked = true
	if save {
		f.waiting = time.Time{}
	}
	streams, err := read.Result()
	if errors.Is(err, redis.Nil) {
		f.looked = short
		return nil, nil
	}
	if err != nil || len(streams) == 0 {
		return nil, err
	}
	return streams[0].Messages, nil
}

func (f *follower) saving(ctx context.Context) redis.Cmder {
	cmd := redis.NewStatusCmd(ctx, "xgroup", "setid", f.key, f.parent.group, f.cursor, "entriesread", f.count)
	cmd.SetFirstKeyPos(2)
	return cmd
}

// work hands the entries over until all are acknowledged; false: the subscription ends.
func (f *follower) work(ctx context.Context, entries []redis.XMessage) bool {
	for len(entries) > 0 {
		some := entries[:min(f.most, len(entries))]
		acked, ended := f.offer(ctx, some)
		if acked > 0 {
			f.cursor = some[acked-1].ID
			f.count += int64(acked)
			if f.waiting.IsZero() {
				f.waiting = time.Now()
			}
		}
		if ended {
			return false
		}
		if acked < len(some) && sleep(ctx, nackSleep) != nil {
			return false
		}
		entries = entries[acked:]
	}
	return true
}

// offer tells how many of the entries, from the first on, are acknowledged when
// all are, one is refused, or the subscription ends.
func (f *follower) offer(ctx context.Context, entries []redis.XMessage) (acked int, ended bool) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	batch := make([]*message.Message, len(entries))
	for i := range entries {
		batch[i], _ = envelope{}.Unmarshal(entries[i].Values) // never fails
		batch[i].SetContext(ctx)
	}
	if !f.hand(ctx, batch) {
		return 0, true
	}
	for _, msg := range batch {
		acknowledged, over := f.await(ctx, msg)
		if !acknowledged {
			return acked, over
		}
		acked, ended = acked+1, over
	}
	return acked, ended
}

// await waits for a message to be acknowledged; over: nothing more is wanted. What was
// acknowledged before is written down meanwhile when this one takes long.
func (f *follower) await(ctx context.Context, msg *message.Message) (acknowledged, over bool) {
	var due <-chan time.Time
	if !f.waiting.IsZero() {
		timer := time.NewTimer(cursorPace - time.Since(f.waiting))
		defer timer.Stop()
		due = timer.C
	}
	for {
		select {
		case <-msg.Acked():
			return true, false
		case <-msg.Nacked():
			return false, false
		case <-due:
			due = nil
			switch err := f.client.Process(ctx, f.saving(ctx)); {
			case err == nil:
				f.waiting = time.Time{}
			case !isBroken(err): // else the next read writes it down, or ends the subscription
				f.cancel(err)
			}
		case <-ctx.Done():
			select { // just before the end
			case <-msg.Acked():
				return true, true
			default:
				return false, true
			}
		}
	}
}

// saveLast writes the cursor down on the way out.
func (f *follower) saveLast() {
	if f.waiting.IsZero() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), ackWait)
	defer cancel()
	b := f.parent.backend
	if err := b.client.Process(ctx, f.saving(ctx)); err != nil {
		b.logger.Debug("write a cursor down at the end; what is behind it comes again", "topic", f.topic, "group", f.parent.group, "err", err)
	}
}

// end closes everything.
func (f *follower) end() {
	f.cancel(context.Canceled)
	_ = f.client.Close() // what can fail is the closing of a connection that is gone
	f.parent.mu.Lock()
	delete(f.parent.open, f)
	f.parent.mu.Unlock()
	f.finish()
	close(f.ended)
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
