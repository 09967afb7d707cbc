package parley

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/parley-chat/parley/shared/redisclient"
)

// examine looks at one Redis, or at each master of a Cluster. Its error says that
// nothing could be looked at.
func examine(ctx context.Context, t *Target, url string, r *report) error {
	options, err := redisclient.Options(url)
	if err != nil {
		return err
	}
	client := redis.NewUniversalClient(options)
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, t.Timeout)
	defer cancel()
	switch c := client.(type) {
	case *redis.ClusterClient:
		var masters []*redis.Client
		turn := make(chan struct{}, 1)
		err := c.ForEachMaster(ctx, func(_ context.Context, one *redis.Client) error {
			turn <- struct{}{}
			masters = append(masters, one)
			<-turn
			return nil
		})
		if err != nil {
			return err
		}
		slices.SortFunc(masters, func(a, b *redis.Client) int { return strings.Compare(a.Options().Addr, b.Options().Addr) })
		for _, one := range masters {
			if err := examineServer(ctx, one, r); err != nil {
				return err
			}
		}
		return nil
	case *redis.Client:
		return examineServer(ctx, c, r)
	}
	return errors.New("a client of an unknown kind")
}

// server is what one Redis says of itself.
type server struct {
	client *redis.Client
	about  string
	info   map[string]string
}

func examineServer(ctx context.Context, client *redis.Client, r *report) error {
	text, err := client.Info(ctx).Result()
	if err != nil {
		return err
	}
	s := server{client: client, about: "Redis " + client.Options().Addr, info: map[string]string{}}
	if client.Options().Addr == "FailoverClient" {
		s.about = "Redis (by Sentinel)"
	}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			s.info[name] = value
		}
	}
	s.version(r)
	s.memory(r)
	s.durability(ctx, r)
	return s.times(ctx, r)
}

func (s server) version(r *report) {
	version := s.info["redis_version"]
	major, _, _ := strings.Cut(version, ".")
	level := ok
	if n, err := strconv.Atoi(major); err != nil || n < 7 {
		level = fail
	}
	r.add(level, s.about+" version", version, "use 7.0 or newer: older ones cannot tell the lag of a group")
	if role := s.info["role"]; role != "master" {
		r.add(fail, s.about+" role", role, "give the address of the master, or of the Sentinels")
	}
}

func (s server) memory(r *report) {
	policy := s.info["maxmemory_policy"]
	level := ok
	if policy != "noeviction" {
		level = fail
	}
	r.add(level, s.about+" eviction", policy, "CONFIG SET maxmemory-policy noeviction: anything else deletes logs and topics when memory is short")
	used, _ := strconv.ParseInt(s.info["used_memory"], 10, 64)
	limit, _ := strconv.ParseInt(s.info["maxmemory"], 10, 64)
	if limit == 0 {
		r.add(warn, s.about+" memory", size(used)+" used, no limit", "CONFIG SET maxmemory to what the machine can spare: a refused write is better than a process that the system ends")
		return
	}
	level = ok
	if used > limit/10*8 {
		level = warn
	}
	r.add(level, s.about+" memory", fmt.Sprintf("%s of %s used", size(used), size(limit)), "more memory, a shorter PARLEY_RETENTION_AGE or _COUNT, or a Cluster")
}

func (s server) durability(ctx context.Context, r *report) {
	about := s.about + " durability"
	if s.info["aof_enabled"] != "1" {
		r.add(fail, about, "appendonly is off", "CONFIG SET appendonly yes, and in its file: what is acknowledged is lost with the process")
		return
	}
	if status := s.info["aof_last_write_status"]; status != "ok" {
		r.add(fail, about, "the last write to the append-only file: "+status, "see its log and its disk: it refuses writes")
		return
	}
	got, err := s.client.ConfigGet(ctx, "appendfsync").Result()
	switch fsync := got["appendfsync"]; {
	case err != nil:
		r.add(warn, about, "appendonly is on; appendfsync may not be read: "+err.Error(), "see in its file that appendfsync is always")
	case fsync == "always":
		r.add(ok, about, "appendonly, appendfsync always", "")
	case fsync == "everysec":
		r.add(warn, about, "appendfsync everysec", "CONFIG SET appendfsync always: a crash of the machine takes the last second of acknowledged messages; batches make always cheap")
	default:
		r.add(fail, about, "appendfsync "+fsync, "CONFIG SET appendfsync always: a crash of the machine takes acknowledged messages")
	}
}

// times measures the round trip and compares the clocks.
func (s server) times(ctx context.Context, r *report) error {
	const tries = 20
	trips := make([]time.Duration, 0, tries)
	offset := time.Duration(1<<62 - 1)
	for range tries {
		began := time.Now()
		theirs, err := s.client.Time(ctx).Result()
		if err != nil {
			return err
		}
		trip := time.Since(began)
		trips = append(trips, trip)
		if o := theirs.Sub(began.Add(trip / 2)); o.Abs() < offset.Abs() {
			offset = o
		}
	}
	slices.Sort(trips)
	median, worst := trips[tries/2], trips[tries-1]
	level := ok
	if median > 2*time.Millisecond || worst > 100*time.Millisecond {
		level = warn
	}
	r.add(level, s.about+" latency", fmt.Sprintf("%s median, %s worst of %d", median.Round(10*time.Microsecond), worst.Round(10*time.Microsecond), tries),
		"bring it closer, or see SLOWLOG and LATENCY DOCTOR: each message crosses it several times")
	level = ok
	switch {
	case offset.Abs() > 5*time.Second:
		level = fail
	case offset.Abs() > time.Second:
		level = warn
	}
	r.add(level, s.about+" clock", fmt.Sprintf("%+d ms from here", offset.Milliseconds()), "run NTP on both machines: tokens, times of messages and volatile events go by clocks")
	return nil
}
