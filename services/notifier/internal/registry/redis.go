package registry

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"strconv"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/parley-chat/parley/shared/event"
	"github.com/parley-chat/parley/shared/redisclient"

	"github.com/parley-chat/parley/services/notifier/internal/presence"
)

// generationField stands among the sessions of a user and the nodes of a
// partition; names of neither begin with ~.
const generationField = "~generation"

// replace makes a hash what is given: KEYS[1] the hash; ARGV the generation, the
// TTL in ms, then fields and values. It writes nothing over a higher generation.
// Generations are Unix milliseconds, which a Lua number holds exactly.
var replace = redis.NewScript(`
local held = redis.call('HGET', KEYS[1], '` + generationField + `')
if held and tonumber(held) > tonumber(ARGV[1]) then return 0 end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], '` + generationField + `', ARGV[1])
for i = 3, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1`)

// Redis keeps a hash per user, <prefix>:{pNN}:user:<user>, of session to row in
// CBOR, and one per partition, <prefix>:{pNN}:nodes, of node to sessions. Safe for
// concurrent use.
type Redis struct {
	client redis.UniversalClient
	prefix string
}

// NewRedis opens the registry in the store at the URL. It does not wait for the
// store to be there. Errors of Redis are counted with counted, which may be nil.
func NewRedis(url, prefix string, counted prometheus.Registerer) (*Redis, error) {
	o, err := redisclient.Options(url)
	if err != nil {
		return nil, fmt.Errorf("registry: %w", err)
	}
	o.MaxRetries = 1 // all writes replace: twice is once
	r := &Redis{client: redisclient.New(o), prefix: prefix}
	redisclient.CountErrors(r.client, counted, "registry")
	return r, nil
}

// Replace makes the users' sessions what is given. An error leaves some written;
// writing all again is right.
func (r *Redis) Replace(ctx context.Context, o Owner, users []presence.User) error {
	_, err := r.client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for _, u := range users {
			args := []any{o.Generation, TTL.Milliseconds()}
			for _, s := range u.Sessions {
				value, err := cbor.Marshal(s)
				if err != nil {
					return fmt.Errorf("encode session %s: %w", s.Session, err)
				}
				args = append(args, string(s.Session), value)
			}
			replace.Eval(ctx, pipe, []string{r.userKey(o.Partition, u.ID)}, args...)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("write %d users to the registry: %w", len(users), err)
	}
	return nil
}

// Count makes the partition's sessions per node what is given.
func (r *Redis) Count(ctx context.Context, o Owner, sessions map[event.NodeID]int) error {
	args := []any{o.Generation, TTL.Milliseconds()}
	for node, n := range sessions {
		args = append(args, string(node), n)
	}
	if err := replace.Eval(ctx, r.client, []string{r.nodesKey(o.Partition)}, args...).Err(); err != nil {
		return fmt.Errorf("write counts of partition %d to the registry: %w", o.Partition, err)
	}
	return nil
}

// Find returns the sessions of each user, in the order asked, each user's by
// name.
func (r *Redis) Find(ctx context.Context, partition int, users []event.UserID) ([][]presence.Session, error) {
	answers := make([]*redis.MapStringStringCmd, len(users))
	_, err := r.client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for i, u := range users {
			answers[i] = pipe.HGetAll(ctx, r.userKey(partition, u))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read %d users from the registry: %w", len(users), err)
	}
	now := time.Now().UnixMilli()
	found := make([][]presence.Session, len(users))
	for i, answer := range answers {
		var bad error
		if found[i], bad = decode(answer.Val()); bad != nil {
			err = errors.Join(err, fmt.Errorf("user %s: %w", users[i], bad))
		}
		found[i] = current(found[i], now)
	}
	return found, err
}

// Nodes returns the sessions per node whose users lie in the partition.
func (r *Redis) Nodes(ctx context.Context, partition int) (map[event.NodeID]int, error) {
	fields, err := r.client.HGetAll(ctx, r.nodesKey(partition)).Result()
	if err != nil {
		return nil, fmt.Errorf("read counts of partition %d from the registry: %w", partition, err)
	}
	var counts map[event.NodeID]int
	for node, n := range fields {
		if node == generationField {
			continue
		}
		if counts == nil {
			counts = map[event.NodeID]int{}
		}
		if counts[event.NodeID(node)], err = strconv.Atoi(n); err != nil {
			return nil, fmt.Errorf("count of node %s: %w", node, err)
		}
	}
	return counts, nil
}

// Close closes the connections.
func (r *Redis) Close() error { return r.client.Close() }

func (r *Redis) userKey(partition int, user event.UserID) string {
	return fmt.Sprintf("%s:{p%02d}:user:%s", r.prefix, partition, user)
}

func (r *Redis) nodesKey(partition int) string {
	return fmt.Sprintf("%s:{p%02d}:nodes", r.prefix, partition)
}

// decode reads the rows that it can read; the error says which it could not.
func decode(fields map[string]string) (sessions []presence.Session, err error) {
	for name, value := range fields {
		if name == generationField {
			continue
		}
		var s presence.Session
		if bad := cbor.Unmarshal([]byte(value), &s); bad != nil {
			err = errors.Join(err, fmt.Errorf("session %s: %w", name, bad))
			continue
		}
		sessions = append(sessions, s)
	}
	sort.Slice(sessions, func(i, j int) bool { return sessions[i].Session < sessions[j].Session })
	return sessions, err
}
