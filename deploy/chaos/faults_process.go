package chaos

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/parley-chat/parley/deploy/cluster"
)

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
	watch := w.allow(healTime + takeover)
	w.load.DropAll()
	watch.took("I10", "everybody is in their rooms, also on an edge that was killed and is back", w.load.Back(ctx, watch.bound+time.Second))
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
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
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

// still is how long the machine may stand still before a hand-over within a time
// is too much to ask for.
const still = 2 * time.Second

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
	if w.cfg.Full && w.rand.IntN(4) == 0 {
		rounds = 3
	}
	lost, stalled := w.wrote(goneForGood), w.load.Stalled()
	defer func() {
		if w.load.Stalled()-stalled > still {
			return
		}
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
	for round := range rounds {
		for _, p := range w.Services() {
			stayed, stalled := w.rec.Code(restarted), w.load.Stalled()
			stopping, cancel := context.WithTimeout(ctx, time.Duration(w.cfg.Patience)*30*time.Second)
			err := p.Stop(stopping)
			cancel()
			if err != nil {
				return "", nil, fmt.Errorf("stop %s: %w", p.Name, err)
			}
			text := ""
			if n := w.rec.Code(restarted) - stayed; n > len(w.load.all())/10 && w.load.Stalled()-stalled <= still {
				text = fmt.Sprintf("%s ended with %d clients that it had not moved to another edge", p.Name, n)
			}
			w.rec.Write(Line{Kind: Looked, Code: "I11", Timed: true, Text: text})
			back := func() error { return startAll(ctx, []*cluster.Process{p}) }
			if round == 0 { // later on each is back before another one has noticed
				back = func() error {
					return errors.Join(w.takenOver(ctx, p), startAll(ctx, []*cluster.Process{p}), w.shared(ctx))
				}
			}
			if err := back(); err != nil {
				return "", nil, err
			}
		}
	}
	return "every service", nil, nil
}

// takenOver waits until the other services of its kind have what a process had that has ended,
// so that they have something to hand over when it is back.
func (w *world) takenOver(ctx context.Context, p *cluster.Process) error {
	for _, kind := range [][]*cluster.Process{w.Chats, w.Notifiers} {
		if len(kind) != 2 || !slices.Contains(kind, p) {
			continue
		}
		for _, other := range kind {
			if other != p {
				return w.ownsAll(ctx, other)
			}
		}
	}
	return nil
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
		err = sleep(ctx, w.last(leaseTTL+5*time.Second, leaseTTL+4*time.Second, 15*time.Second, 70*time.Second))
		if resumeErr := p.Resume(); err == nil {
			err = resumeErr
		}
		return what, nil, err
	}
}
