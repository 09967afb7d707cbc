package chaos

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/parley-chat/parley/deploy/cluster"
)

const partitions = 8

func redisRestart(ctx context.Context, w *world) (string, after, error) {
	w.Redis.Kill()
	return "Redis", nil, startAll(ctx, []*cluster.Process{w.Redis})
}

func redisEverySecond(ctx context.Context, w *world) (string, after, error) {
	if err := w.redis.ConfigSet(ctx, "appendfsync", "everysec").Err(); err != nil {
		return "", nil, err
	}
	if err := sleep(ctx, 2*time.Second); err != nil {
		return "", nil, err
	}
	w.Redis.Kill()
	return "Redis", w.careful, w.startCareless(ctx)
}

// startCareless starts Redis with appendfsync everysec: one that has lost something
// must not say that it never does.
func (w *world) startCareless(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	return w.Redis.StartWith(ctx, "--appendfsync", "everysec")
}

func (w *world) careful(ctx context.Context) error {
	return w.redis.ConfigSet(ctx, "appendfsync", "always").Err()
}

func redisCommand(args ...any) func(context.Context, *world) (string, after, error) {
	return func(ctx context.Context, w *world) (string, after, error) {
		return "Redis", nil, w.redis.Do(ctx, args...).Err()
	}
}

func redisEmpty(ctx context.Context, w *world) (string, after, error) {
	w.Redis.Kill()
	if err := errors.Join(os.RemoveAll(w.data), os.Mkdir(w.data, 0o755)); err != nil {
		return "", nil, err
	}
	return "Redis", nil, startAll(ctx, []*cluster.Process{w.Redis})
}

func logDeleted(ctx context.Context, w *world) (string, after, error) {
	for _, i := range w.rand.Perm(len(w.load.rooms)) { // nobody may have said anything in some rooms
		room := w.load.rooms[i]
		n, err := w.redis.Del(ctx, logKey(room)).Result()
		if err != nil || n > 0 {
			return "the log of " + room, nil, err
		}
	}
	return "", nil, errors.New("no room has a log")
}

func topicDeleted(ctx context.Context, w *world) (string, after, error) {
	n := w.rand.IntN(partitions)
	key := fmt.Sprintf("parley:{p%02d}:events-%02d", n, n)
	return key, nil, w.redis.Del(ctx, key).Err()
}

func groupDestroyed(ctx context.Context, w *world) (string, after, error) {
	n := w.rand.IntN(partitions)
	name, group := "commands", "chat"
	if w.rand.IntN(2) == 0 {
		name, group = "events", "notifier"
	}
	key := fmt.Sprintf("parley:{p%02d}:%s-%02d", n, name, n)
	gone, err := w.redis.XGroupDestroy(ctx, key, group).Result()
	if err == nil && gone == 0 {
		err = fmt.Errorf("%s has no group %s", key, group)
	}
	return group + " of " + key, nil, err
}

// tailCut takes back what Redis wrote last, as a power cut may with appendfsync everysec.
func tailCut(ctx context.Context, w *world) (string, after, error) {
	w.Redis.Kill()
	files, err := filepath.Glob(filepath.Join(w.data, "appendonlydir", "*.incr.aof"))
	if err == nil && len(files) == 0 {
		err = errors.New("no incremental append-only file is there")
	}
	cut := 0
	if err == nil { // while Redis rewrites there are two, of which the one with the higher number is written to
		newest := slices.MaxFunc(files, func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) })
		cut, err = cutTail(newest, 20+w.rand.IntN(400))
	}
	if startErr := w.startCareless(ctx); err == nil {
		err = startErr
	}
	return fmt.Sprintf("%d bytes", cut), w.careful, err
}

func redisPaused(ctx context.Context, w *world) (string, after, error) {
	if err := w.Redis.Pause(); err != nil {
		return "", nil, err
	}
	d := w.last(15*time.Second, 2*time.Second, 15*time.Second, 45*time.Second)
	red := w.red(ctx, d, w.Services()...)
	err := sleep(ctx, d)
	err = errors.Join(err, w.Redis.Resume())
	red()
	return "Redis", nil, err
}

// blackHole cuts one of each service off.
func blackHole(ctx context.Context, w *world) (string, after, error) {
	return w.cutOff(ctx, Faults{HoldUp: true, HoldDown: true}, w.last(30*time.Second, 5*time.Second, 30*time.Second, 90*time.Second))
}

// answersLost has requests arrive, and no answers.
func answersLost(ctx context.Context, w *world) (string, after, error) {
	return w.cutOff(ctx, Faults{HoldDown: true}, w.last(12*time.Second, 12*time.Second, 30*time.Second))
}

// requestsLate has what the victims ask for arrive only when others have taken
// over from them: a stale owner's writes, and what it says about people who left and
// have come back since. Just before, answers are slow, so that every partition has
// a batch under way.
func requestsLate(ctx context.Context, w *world) (string, after, error) {
	w.spoil(nil, Faults{Latency: 100 * time.Millisecond})
	defer w.spoil(nil, Faults{})
	for _, u := range w.some(50) {
		u.wander()
	}
	if err := sleep(ctx, 150*time.Millisecond); err != nil {
		return "", nil, err
	}
	return w.cutOff(ctx, Faults{HoldUp: true}, w.last(12*time.Second, 12*time.Second, 30*time.Second))
}

func (w *world) cutOff(ctx context.Context, f Faults, d time.Duration) (string, after, error) {
	var names string
	var cut []*cluster.Process
	for _, kind := range [][]*cluster.Process{w.Chats, w.Notifiers, w.Edges} {
		p, what, err := w.victim(ctx, kind)
		if err != nil {
			return "", nil, err
		}
		names += what + " "
		w.spoil(p, f)
		defer w.spoil(p, Faults{})
		cut = append(cut, p)
	}
	for _, p := range w.Services() {
		if !slices.Contains(cut, p) {
			w.spoil(p, Faults{})
		}
	}
	red := w.red(ctx, d, cut...)
	err := sleep(ctx, d)
	red()
	return names, nil, err
}

func repliesLost(ctx context.Context, w *world) (string, after, error) {
	w.spoil(nil, Faults{DropReply: 0.01})
	defer w.spoil(nil, Faults{})
	return "every service", nil, sleep(ctx, w.last(8*time.Second, 4*time.Second, 30*time.Second))
}

func memoryFull(ctx context.Context, w *world) (string, after, error) {
	if err := w.redis.ConfigSet(ctx, "maxmemory", "1").Err(); err != nil {
		return "", nil, err
	}
	err := sleep(ctx, w.last(5*time.Second, 5*time.Second, 20*time.Second))
	return "Redis", nil, errors.Join(err, w.redis.ConfigSet(ctx, "maxmemory", "0").Err())
}

func clientKill(ctx context.Context, w *world) (string, after, error) {
	killed := int64(0)
	for range 4 {
		n, err := w.redis.ClientKillByFilter(ctx, "TYPE", "normal", "SKIPME", "yes").Result()
		if err != nil {
			return "", nil, err
		}
		killed += n
		if err := sleep(ctx, 2*time.Second); err != nil {
			return "", nil, err
		}
	}
	return fmt.Sprintf("%d connections", killed), nil, nil
}

// poison puts on every topic what no reader can read.
func poison(ctx context.Context, w *world) (string, after, error) {
	var topics []string
	for i := range partitions {
		topics = append(topics, fmt.Sprintf("parley:{p%02d}:commands-%02d", i, i), fmt.Sprintf("parley:{p%02d}:events-%02d", i, i))
	}
	more, err := w.redis.Keys(ctx, "parley:*:deliveries-*").Result()
	if err != nil {
		return "", nil, err
	}
	for _, key := range append(topics, more...) {
		if kind, err := w.redis.Type(ctx, key).Result(); err != nil || kind != "stream" {
			continue
		}
		for _, values := range [][]any{
			{"foreign", "field"},
			{"_watermill_message_uuid", "x", "e", "\x01\x00garbage"},
			{"_watermill_message_uuid", "x", "e", ""},
			{"_watermill_message_uuid", "", "e", "\xff\xff\xff\xff\xff\xff"},
		} {
			// A topic that has gone meanwhile must not come back by this, to stay for ever.
			err := w.redis.XAdd(ctx, &redis.XAddArgs{Stream: key, NoMkStream: true, Values: values}).Err()
			if err != nil && !errors.Is(err, redis.Nil) {
				return "", nil, fmt.Errorf("poison %s: %w", key, err)
			}
		}
	}
	return fmt.Sprintf("%d topics", len(topics)+len(more)), nil, nil
}
