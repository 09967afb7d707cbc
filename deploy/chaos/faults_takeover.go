package chaos

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/parley-chat/parley/deploy/cluster"
	"github.com/parley-chat/parley/shared/event"
)

// killAndSilence kills a chat when everybody has fallen silent: what was appended
// and not yet told must be told by its successor, and no later message helps. Its
// broker is slow to answer, and as soon as Redis shows that it has appended it is killed:
// the answer has not come back by then.
func killAndSilence(ctx context.Context, w *world) (string, after, error) {
	quiet, cancel := context.WithTimeout(ctx, quietTime)
	defer cancel()
	if err := w.load.Quiet(quiet); err != nil {
		return "", nil, err
	}
	p, what, err := w.victim(ctx, w.Chats)
	if err != nil {
		return "", nil, err
	}
	rooms, err := w.roomsOf(ctx, p)
	if err != nil {
		return "", nil, err
	}
	before, err := w.lengths(ctx, rooms)
	if err != nil {
		return "", nil, err
	}
	w.spoil(p, Faults{Latency: slowAnswer})
	defer w.spoil(p, Faults{})
	for _, room := range rooms {
		for _, u := range w.load.all() {
			if u.say(room) {
				break
			}
		}
	}
	appended := 0
	until(ctx, 20*time.Second, func(ctx context.Context) bool {
		var now map[string]int64
		if now, err = w.lengths(ctx, rooms); err != nil {
			return true
		}
		appended = 0
		for _, room := range rooms {
			if now[room] > before[room] {
				appended++
			}
		}
		return appended > 0
	})
	p.Kill()
	if err == nil && appended == 0 {
		err = fmt.Errorf("%s has appended nothing of what was said", p.Name)
	}
	what = fmt.Sprintf("%s, with %d rooms' messages appended and not told", what, appended)
	return what, func(ctx context.Context) error { return startAll(ctx, []*cluster.Process{p}) }, err
}

// slowAnswer is between a deed of Redis and that the process learns of it.
const slowAnswer = 400 * time.Millisecond

// roomsOf are the load's rooms in the partitions that a chat has now.
func (w *world) roomsOf(ctx context.Context, p *cluster.Process) ([]string, error) {
	healthy, err := metrics(ctx, p, "parley_chat_partition_healthy{")
	if err != nil {
		return nil, err
	}
	var rooms []string
	for _, room := range w.load.rooms {
		if _, has := healthy[fmt.Sprintf(`parley_chat_partition_healthy{partition="%d"}`, event.PartitionFor(room, partitions))]; has {
			rooms = append(rooms, room)
		}
	}
	if len(rooms) == 0 {
		return nil, fmt.Errorf("%s has none of the rooms", p.Name)
	}
	return rooms, nil
}

// lengths are those of the rooms' logs.
func (w *world) lengths(ctx context.Context, rooms []string) (map[string]int64, error) {
	out := map[string]int64{}
	for _, room := range rooms {
		n, err := w.redis.XLen(ctx, logKey(room)).Result()
		if err != nil {
			return nil, err
		}
		out[room] = n
	}
	return out, nil
}

func logKey(room string) string {
	return fmt.Sprintf("parley:{p%02d}:log:%s", event.PartitionFor(room, partitions), room)
}

// restartEdgeAtOnce kills an edge and has it back before anybody has noticed, as a
// supervisor does. Some of its clients go while it cannot hear them any more, and never
// come back: nobody but the others can notice, by the name under which it was there.
func restartEdgeAtOnce(ctx context.Context, w *world) (string, after, error) {
	room := w.load.rooms[w.rand.IntN(len(w.load.rooms))]
	leave, err := w.load.Crowd(ctx, 20, room)
	if err != nil {
		leave()
		return "", nil, err
	}
	p, what, err := w.victim(ctx, w.Edges)
	if err == nil {
		err = p.Pause()
	}
	leave()
	if err != nil {
		return "", nil, err
	}
	p.Kill()
	err = startAll(ctx, []*cluster.Process{p})
	w.later.Go(func() {
		w.gone(ctx, "users of an edge that was killed and is back at once are taken off the list", crashTime, room)
	})
	return what, nil, err
}

// overtakenTwice has what a chat says arrive when it is dead, and when not only another
// one has its partitions but already the one after: it must not be taken for a new voice.
func overtakenTwice(ctx context.Context, w *world) (string, after, error) {
	p, what, err := w.victim(ctx, w.Chats)
	if err != nil {
		return "", nil, err
	}
	defer w.spoil(p, Faults{})
	w.spoil(p, Faults{Latency: 100 * time.Millisecond}) // so that it has something on the way everywhere
	if err := sleep(ctx, 500*time.Millisecond); err != nil {
		return "", nil, err
	}
	w.spoil(p, Faults{HoldUp: true})
	for _, other := range w.Chats {
		if other == p {
			continue
		}
		// The second takeover is by the same program, started again: it is another owner.
		if err := errors.Join(w.ownsAll(ctx, other), sleep(ctx, heard)); err != nil {
			return "", nil, err
		}
		stopping, cancel := context.WithTimeout(ctx, 30*time.Second)
		err := other.Stop(stopping)
		cancel()
		if err := errors.Join(err, startAll(ctx, []*cluster.Process{other}), w.ownsAll(ctx, other)); err != nil {
			return "", nil, err
		}
		what += "; then " + other.Name + " twice"
		break
	}
	err = sleep(ctx, heard)
	p.Kill() // it would take its share back, with a voice that is newer still
	return what, func(ctx context.Context) error { return startAll(ctx, []*cluster.Process{p}) }, err
}

// heard is after how long an owner has said something in every partition.
const heard = 2 * time.Second

// ownsAll waits until a chat has every partition.
func (w *world) ownsAll(ctx context.Context, p *cluster.Process) error {
	n := 0
	var err error
	until(ctx, time.Minute, func(ctx context.Context) bool {
		n, err = owns(ctx, p)
		return err == nil && n == partitions
	})
	if n != partitions {
		return errors.Join(err, fmt.Errorf("%s has %d of %d partitions after a minute", p.Name, n, partitions))
	}
	return nil
}
