package store

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/redis/go-redis/v9"

	"github.com/parley-chat/parley/shared/event"
	"github.com/parley-chat/parley/shared/redisclient"
)

// redisEngine keeps a log as a stream <prefix>:{pNN}:log:<room> with IDs <seq>-0,
// and beside the logs of a partition the guard (…:w), the record (…:epoch) and a
// sorted set of all rooms that have a log, by the time of their oldest entry (…:age).
type redisEngine struct {
	client     redis.UniversalClient
	prefix     string
	durability Durability
	confirm    atomic.Pointer[confirmation] // set by verify; nil: what the server answers is enough
	unkept     atomic.Bool                  // verify found that the server cannot keep the durability
}

func newRedis(o *redis.UniversalOptions, prefix string, d Durability) *redisEngine {
	return &redisEngine{client: redisclient.New(o), prefix: prefix, durability: d}
}

func (r *redisEngine) key(partition int, name string) string {
	return fmt.Sprintf("%s:{p%02d}:%s", r.prefix, partition, name)
}

func (r *redisEngine) log(partition int, room event.RoomID) string {
	return r.key(partition, "log:"+string(room))
}

func (r *redisEngine) settle(ctx context.Context, name, value string) (string, error) {
	key := r.prefix + ":" + name
	if err := r.client.SetNX(ctx, key, value, 0).Err(); err != nil {
		return "", explain(err)
	}
	inForce, err := r.client.Get(ctx, key).Result()
	return inForce, explain(err)
}

func (r *redisEngine) look(ctx context.Context, partition int) (sight, error) {
	v, err := lookScript.Run(ctx, r.client, []string{r.key(partition, "w"), r.key(partition, "epoch")}).Slice()
	if err != nil {
		return sight{}, explain(err)
	}
	if len(v) != 5 {
		return sight{}, fmt.Errorf("look at partition %d: %d values, want 5", partition, len(v))
	}
	text := func(i int) string { s, _ := v[i].(string); return s }
	number := func(i int) int64 { n, _ := v[i].(int64); return n }
	return sight{raw: text(0), guard: parseGuard(text(0)), record: parseRecord(text(1)), run: text(2),
		promoted: number(3) == 1, now: number(4)}, nil
}

func (r *redisEngine) raise(ctx context.Context, partition int, was string, to guard, rec record) (bool, error) {
	n, err := r.write(ctx, partition, raiseScript, []string{r.key(partition, "w"), r.key(partition, "epoch")},
		was, to.String(), rec.String())
	return n == 1, err
}

func (r *redisEngine) append(ctx context.Context, partition int, was, to guard, batch []Write) (verdict, error) {
	keys := append(make([]string, 0, 2+len(batch)), r.key(partition, "w"), r.key(partition, "age"))
	args := append(make([]any, 0, 2+17*len(batch)), was.String(), to.String())
	for _, w := range batch {
		keys = append(keys, r.log(partition, w.Room))
		args = append(args, string(w.Room), w.Entries[0].Seq-1, w.Floor, len(w.Entries))
		for _, e := range w.Entries {
			f := fields(e)
			args = append(append(args, e.Seq), f[:]...)
		}
	}
	n, err := r.write(ctx, partition, appendScript, keys, args...)
	switch {
	case err != nil:
		return refused, err
	case n == 1:
		return done, nil
	case n == -1:
		return torn, nil
	}
	return refused, nil
}

func (r *redisEngine) heads(ctx context.Context, partition int, rooms []event.RoomID) ([]Head, error) {
	keys := append(make([]string, 0, 1+len(rooms)), r.key(partition, "age"))
	args := make([]any, 0, len(rooms))
	for _, room := range rooms {
		keys, args = append(keys, r.log(partition, room)), append(args, string(room))
	}
	v, err := headsScript.Run(ctx, r.client, keys, args...).StringSlice()
	if err != nil {
		return nil, explain(err)
	}
	if len(v) != 3*len(rooms) {
		return nil, fmt.Errorf("heads: %d values for %d rooms", len(v), len(rooms))
	}
	heads := make([]Head, len(rooms))
	for i := range heads {
		heads[i].Floor, _ = parseSeq(v[3*i])
		heads[i].Head, _ = parseSeq(v[3*i+1])
		heads[i].Gone = v[3*i+2] == "1"
	}
	return heads, nil
}

func (r *redisEngine) scan(ctx context.Context, partition int, spans ...span) ([][]event.Entry, error) {
	reads := make([]*redis.XMessageSliceCmd, len(spans))
	_, err := r.client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for i, s := range spans {
			low, high := streamID(s.from), streamID(s.to)
			if s.backward {
				reads[i] = pipe.XRevRangeN(ctx, r.log(partition, s.room), high, low, int64(s.n))
			} else {
				reads[i] = pipe.XRangeN(ctx, r.log(partition, s.room), low, high, int64(s.n))
			}
		}
		return nil
	})
	if err != nil {
		return nil, explain(err)
	}
	found := make([][]event.Entry, len(spans))
	for i, read := range reads {
		found[i] = make([]event.Entry, 0, len(read.Val()))
		for _, m := range read.Val() {
			if e, ok := decode(m.ID, m.Values); ok {
				found[i] = append(found[i], e)
			}
		}
	}
	return found, nil
}

func (r *redisEngine) due(ctx context.Context, partition int, cutoff int64, n int) ([]event.RoomID, error) {
	names, err := r.client.ZRangeByScore(ctx, r.key(partition, "age"),
		&redis.ZRangeBy{Min: "-inf", Max: strconv.FormatInt(cutoff, 10), Count: int64(n)}).Result()
	if err != nil {
		return nil, explain(err)
	}
	rooms := make([]event.RoomID, len(names))
	for i, name := range names {
		rooms[i] = event.RoomID(name)
	}
	return rooms, nil
}

func (r *redisEngine) trim(ctx context.Context, partition int, was guard, room event.RoomID, floor uint64, oldest int64) (bool, error) {
	score := strconv.FormatInt(oldest, 10)
	if oldest == never {
		score = "+inf"
	}
	n, err := trimScript.Run(ctx, r.client, []string{r.key(partition, "w"), r.key(partition, "age"), r.log(partition, room)},
		was.String(), string(room), floor, score).Int()
	return n == 1, explain(err)
}

func (r *redisEngine) forget(ctx context.Context, partition int, was guard, rooms []event.RoomID) (bool, error) {
	keys := []string{r.key(partition, "w"), r.key(partition, "age")}
	args := []any{was.String()}
	for _, room := range rooms {
		keys, args = append(keys, r.log(partition, room)), append(args, string(room))
	}
	n, err := forgetScript.Run(ctx, r.client, keys, args...).Int()
	return n == 1, explain(err)
}

// syncs asks for the server's settings; a server that does not tell counts as one
// that answers ahead of its disk.
func (r *redisEngine) syncs(ctx context.Context, partition int) bool {
	server, err := r.server(ctx, partition)
	if err != nil {
		return false
	}
	settings, err := persistence(ctx, server)
	return err == nil && settings["appendonly"] == "yes" && settings["appendfsync"] == "always"
}

func (r *redisEngine) close() error { return r.client.Close() }

// refusals are the first words of Redis's answers that pass by themselves.
var refusals = []string{"LOADING", "OOM", "MISCONF", "READONLY", "BUSY", "CLUSTERDOWN", "MASTERDOWN", "TRYAGAIN",
	"MOVED", "ASK", "NOREPLICAS", "UNKILLABLE", "ERR max number of clients"}

// explain turns a client's error into this package's: an answer means that
// nothing was written; without one nobody knows, unless nothing was sent.
func explain(err error) error {
	if err == nil {
		return nil
	}
	var answer redis.Error
	if errors.As(err, &answer) {
		for _, prefix := range refusals {
			if strings.HasPrefix(answer.Error(), prefix) || strings.Contains(answer.Error(), "-"+prefix+" ") {
				return fmt.Errorf("%w: %w", ErrUnavailable, err)
			}
		}
		return err
	}
	var op *net.OpError
	if errors.Is(err, redis.ErrPoolTimeout) || errors.Is(err, redis.ErrPoolExhausted) || (errors.As(err, &op) && op.Op == "dial") {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return fmt.Errorf("%w: %w: %w", ErrUnavailable, errUnknown, err)
}
