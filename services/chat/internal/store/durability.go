package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Durability is what has to have happened to a batch before it counts as written,
// and so before anybody is told of it. The zero value is Fast.
type Durability string

const (
	Fast       Durability = "fast"       // the server took it; with appendfsync always it is on its disk
	Replicated Durability = "replicated" // one replica has it as well (WAIT)
	Fsync      Durability = "fsync"      // it is on the server's disk (WAITAOF, or appendfsync always)
)

// ErrDurability: the server cannot keep what PARLEY_DURABILITY promises.
var ErrDurability = errors.New("PARLEY_DURABILITY cannot be kept")

// confirmTime is how long a batch that was written waits for its replica or disk;
// after that nobody is told of it before a later write has been confirmed.
const confirmTime = time.Second

// confirmation makes the command that waits for a connection's last write.
type confirmation func(context.Context) redis.Cmder

func onReplica(ctx context.Context) redis.Cmder {
	return redis.NewIntCmd(ctx, "wait", 1, confirmTime.Milliseconds())
}

func onDisk(ctx context.Context) redis.Cmder {
	return redis.NewIntSliceCmd(ctx, "waitaof", 1, 0, confirmTime.Milliseconds())
}

// server is the one that has a partition's keys, and so the one to wait at.
func (r *redisEngine) server(ctx context.Context, partition int) (redis.Cmdable, error) {
	cluster, ok := r.client.(*redis.ClusterClient)
	if !ok {
		return r.client, nil
	}
	return cluster.MasterForKey(ctx, r.key(partition, "w"))
}

// write runs a script that writes when it answers 1, and waits for what the
// durability asks. A write that was not confirmed in time has errUnknown: it is
// there, and may be gone after a failover.
func (r *redisEngine) write(ctx context.Context, partition int, script *redis.Script, keys []string, args ...any) (int, error) {
	if r.unkept.Load() {
		return 0, fmt.Errorf("%w: %w", ErrUnavailable, ErrDurability)
	}
	confirm := r.confirm.Load()
	if confirm == nil {
		n, err := script.Run(ctx, r.client, keys, args...).Int()
		return n, explain(err)
	}
	server, err := r.server(ctx, partition)
	if err != nil {
		return 0, explain(err)
	}
	written, confirmed := r.twice(ctx, server, script.EvalSha, *confirm, keys, args)
	if redis.HasErrorPrefix(written.Err(), "NOSCRIPT") {
		written, confirmed = r.twice(ctx, server, script.Eval, *confirm, keys, args)
	}
	n, err := written.Int()
	if err != nil || n != 1 {
		return n, explain(err)
	}
	return n, unconfirmed(r.durability, confirmed)
}

// twice sends a script and the confirmation on one connection: WAIT is about what
// its own connection wrote.
func (r *redisEngine) twice(ctx context.Context, server redis.Cmdable,
	run func(context.Context, redis.Scripter, []string, ...any) *redis.Cmd, confirm confirmation, keys []string, args []any) (*redis.Cmd, redis.Cmder) {
	pipe := server.Pipeline()
	written, confirmed := run(ctx, pipe, keys, args...), confirm(ctx)
	_ = pipe.Process(ctx, confirmed) // queues it
	_, _ = pipe.Exec(ctx)            // each command has its own error
	return written, confirmed
}

func unconfirmed(d Durability, c redis.Cmder) error {
	if err := c.Err(); err != nil {
		return fmt.Errorf("%w: %w: written, and not known to be %s: %w", ErrUnavailable, errUnknown, d, err)
	}
	n := int64(0)
	switch c := c.(type) {
	case *redis.IntCmd:
		n = c.Val()
	case *redis.IntSliceCmd:
		n = append(c.Val(), 0)[0]
	}
	if n < 1 {
		return fmt.Errorf("%w: %w: written, and not %s within %s", ErrUnavailable, errUnknown, d, confirmTime)
	}
	return nil
}

// confirms tells whether a write counts only when it was confirmed.
func (r *redisEngine) confirms() bool { return r.confirm.Load() != nil }

// verify looks whether the server can keep the durability, and chooses how. While
// it cannot, nothing is written.
func (r *redisEngine) verify(ctx context.Context, partition int) error {
	switch r.durability {
	case Replicated:
		r.use(onReplica)
	case Fsync:
		err := r.verifyDisk(ctx, partition)
		r.unkept.Store(errors.Is(err, ErrDurability))
		return err
	}
	return nil
}

func (r *redisEngine) verifyDisk(ctx context.Context, partition int) error {
	server, err := r.server(ctx, partition)
	if err != nil {
		return explain(err)
	}
	info, err := server.Info(ctx, "server").Result()
	if err != nil {
		return explain(err)
	}
	settings, err := persistence(ctx, server)
	if err = explain(err); err != nil && !errors.Is(err, ErrUnavailable) {
		return fmt.Errorf("%w: fsync needs to know whether Redis has appendonly yes: %w", ErrDurability, err)
	}
	if err != nil {
		return err
	}
	version := field(info, "redis_version")
	switch {
	case settings["appendonly"] == "yes" && waitsForDisk(version):
		r.use(onDisk)
		return nil
	case settings["appendonly"] == "yes" && settings["appendfsync"] == "always":
		return nil // the answer itself says that it is on disk
	}
	return fmt.Errorf("%w: fsync needs appendonly yes, and Redis 7.2 or newer (WAITAOF) or appendfsync always; this is Redis %s with appendonly %s and appendfsync %s",
		ErrDurability, version, orDash(settings["appendonly"]), orDash(settings["appendfsync"]))
}

func (r *redisEngine) use(c confirmation) { r.confirm.Store(&c) }

// waitsForDisk tells whether a server of this version knows WAITAOF.
func waitsForDisk(version string) bool {
	major, rest, _ := strings.Cut(version, ".")
	minor, _, _ := strings.Cut(rest, ".")
	a, _ := strconv.Atoi(major)
	b, _ := strconv.Atoi(minor)
	return a > 7 || a == 7 && b >= 2
}

// field is a value of INFO.
func field(info, name string) string {
	for line := range strings.Lines(info) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), name+":"); ok {
			return value
		}
	}
	return ""
}

// persistence is those of the server's settings that decide what a write is worth.
func persistence(ctx context.Context, server redis.Cmdable) (map[string]string, error) {
	settings := map[string]string{}
	for _, name := range []string{"appendonly", "appendfsync", "maxmemory-policy"} {
		v, err := server.ConfigGet(ctx, name).Result()
		if err != nil {
			return nil, err
		}
		settings[name] = v[name]
	}
	return settings, nil
}

// concerns says, a sentence each, which settings of the server put at risk what is
// promised whatever the durability.
func (r *redisEngine) concerns(ctx context.Context, partition int) ([]string, error) {
	server, err := r.server(ctx, partition)
	if err != nil {
		return nil, explain(err)
	}
	s, err := persistence(ctx, server)
	if err != nil {
		if err = explain(err); errors.Is(err, ErrUnavailable) {
			return nil, err
		}
		return []string{"Redis does not tell its settings (CONFIG GET is refused): see to it that it has appendonly yes, appendfsync always and maxmemory-policy noeviction; without knowing, each restart of Redis is told as a loss"}, nil
	}
	var found []string
	if policy := s["maxmemory-policy"]; policy != "noeviction" {
		found = append(found, fmt.Sprintf("maxmemory-policy is %s: when its memory is full, Redis throws rooms or leases away; set it to noeviction, and sends are refused instead until there is room", policy))
	}
	switch {
	case s["appendonly"] != "yes":
		found = append(found, "appendonly is "+s["appendonly"]+": when Redis is restarted, every room is lost; set appendonly yes and appendfsync always")
	case s["appendfsync"] != "always":
		found = append(found, "appendfsync is "+s["appendfsync"]+": when Redis or its machine dies, up to the last seconds of acknowledged messages are lost (clients are told by a reset); set appendfsync always")
	}
	return found, nil
}
