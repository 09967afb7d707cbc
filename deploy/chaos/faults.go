package chaos

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/parley-chat/parley/deploy/cluster"
)

// fault is one thing that goes wrong.
type fault struct {
	id, about string
	redis     bool          // needs the bus on Redis
	excuse    bool          // entries may be lost; resets and gaps are in order
	poison    bool          // leaves dead letters
	quiet     bool          // nothing is sent from the fault on: it ends the run, and happens only when it is named
	named     bool          // happens only when it is named
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
	{id: "F2", about: "kill -9 of a chat", heal: takeover, run: kill(chats)},
	{id: "F2l", about: "kill -9 of a chat while many leave and Redis is full", redis: true, heal: takeover, run: killWhileLeaving},
	{id: "F2q", about: "kill -9 of a chat, and then nobody says anything", quiet: true, run: killAndSilence},
	{id: "F3", about: "kill -9 of a notifier", heal: takeover, run: kill(notifiers)},
	{id: "F4", about: "kill -9 of one of each at once", heal: takeover, run: kill(edges, chats, notifiers)},
	{id: "F5", about: "rolling deploy by SIGTERM", heal: takeover, run: rollingDeploy},
	{id: "F6", about: "Redis kill -9, restarted with its AOF", run: redisRestart},
	{id: "F6e", about: "the same with appendfsync everysec", excuse: true, run: redisEverySecond},
	{id: "F7", about: "FLUSHALL", redis: true, excuse: true, run: redisCommand("FLUSHALL")},
	{id: "F7r", about: "Redis restarted empty", redis: true, excuse: true, heal: healTime, run: redisEmpty},
	{id: "F7s", about: "a room's log deleted", redis: true, excuse: true, run: logDeleted},
	{id: "F7t", about: "a topic deleted", redis: true, run: topicDeleted},
	{id: "F7g", about: "a group destroyed", redis: true, run: groupDestroyed},
	{id: "F8", about: "power cut: the AOF's tail is cut off", redis: true, excuse: true, run: tailCut},
	{id: "F9", about: "Redis SIGSTOP", run: redisPaused},
	{id: "F10", about: "a replica promoted, the old master demoted", redis: true, excuse: true, heal: healTime, run: failover},
	{id: "F11", about: "black hole between services and Redis", heal: takeover, run: blackHole},
	{id: "F12a", about: "one-way loss between services and Redis: answers", heal: takeover, run: answersLost},
	{id: "F12r", about: "one-way loss between services and Redis: requests, which arrive late", heal: takeover, run: requestsLate},
	{id: "F12o", about: "what a chat says arrives when two others have had its partitions", named: true, heal: takeover, run: overtakenTwice},
	{id: "F13", about: "replies lost after execution, 1 % of the requests", run: repliesLost},
	{id: "F14", about: "half-open clients", run: halfOpen},
	{id: "F15", about: "clients that read nothing, and clients that ask and read nothing", run: slowReaders},
	{id: "F17", about: "poison on every topic", redis: true, poison: true, run: poison},
	{id: "F18", about: "all sockets dropped at once", run: allDropped},
	{id: "F19", about: "a hot room", run: hotRoom},
	{id: "F20", about: "maxmemory reached", redis: true, run: memoryFull},
	{id: "F21", about: "CLIENT KILL TYPE normal every 2 s", redis: true, run: clientKill},
	{id: "F23", about: "each send three times over two connections", run: repeated},
	{id: "F28c", about: "SIGSTOP of a chat beyond its lease, then SIGCONT", heal: takeover, run: zombie(chats)},
	{id: "F28n", about: "SIGSTOP of a notifier beyond its lease, then SIGCONT", heal: takeover, run: zombie(notifiers)},
	{id: "P1", about: "a pair: kill -9 of a chat while replies are lost", heal: takeover, run: both(kill(chats), repliesLost)},
	{id: "P2", about: "a pair: kill -9 of an edge and a notifier while Redis is restarted", heal: takeover, run: both(kill(edges, notifiers), redisRestart)},
	{id: "F28e", about: "SIGSTOP of an edge beyond its lease, then SIGCONT", heal: takeover, run: zombie(edges)},
}

// choose are the faults whose id is named, or begins with a name as in F7 for F7s;
// all where nothing is named.
func choose(only []string, nats bool) ([]fault, error) {
	var out []fault
	for _, f := range faults {
		if nats && f.redis {
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

func edges(w *world) []*cluster.Process     { return w.Edges }
func chats(w *world) []*cluster.Process     { return w.Chats }
func notifiers(w *world) []*cluster.Process { return w.Notifiers }

// kill kills one of each kind at once, and starts them again when the others have
// taken over.
func kill(kinds ...func(*world) []*cluster.Process) func(context.Context, *world) (string, after, error) {
	return func(ctx context.Context, w *world) (string, after, error) {
		var victims []*cluster.Process
		var names []string
		for _, kind := range kinds {
			p, what, err := w.victim(ctx, kind(w))
			if err != nil {
				return "", nil, err
			}
			victims, names = append(victims, p), append(names, what)
		}
		if err := w.killAll(ctx, victims); err != nil {
			return "", nil, err
		}
		return strings.Join(names, ", "), func(ctx context.Context) error { return startAll(ctx, victims) }, nil
	}
}

// killAll kills after a second in which the victims' brokers are slow to answer:
// what a process does lies between two answers then, and the kill falls there.
func (w *world) killAll(ctx context.Context, victims []*cluster.Process) error {
	for _, p := range victims {
		w.spoil(p, Faults{Latency: 20 * time.Millisecond})
		defer w.spoil(p, Faults{})
	}
	err := sleep(ctx, time.Second)
	for _, p := range victims {
		p.Kill()
	}
	return err
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

// killEdge has some leave, which is to be told soon, and then kills an edge, some of
// whose clients never come back: somebody has to notice that they are gone.
func killEdge(ctx context.Context, w *world) (string, after, error) {
	room := w.load.rooms[w.rand.IntN(len(w.load.rooms))]
	leave, err := w.load.Crowd(ctx, 10, room)
	leave()
	if err != nil {
		return "", nil, err
	}
	w.gone(ctx, "users who left are taken off the list", cleanTime, room)
	leave, err = w.load.Crowd(ctx, 10, room)
	if err != nil {
		leave()
		return "", nil, err
	}
	what, restore, err := kill(edges)(ctx, w)
	leave()
	w.later.Go(func() { w.gone(ctx, "users of a killed edge are taken off the list", crashTime, room) })
	return what, restore, err
}

// restartEdge kills an edge, has it back when the others know that it is off, and
// sends it clients: it is another one now.
func restartEdge(ctx context.Context, w *world) (string, after, error) {
	what, restore, err := kill(edges)(ctx, w)
	if err != nil {
		return "", nil, err
	}
	if err := errors.Join(sleep(ctx, leaseTTL+5*time.Second), restore(ctx)); err != nil {
		return "", nil, err
	}
	w.load.DropAll()
	bound := time.Duration(w.cfg.Patience) * (healTime + takeover)
	w.measured("I10", "ms until everybody is in their rooms, also on an edge that was killed and is back",
		w.load.Back(ctx, bound+time.Second).Milliseconds(), bound.Milliseconds())
	return what, nil, nil
}

// killWhileLeaving kills a chat that has read that many leave and cannot say so,
// because Redis has no room: whoever has the partition next must say it.
func killWhileLeaving(ctx context.Context, w *world) (string, after, error) {
	leave, err := w.load.Crowd(ctx, 4*len(w.load.rooms), w.load.rooms...)
	if err != nil {
		leave()
		return "", nil, err
	}
	p, what, err := w.victim(ctx, w.Chats)
	if err != nil {
		leave()
		return "", nil, err
	}
	w.spoil(p, Faults{Latency: 150 * time.Millisecond})
	defer w.spoil(p, Faults{})
	var leaving sync.WaitGroup
	leaving.Go(leave)
	err = sleep(ctx, 80*time.Millisecond)
	err = errors.Join(err, w.redis.ConfigSet(ctx, "maxmemory", "1").Err(), sleep(ctx, time.Second))
	p.Kill()
	err = errors.Join(err, w.redis.ConfigSet(ctx, "maxmemory", "0").Err())
	leaving.Wait()
	w.later.Go(func() {
		w.gone(ctx, "users who left as a chat was killed are taken off the list", takeover+cleanTime, w.load.rooms...)
	})
	return what, func(ctx context.Context) error { return startAll(ctx, []*cluster.Process{p}) }, err
}

func startAll(ctx context.Context, all []*cluster.Process) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for _, p := range all {
		if err := p.Start(ctx); err != nil {
			return err
		}
	}
	return nil
}

// restarted is how an edge closes those who have not moved by themselves.
const restarted = "1012"

// goneForGood is what a service writes that has missed messages of another.
const goneForGood = "messages are gone for good"

// wrote is how often the services wrote so.
func (w *world) wrote(text string) (n int) {
	for _, p := range w.Services() {
		raw, err := os.ReadFile(p.LogFile)
		if err == nil {
			n += bytes.Count(raw, []byte(text))
		}
	}
	return n
}

// rollingDeploy ends and starts every service, one after the other.
func rollingDeploy(ctx context.Context, w *world) (string, after, error) {
	rounds := 1
	if w.cfg.Full {
		rounds = 3
	}
	lost := w.wrote(goneForGood)
	defer func() {
		w.measured("I5", "messages between services that are lost by a hand-over", int64(w.wrote(goneForGood)-lost), 0)
	}()
	if !w.cfg.NATS {
		end, err := w.watchReaders(ctx)
		if err != nil {
			return "", nil, err
		}
		defer func() {
			n, how := end()
			w.measured("I5", "partitions that are read by one that has given them up"+how, int64(n), 0)
		}()
	}
	for range rounds {
		for _, p := range w.Services() {
			stayed := w.rec.Code(restarted)
			stopping, cancel := context.WithTimeout(ctx, 30*time.Second)
			err := p.Stop(stopping)
			cancel()
			if err != nil {
				return "", nil, fmt.Errorf("stop %s: %w", p.Name, err)
			}
			text := ""
			if n := w.rec.Code(restarted) - stayed; n > len(w.load.all())/10 {
				text = fmt.Sprintf("%s ended with %d clients that it had not moved to another edge", p.Name, n)
			}
			w.rec.Write(Line{Kind: Looked, Code: "I11", Text: text})
			if err := startAll(ctx, []*cluster.Process{p}); err != nil {
				return "", nil, err
			}
		}
	}
	return "every service", nil, nil
}

// zombie stops a process for longer than its lease holds, and lets it go on: what
// it still says and writes must be refused.
func zombie(kind func(*world) []*cluster.Process) func(context.Context, *world) (string, after, error) {
	return func(ctx context.Context, w *world) (string, after, error) {
		p, what, err := w.victim(ctx, kind(w))
		if err != nil {
			return "", nil, err
		}
		if err := p.Pause(); err != nil {
			return "", nil, err
		}
		err = sleep(ctx, w.last(leaseTTL+5*time.Second, 15*time.Second, 70*time.Second))
		if resumeErr := p.Resume(); err == nil {
			err = resumeErr
		}
		return what, nil, err
	}
}

// last is how long a fault lasts: the short form in a short run, one of the others
// in a campaign.
func (w *world) last(short time.Duration, full ...time.Duration) time.Duration {
	if !w.cfg.Full {
		return short
	}
	return full[w.rand.IntN(len(full))]
}

func halfOpen(ctx context.Context, w *world) (string, after, error) {
	gone := w.some(10)
	var end []func()
	for _, u := range gone {
		end = append(end, u.vanish())
	}
	err := sleep(ctx, w.last(8*time.Second, 40*time.Second))
	for _, f := range end {
		f()
	}
	return fmt.Sprintf("%d clients", len(gone)), nil, err
}

func slowReaders(ctx context.Context, w *world) (string, after, error) {
	slow := w.some(5)
	var end []func()
	for _, u := range slow {
		end = append(end, u.stall())
	}
	err := w.gluttons(ctx)
	err = errors.Join(err, sleep(ctx, w.last(4*time.Second, 30*time.Second)))
	for _, f := range end {
		f()
	}
	return fmt.Sprintf("%d clients", len(slow)), nil, err
}

// some is that many of a hundred users, two at least.
func (w *world) some(percent int) []*user {
	all := w.load.all()
	w.rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all[:min(max(2, len(all)*percent/100), len(all))]
}

// allDropped is the storm of clients that come back after all lines broke at once.
func allDropped(ctx context.Context, w *world) (string, after, error) {
	n := 300
	if w.cfg.Full {
		n = 10_000
	}
	leave, err := w.load.Crowd(ctx, n, w.load.rooms...)
	defer leave()
	if err != nil {
		return "", nil, err
	}
	n = w.load.DropAll()
	bound := time.Duration(w.cfg.Patience) * stormTime
	w.measured("I10", fmt.Sprintf("ms until %d clients whose lines broke at once are back in their rooms", n),
		w.load.Back(ctx, bound+time.Second).Milliseconds(), bound.Milliseconds())
	return fmt.Sprintf("%d clients", n), nil, nil
}

func hotRoom(ctx context.Context, w *world) (string, after, error) {
	n := 300
	if w.cfg.Full {
		n = 3000
	}
	leave, err := w.load.Crowd(ctx, n, w.load.rooms[0])
	defer leave()
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("%s with %d more members", w.load.rooms[0], n), nil, sleep(ctx, 5*time.Second)
}

func repeated(ctx context.Context, w *world) (string, after, error) {
	w.load.repeats.Store(true)
	defer w.load.repeats.Store(false)
	return "every sender with two sessions", nil, sleep(ctx, w.last(6*time.Second, 20*time.Second))
}
