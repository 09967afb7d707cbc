package chaos

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// fault is one thing that goes wrong.
type fault struct {
	id, about string
	redis     bool          // needs the bus on Redis
	nats      bool          // needs it on NATS
	excuse    bool          // entries may be lost; resets and gaps are in order
	poison    bool          // leaves dead letters
	quiet     bool          // nothing is sent from the fault on: it ends the run, and happens only when it is named
	named     bool          // happens only when it is named
	quick     bool          // it and its healing are over in seconds: in a campaign it comes twice as often
	heal      time.Duration // beyond the usual bound: what a takeover may take
	// run does it, takes it back, and tells who the victim was and what it had.
	// after, which may be nil, brings back what is not needed for healing.
	run func(ctx context.Context, w *world) (victim string, after func(context.Context) error, err error)
}

const (
	healTime = 5 * time.Second  // from the end of a fault until every room delivers
	takeover = 10 * time.Second // until a dead owner's partitions are another's
	leaseTTL = 6 * time.Second
)

type after = func(context.Context) error

// faults is the catalogue, in the order of docs/guarantees.md.
var faults = []fault{
	{id: "F1", about: "kill -9 of an edge", run: killEdge},
	{id: "F1s", about: "kill -9 of an edge, started again when it has been given up", heal: takeover, run: restartEdge},
	{id: "F1q", about: "kill -9 of an edge, started again at once", named: true, run: restartEdgeAtOnce},
	{id: "F2", about: "kill -9 of a chat", heal: takeover, quick: true, run: kill(chats)},
	{id: "F2l", about: "kill -9 of a chat while many leave and Redis is full", redis: true, heal: takeover, run: killWhileLeaving},
	{id: "F2q", about: "kill -9 of a chat, and then nobody says anything", quiet: true, run: killAndSilence},
	{id: "F3", about: "kill -9 of a notifier", heal: takeover, quick: true, run: kill(notifiers)},
	{id: "F4", about: "kill -9 of one of each at once", heal: takeover, quick: true, run: kill(edges, chats, notifiers)},
	{id: "F5", about: "rolling deploy by SIGTERM", heal: takeover, run: rollingDeploy},
	{id: "F6", about: "Redis kill -9, restarted with its AOF", quick: true, run: redisRestart},
	{id: "F6e", about: "the same with appendfsync everysec", excuse: true, quick: true, run: redisEverySecond},
	{id: "F7", about: "FLUSHALL", redis: true, excuse: true, quick: true, run: redisCommand("FLUSHALL")},
	{id: "F7r", about: "Redis restarted empty", redis: true, excuse: true, heal: healTime, quick: true, run: redisEmpty},
	{id: "F7s", about: "a room's log deleted", redis: true, excuse: true, quick: true, run: logDeleted},
	{id: "F7t", about: "a topic deleted", redis: true, quick: true, run: topicDeleted},
	{id: "F7g", about: "a group destroyed", redis: true, quick: true, run: groupDestroyed},
	{id: "F8", about: "power cut: the AOF's tail is cut off", redis: true, excuse: true, quick: true, run: tailCut},
	{id: "F9", about: "Redis SIGSTOP", run: redisPaused},
	{id: "F10", about: "a replica promoted, the old master demoted", redis: true, excuse: true, heal: healTime, quick: true, run: failover},
	{id: "F11", about: "black hole between services and Redis", heal: takeover, run: blackHole},
	{id: "F12a", about: "one-way loss between services and Redis: answers", heal: takeover, run: answersLost},
	{id: "F12r", about: "one-way loss between services and Redis: requests, which arrive late", heal: takeover, run: requestsLate},
	{id: "F12o", about: "what a chat says arrives when two others have had its partitions", named: true, heal: takeover, run: overtakenTwice},
	{id: "F13", about: "replies lost after execution, 1 % of the requests", run: repliesLost},
	{id: "F14", about: "half-open clients", run: halfOpen},
	{id: "F15", about: "clients that read nothing, and clients that ask and read nothing", run: slowReaders},
	{id: "F17", about: "poison on every topic", redis: true, poison: true, quick: true, run: poison},
	{id: "F17n", about: "poison on every topic", nats: true, poison: true, quick: true, run: poisonNATS},
	{id: "F18", about: "all sockets dropped at once", run: allDropped},
	{id: "F19", about: "a hot room", run: hotRoom},
	{id: "F20", about: "maxmemory reached", redis: true, quick: true, run: memoryFull},
	{id: "F21", about: "CLIENT KILL TYPE normal every 2 s", redis: true, run: clientKill},
	{id: "F23", about: "each send three times over two connections", run: repeated},
	{id: "F28c", about: "SIGSTOP of a chat beyond its lease, then SIGCONT", heal: takeover, run: zombie(chats)},
	{id: "F28n", about: "SIGSTOP of a notifier beyond its lease, then SIGCONT", heal: takeover, run: zombie(notifiers)},
	{id: "N6", about: "NATS kill -9, restarted with what it had stored", nats: true, heal: healTime, quick: true, run: natsRestart},
	{id: "P1", about: "a pair: kill -9 of a chat while replies are lost", heal: takeover, run: both(kill(chats), repliesLost)},
	{id: "P2", about: "a pair: kill -9 of an edge and a notifier while Redis is restarted", heal: takeover, quick: true, run: both(kill(edges, notifiers), redisRestart)},
	{id: "F28e", about: "SIGSTOP of an edge beyond its lease, then SIGCONT", heal: takeover, run: zombie(edges)},
}

// choose are the faults whose id is named, or begins with a name as in F7 for F7s;
// all where nothing is named.
func choose(only []string, nats bool) ([]fault, error) {
	var out []fault
	for _, f := range faults {
		if nats && f.redis || !nats && f.nats {
			continue
		}
		if len(only) == 0 && !f.quiet && !f.named {
			out = append(out, f)
		}
		for _, name := range only {
			if f.id == name || !f.quiet && !f.named && strings.TrimRight(f.id, "abcdefghijklmnopqrstuvwxyz") == name {
				out = append(out, f)
				break
			}
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("no fault is called %s", strings.Join(only, " or "))
	}
	return out, nil
}

// both has two faults happen at once.
func both(a, b func(context.Context, *world) (string, after, error)) func(context.Context, *world) (string, after, error) {
	return func(ctx context.Context, w *world) (string, after, error) {
		what, restore, err := a(ctx, w)
		if err != nil {
			return "", nil, err
		}
		other, restoreOther, err := b(ctx, w)
		return what + "; " + other, func(ctx context.Context) error {
			for _, f := range []after{restore, restoreOther} {
				if f != nil {
					err = errors.Join(err, f(ctx))
				}
			}
			return err
		}, err
	}
}

// last is how long a fault lasts: the short form in a short run; in a campaign one
// of all forms, which come in ascending order, the longer the more seldom.
func (w *world) last(short time.Duration, full ...time.Duration) time.Duration {
	if !w.cfg.Full {
		return short
	}
	for _, d := range full[:len(full)-1] {
		if w.rand.IntN(10) < 7 {
			return d
		}
	}
	return full[len(full)-1]
}
