package store

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"

	"github.com/parley-chat/parley/shared/event"
	"github.com/parley-chat/parley/shared/redistest"
)

// owner is one that has, or had, the partition, as chat would: it keeps the heads,
// and reads them anew after whatever went wrong.
type owner struct {
	log   *Log
	heads map[event.RoomID]uint64
}

// history is what owners were told, and what the store may hold.
type history struct {
	store *Store
	acked map[event.Epoch]map[event.RoomID]map[uint64]event.MessageID
	last  event.Epoch
}

func (h *history) ack(epoch event.Epoch, w Write) {
	rooms := h.acked[epoch]
	if rooms == nil {
		rooms = map[event.RoomID]map[uint64]event.MessageID{}
		h.acked[epoch] = rooms
	}
	if rooms[w.Room] == nil {
		rooms[w.Room] = map[uint64]event.MessageID{}
	}
	for _, e := range w.Entries {
		rooms[w.Room][e.Seq] = e.ID
	}
}

var modelRooms = []event.RoomID{"a", "b", "c"}

// check holds the store against what was acknowledged under the epoch in force.
func (h *history) check(t *rapid.T, epoch event.Epoch) {
	for _, room := range modelRooms {
		entries, err := h.store.Between(context.Background(), part, room, 1, math.MaxInt64, 10_000)
		if err != nil {
			t.Fatal(err)
		}
		there := map[uint64]event.MessageID{}
		for i, e := range entries {
			if e.Seq != uint64(i+1) {
				t.Fatalf("room %s has a hole: entry %d is number %d", room, e.Seq, i+1)
			}
			there[e.Seq] = e.ID
		}
		for seq, id := range h.acked[epoch][room] {
			if there[seq] != id {
				t.Fatalf("entry %d of room %s was acknowledged as %s under epoch %s, and the store has %q", seq, room, id, epoch, there[seq])
			}
		}
	}
}

// Several owners come and go on one store whose replies get lost, which may lose
// its tail or everything: no owner is told of a write that is not there, unless the
// epoch says so; no epoch comes back; logs have no holes.
func TestOwnersProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ctx := context.Background()
		m := newMemory()
		f := &faulty{engine: m}
		h := &history{store: &Store{m}, acked: map[event.Epoch]map[event.RoomID]map[uint64]event.MessageID{}}
		s := &Store{f}
		var owners []*owner
		var present *owner // the newest that opened
		contested := false // a newer one may have opened without learning it
		lease, made := uint64(0), 0
		epochs := map[event.Epoch]bool{}
		note := func(o *owner) {
			if e := o.log.Epoch(); e != h.last {
				if epochs[e] {
					t.Fatalf("epoch %s comes back", e)
				}
				epochs[e], h.last = true, e
			}
		}
		reload := func(o *owner) {
			o.heads = map[event.RoomID]uint64{}
			heads, err := h.store.Heads(ctx, part, modelRooms)
			if err != nil {
				t.Fatal(err)
			}
			for i, x := range heads {
				o.heads[modelRooms[i]] = x.Head
			}
		}
		fail := func(o *owner, err error) {
			switch {
			case errors.Is(err, ErrLost):
				if renewErr := o.log.Renew(ctx); renewErr == nil {
					note(o)
				} else if !errors.Is(renewErr, ErrUnavailable) && !errors.Is(renewErr, ErrFenced) {
					t.Fatal(renewErr)
				}
			case errors.Is(err, ErrFenced):
				if o == present && !contested {
					t.Fatalf("the newest owner is fenced: %v", err)
				}
			case !errors.Is(err, ErrUnavailable):
				t.Fatal(err)
			}
			reload(o)
		}
		open := func(t *rapid.T) {
			lease++
			l, err := s.Open(ctx, part, lease)
			if contested = errors.Is(err, ErrUnavailable); contested {
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			present = &owner{log: l}
			owners = append(owners, present)
			note(present)
			reload(present)
		}
		open(t)
		t.Repeat(map[string]func(*rapid.T){
			"open": open,
			"spoil": func(t *rapid.T) {
				f.onAppend = fault(rapid.IntRange(0, 3).Draw(t, "append"))
				f.onRaise = fault(rapid.IntRange(0, 2).Draw(t, "raise"))
				f.onLook = fault(rapid.IntRange(0, 1).Draw(t, "look"))
			},
			"heal": func(*rapid.T) { f.onAppend, f.onRaise, f.onLook = none, none, none },
			"late": func(*rapid.T) {
				if f.late != nil {
					f.late()
					f.late = nil
				}
			},
			"append": func(t *rapid.T) {
				o := rapid.SampledFrom(owners).Draw(t, "owner")
				var batch []Write
				for _, room := range modelRooms {
					n := rapid.IntRange(0, 2).Draw(t, "entries")
					if n == 0 {
						continue
					}
					w := Write{Room: room}
					for range n {
						o.heads[room]++
						made++
						w.Entries = append(w.Entries, event.Entry{Seq: o.heads[room], ID: event.MessageID(fmt.Sprint("m", made)), From: "alice", Kind: event.KindMessage, Body: []byte(`1`), At: 1})
					}
					batch = append(batch, w)
				}
				if err := o.log.Append(ctx, batch); err != nil {
					fail(o, err)
					return
				}
				if len(batch) == 0 {
					return // it wrote nothing, and may be anybody
				}
				note(o)
				for _, w := range batch {
					h.ack(o.log.Epoch(), w)
				}
			},
			"check": func(t *rapid.T) {
				o := rapid.SampledFrom(owners).Draw(t, "owner")
				if err := o.log.Check(ctx); err != nil {
					fail(o, err)
				}
			},
			"lose everything": func(*rapid.T) {
				f.onAppend, f.onRaise, f.onLook, f.late = none, none, none, nil
				clear(m.partitions)
				err := present.log.Check(ctx)
				if !errors.Is(err, ErrLost) {
					t.Fatalf("an emptied store: %v", err)
				}
				fail(present, err)
			},
			"": func(t *rapid.T) { h.check(t, h.last) },
		})
	})
}

// operation of the linearizability test.
type operation struct {
	read  bool
	value string // appended
}

type outcome struct {
	values  string // read: all values, in order
	seq     int    // appended as
	unknown bool   // nobody knows
}

// logModel is a log as its users imagine it: a list to which one adds at a time.
// A state is the values, a comma behind each.
var logModel = (&porcupine.NondeterministicModel{
	Init: func() []any { return []any{""} },
	Step: func(state, input, output any) []any {
		s, in, out := state.(string), input.(operation), output.(outcome)
		n := 0
		for _, c := range s {
			if c == ',' {
				n++
			}
		}
		added := s + in.value + ","
		switch {
		case in.read && out.values == s:
			return []any{s}
		case in.read:
			return nil
		case out.unknown:
			return []any{s, added}
		case out.seq == n+1:
			return []any{added}
		}
		return nil
	},
}).ToModel()

// shaky loses some replies of appends, before or after they were executed.
type shaky struct {
	engine
	one sync.Mutex
	rng *rand.Rand
}

func (x *shaky) append(ctx context.Context, partition int, was, to guard, batch []Write) (verdict, error) {
	x.one.Lock()
	luck := x.rng.IntN(10)
	x.one.Unlock()
	switch luck {
	case 0:
		return refused, errLine
	case 1:
		_, _ = x.engine.append(ctx, partition, was, to, batch)
		return refused, errLine
	}
	return x.engine.append(ctx, partition, was, to, batch)
}

// Owners that all believe to have the partition, on lines that break, look from
// outside like one log: the histories are linearizable.
func TestLinearizable(t *testing.T) {
	server := redistest.Start(t, redistest.Options{Args: []string{"--appendfsync", "no"}})
	for seed := range uint64(40) {
		e := engine(newMemory())
		if seed%4 == 0 {
			r := newRedis(&redis.UniversalOptions{Addrs: []string{server.Addr}, MaxRetries: -1}, fmt.Sprint("seed", seed), Fast)
			t.Cleanup(func() { _ = r.close() })
			e = r
		}
		s := &Store{&shaky{engine: e, rng: rand.New(rand.NewPCG(seed, 0))}}
		ops := contend(t, s)
		if result := porcupine.CheckOperationsTimeout(logModel, ops, 20*time.Second); result != porcupine.Ok {
			for _, o := range ops {
				t.Logf("%d %d-%d %+v %+v", o.ClientId, o.Call, o.Return, o.Input, o.Output)
			}
			t.Fatalf("seed %d: %s", seed, result)
		}
	}
}

// contend has three owners append and two readers read, all at once.
func contend(t *testing.T, s *Store) []porcupine.Operation {
	const room = event.RoomID("r")
	var mu sync.Mutex
	var ops []porcupine.Operation
	began := time.Now()
	do := func(client int, in operation, call func() outcome) outcome {
		from := time.Since(began).Nanoseconds()
		out := call()
		to := time.Since(began).Nanoseconds()
		if out.unknown {
			to = math.MaxInt64 // it may still happen
		}
		mu.Lock()
		defer mu.Unlock()
		ops = append(ops, porcupine.Operation{ClientId: client, Input: in, Call: from, Output: out, Return: to})
		return out
	}
	values := func() ([]event.Entry, error) { return s.Between(t.Context(), part, room, 1, math.MaxInt64, 1000) }
	var leases atomic.Uint64
	var all sync.WaitGroup
	for id := range 3 {
		all.Go(func() {
			var l *Log
			head := uint64(0)
			for i := range 5 {
				if l == nil {
					var err error
					if l, err = s.Open(t.Context(), part, leases.Add(1)); err != nil {
						l = nil
						continue
					}
					entries, err := values()
					if err != nil {
						t.Error(err)
						return
					}
					head = uint64(len(entries))
				}
				in := operation{value: fmt.Sprintf("%d.%d", id, i)}
				out := do(id*100+i, in, func() outcome {
					w := Write{Room: room, Entries: []event.Entry{{Seq: head + 1, ID: event.MessageID(in.value), From: "x", Kind: event.KindMessage, Body: []byte(`1`), At: 1}}}
					switch err := l.Append(t.Context(), []Write{w}); {
					case err == nil:
						return outcome{seq: int(head + 1)}
					default: // also when it is fenced: that may have been found out after the write
						return outcome{unknown: true}
					}
				})
				if head++; out.seq == 0 {
					l = nil // it takes the partition back
				}
			}
		})
	}
	for id := range 2 {
		all.Go(func() {
			for i := range 6 {
				do(1000+id*100+i, operation{read: true}, func() outcome {
					entries, err := values()
					if err != nil {
						t.Error(err)
					}
					text := ""
					for _, e := range entries {
						text += string(e.ID) + ","
					}
					return outcome{values: text}
				})
			}
		})
	}
	all.Wait()
	return ops
}
