package redisbus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/parley-chat/parley/shared/bus"
)

// The scripts say allow-oom: a full server must not take leases and announcements away.
// All use the server's clock, so the processes' own need not agree.
var (
	// KEYS lease, counter; ARGV holder, ttl in ms, highest generation that the caller has seen.
	// Answers held (0 or 1) and the generation of whoever holds it.
	leaseScript = redis.NewScript(`#!lua flags=allow-oom
local lease = redis.call('GET', KEYS[1])
if lease then
	local generation, holder = string.match(lease, '^(%d+) (.*)$')
	if holder == ARGV[1] then
		redis.call('PEXPIRE', KEYS[1], ARGV[2])
		return {1, generation}
	end
	return {0, generation or '0'}
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local last = math.max(tonumber(redis.call('GET', KEYS[2]) or 0), tonumber(ARGV[3]))
local generation = string.format('%.0f', math.max(last + 1, now))
redis.call('SET', KEYS[2], generation)
redis.call('SET', KEYS[1], generation .. ' ' .. ARGV[1], 'PX', ARGV[2], 'NX')
return {1, generation}
`)
	// KEYS lease; ARGV what a lease of this generation and holder looks like.
	releaseScript = redis.NewScript(`#!lua flags=allow-oom
if redis.call('GET', KEYS[1]) == ARGV[1] then
	return redis.call('DEL', KEYS[1])
end
return 0
`)
	// KEYS set; ARGV member, ttl in ms. Answers 1 if the member was not in the set.
	announceScript = redis.NewScript(`#!lua flags=allow-oom
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now))
local known = redis.call('ZSCORE', KEYS[1], ARGV[1])
redis.call('ZADD', KEYS[1], string.format('%.0f', now + ARGV[2]), ARGV[1])
return known and 0 or 1
`)
	// KEYS set.
	membersScript = redis.NewScript(`#!lua flags=no-writes
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
return redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. string.format('%.0f', now), '+inf')
`)
)

// Lease implements [bus.Backend]. The generation is also higher than any that this
// process has seen of the lease, so a flush together with a clock set back cannot
// give one out twice while somebody remembers it.
func (b *Backend) Lease(ctx context.Context, name, holder string, ttl time.Duration) (bus.Lease, error) {
	if err := b.ready(ctx); err != nil {
		return bus.Lease{}, err
	}
	if ttl < time.Millisecond || holder == "" {
		return bus.Lease{}, fmt.Errorf("lease %s for %q, %v: want a holder and 1 ms at least", name, holder, ttl)
	}
	seen, _ := b.generations.LoadOrStore(name, uint64(0))
	keys := []string{b.tagged(name, "lease:"+name), b.tagged(name, "generation:"+name)}
	var held bool
	var generation uint64
	reply, err := leaseScript.Run(ctx, b.client, keys, holder, ttl.Milliseconds(), seen).Slice()
	if err == nil {
		held, generation, err = readLease(reply)
	}
	if err != nil {
		return bus.Lease{}, unavailable("take lease "+name, err)
	}
	b.remember(name, generation)
	if !held {
		return bus.Lease{}, nil
	}
	return bus.Lease{Held: true, Generation: generation}, nil
}

func readLease(reply []any) (held bool, generation uint64, err error) {
	if len(reply) == 2 {
		text, _ := reply[1].(string)
		generation, err = strconv.ParseUint(text, 10, 64)
		if n, ok := reply[0].(int64); ok && err == nil {
			return n == 1, generation, nil
		}
	}
	return false, 0, permanentReply(fmt.Sprintf("unexpected reply %v", reply))
}

// permanentReply is a server's reply that makes no sense: trying again cannot mend it.
type permanentReply string

func (e permanentReply) Error() string { return string(e) }

// RedisError marks it as a reply, as go-redis does.
func (permanentReply) RedisError() {}

func (b *Backend) remember(name string, generation uint64) {
	for {
		seen, _ := b.generations.Load(name)
		if seen.(uint64) >= generation || b.generations.CompareAndSwap(name, seen, generation) {
			return
		}
	}
}

// Release implements [bus.Backend].
func (b *Backend) Release(ctx context.Context, name, holder string, generation uint64) error {
	err := releaseScript.Run(ctx, b.client, []string{b.tagged(name, "lease:"+name)}, fmt.Sprintf("%d %s", generation, holder)).Err()
	return unavailable("release lease "+name, err)
}

// Announce implements [bus.Backend].
func (b *Backend) Announce(ctx context.Context, set, member string, ttl time.Duration) (lapsed bool, err error) {
	if err := b.ready(ctx); err != nil {
		return false, err
	}
	n, err := announceScript.Run(ctx, b.client, []string{b.setKey(set)}, member, ttl.Milliseconds()).Int()
	return n == 1, unavailable("announce "+member+" in "+set, err)
}

// Withdraw implements [bus.Backend].
func (b *Backend) Withdraw(ctx context.Context, set, member string) error {
	return unavailable("withdraw "+member+" from "+set, b.client.ZRem(ctx, b.setKey(set), member).Err())
}

// Members implements [bus.Backend].
func (b *Backend) Members(ctx context.Context, set string) ([]string, error) {
	if err := b.ready(ctx); err != nil {
		return nil, err
	}
	members, err := membersScript.Run(ctx, b.client, []string{b.setKey(set)}).StringSlice()
	if err != nil {
		return nil, unavailable("list members of "+set, err)
	}
	slices.Sort(members)
	return members, nil
}

// Settle implements [bus.Backend].
func (b *Backend) Settle(ctx context.Context, name, value string) (string, error) {
	if err := b.ready(ctx); err != nil {
		return "", err
	}
	inForce, err := b.client.SetArgs(ctx, b.prefix+":settled:"+name, value, redis.SetArgs{Mode: "NX", Get: true}).Result()
	if errors.Is(err, redis.Nil) { // there was none
		return value, nil
	}
	return inForce, unavailable("settle "+name, err)
}

func (b *Backend) setKey(set string) string { return b.prefix + ":set:" + set }
