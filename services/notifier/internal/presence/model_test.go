package presence

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/parley-chat/parley/shared/event"
)

// model is the truth beside a Partition: edges with sessions that come, break,
// resume, move and die, and in each room one observer per edge that believes what
// it is told, as clients do.
type model struct {
	t      *rapid.T
	p      *Partition
	now    int64
	gen    uint64
	edges  []*edge
	nextID int
	lives  map[event.SessionID]event.Life
}

type edge struct {
	id     event.NodeID
	dead   bool
	rooms  map[event.RoomID]map[event.SessionID]event.Who
	views  map[event.RoomID]*view
	asked  bool // has a sync to answer
	synced int
}

type view struct {
	n     uint64
	users map[event.UserID]bool
}

var (
	modelRooms    = []event.RoomID{"r1", "r2"}
	modelSessions = []event.SessionID{"s1", "s2", "s3", "s4", "s5", "s6"}
)

func userOf(s event.SessionID) event.UserID {
	return map[event.SessionID]event.UserID{"s1": "ann", "s2": "ann", "s3": "bob", "s4": "cat", "s5": "dan", "s6": "eve"}[s]
}

func newModel(t *rapid.T) *model {
	m := &model{t: t, now: t0, gen: 1, lives: map[event.SessionID]event.Life{}}
	for range 3 {
		m.start()
	}
	m.takeOver()
	return m
}

func (m *model) start() {
	m.nextID++
	m.edges = append(m.edges, &edge{
		id:    event.NodeID(fmt.Sprintf("e%d", m.nextID)),
		rooms: map[event.RoomID]map[event.SessionID]event.Who{}, views: map[event.RoomID]*view{},
	})
}

func (m *model) takeOver() {
	m.now += 250
	m.gen = uint64(m.now)
	m.p = New(Config{Generation: m.gen, Hold: 10 * time.Second, Large: 3, UserSessions: 20}, m.now)
}

func (m *model) alive() []*edge {
	return slices.DeleteFunc(slices.Clone(m.edges), func(e *edge) bool { return e.dead })
}

// hear delivers what was sent, and checks that nothing goes to a node that is off.
func (m *model) hear() {
	for _, x := range slices.Clone(m.p.Take()) {
		i := slices.IndexFunc(m.edges, func(e *edge) bool { return e.id == x.Node })
		if i < 0 || m.edges[i].dead {
			continue
		}
		e, d := m.edges[i], x.Delivery
		switch {
		case d.SyncAsk != nil:
			e.asked = true
		case d.Replaced != nil:
			for _, id := range modelRooms {
				if w, ok := e.rooms[id][d.Session]; ok && w.Life == d.Life {
					m.leave(e, id, w, false)
				}
			}
		case d.Presence != nil && e.views[d.Room] != nil:
			m.believe(e.views[d.Room], d.Room, d.Presence)
		}
	}
}

func (m *model) believe(v *view, id event.RoomID, c *event.PresenceChanged) {
	switch {
	case c.N <= v.n:
	case c.N > v.n+1 || c.Large:
		m.load(v, id)
	default:
		v.n = c.N
		for _, u := range c.On {
			v.users[u] = true
		}
		for _, u := range c.Off {
			delete(v.users, u)
		}
	}
}

func (m *model) load(v *view, id event.RoomID) {
	listed := m.p.Members(m.now, id)
	if listed.N < v.n {
		m.t.Fatalf("the number of %s went back from %d to %d", id, v.n, listed.N)
	}
	v.n, v.users = listed.N, map[event.UserID]bool{}
	for _, u := range listed.Users {
		v.users[u.User] = true
	}
}

func (m *model) join(e *edge, id event.RoomID, s event.SessionID) {
	m.lives[s]++
	w := event.Who{Node: e.id, Session: s, Life: m.lives[s], User: userOf(s)}
	if e.rooms[id] == nil {
		e.rooms[id] = map[event.SessionID]event.Who{}
	}
	e.rooms[id][s] = w
	m.p.Joined(m.now, id, w)
	if e.views[id] == nil {
		e.views[id] = &view{}
	}
	m.load(e.views[id], id)
}

func (m *model) leave(e *edge, id event.RoomID, w event.Who, clean bool) {
	delete(e.rooms[id], w.Session)
	if len(e.rooms[id]) == 0 {
		delete(e.rooms, id)
		delete(e.views, id)
	}
	w.Node = e.id
	m.p.Left(m.now, id, w, clean)
}

// sync answers, in two parts, the second of which may have half of a room.
func (m *model) sync(e *edge) {
	e.asked = false
	e.synced++
	parts := []event.SyncNode{
		{Whole: true, ID: uint64(e.synced), Part: 1, Parts: 2, Asked: m.gen},
		{Whole: true, ID: uint64(e.synced), Part: 2, Parts: 2, Asked: m.gen},
	}
	for id, sessions := range e.rooms {
		list := slices.Collect(maps.Values(sessions))
		cut := len(list) / 2
		parts[0].Rooms = append(parts[0].Rooms, event.RoomSync{Room: id, Sessions: list[:cut]})
		parts[1].Rooms = append(parts[1].Rooms, event.RoomSync{Room: id, Sessions: list[cut:]})
	}
	for _, part := range parts {
		m.p.Synced(m.now, e.id, part)
	}
}

// step is 250 ms.
func (m *model) step() {
	m.now += 250
	if m.now%1000 == 0 {
		var live []event.NodeID
		for _, e := range m.alive() {
			live = append(live, e.id)
		}
		m.p.Look(m.now, live)
	}
	m.p.Tick(m.now)
	m.hear()
}

// truth is who is in the room, on an edge that lives.
func (m *model) truth(id event.RoomID) (users map[event.UserID]bool, nodes []event.NodeID) {
	users = map[event.UserID]bool{}
	for _, e := range m.alive() {
		for s := range e.rooms[id] {
			users[userOf(s)] = true
		}
		if len(e.rooms[id]) > 0 {
			nodes = append(nodes, e.id)
		}
	}
	slices.Sort(nodes)
	return users, nodes
}

// check holds at rest: everybody believes the truth, and routing is exact.
func (m *model) check() {
	for _, id := range modelRooms {
		users, nodes := m.truth(id)
		routed := m.p.Nodes(nil, id)
		slices.Sort(routed)
		if !slices.Equal(routed, nodes) {
			m.t.Fatalf("%s is routed to %v, want %v", id, routed, nodes)
		}
		for _, e := range m.alive() {
			if v := e.views[id]; v != nil && !maps.Equal(v.users, users) {
				m.t.Fatalf("%s at %s believes %v, the truth is %v", id, e.id, v.users, users)
			}
		}
	}
}

func TestPresenceIsTheTruth(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := newModel(rt)
		pick := func() (*edge, event.RoomID) {
			return rapid.SampledFrom(m.alive()).Draw(rt, "edge"), rapid.SampledFrom(modelRooms).Draw(rt, "room")
		}
		rt.Repeat(map[string]func(*rapid.T){
			"join": func(rt *rapid.T) {
				e, id := pick()
				m.join(e, id, rapid.SampledFrom(modelSessions).Draw(rt, "session"))
				m.hear()
			},
			"leave": func(rt *rapid.T) {
				e, id := pick()
				for _, s := range modelSessions {
					if w, ok := e.rooms[id][s]; ok {
						m.leave(e, id, w, rapid.Bool().Draw(rt, "clean"))
						break
					}
				}
				m.hear()
			},
			"answer": func(*rapid.T) {
				for _, e := range m.alive() {
					if e.asked {
						m.sync(e)
					}
				}
				m.hear()
			},
			"die": func(rt *rapid.T) {
				e, _ := pick()
				e.dead = true
				m.start()
			},
			"lapse": func(*rapid.T) {
				e, _ := pick()
				old := &edge{id: e.id, dead: true}
				m.nextID++
				e.id = event.NodeID(fmt.Sprintf("e%d", m.nextID))
				m.edges = append(m.edges, old)
				m.sync(e)
				m.hear()
			},
			"take over": func(*rapid.T) { m.takeOver() },
			"missed":    func(*rapid.T) { m.p.Missed(m.now) },
			"fail":      func(*rapid.T) { m.p.LookFailed() },
			"pass": func(rt *rapid.T) {
				for range rapid.IntRange(1, 40).Draw(rt, "steps") {
					m.step()
				}
			},
			"": func(rt *rapid.T) {
				if len(m.p.rooms) == 0 && len(m.p.changed) != 0 {
					rt.Fatal("changes of rooms that are not there")
				}
			},
		})
		for range 4 * 60 { // a minute of rest
			m.step()
			for _, e := range m.alive() {
				if e.asked {
					m.sync(e)
				}
			}
			m.hear()
		}
		m.check()
	})
}
