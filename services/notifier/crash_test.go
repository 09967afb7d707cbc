package notifier

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"golang.org/x/sync/errgroup"

	"github.com/parley-chat/parley/shared/bus"
	"github.com/parley-chat/parley/shared/bus/membus"
	"github.com/parley-chat/parley/shared/event"
	"github.com/parley-chat/parley/shared/redistest"
	"github.com/parley-chat/parley/shared/topic"
)

// mortal is the bus of a notifier that dies at a gate: what it delivers counts there.
type mortal struct {
	bus.Backend
	gate *redistest.Gate
}

func (m mortal) Publisher() message.Publisher { return mortalPublisher{m.Backend.Publisher(), m.gate} }

type mortalPublisher struct {
	message.Publisher
	gate *redistest.Gate
}

var errDead = fmt.Errorf("%w: dead", bus.ErrUnavailable)

func (p mortalPublisher) Publish(name string, messages ...*message.Message) error {
	if !strings.HasPrefix(name, "deliveries-") {
		return p.Publisher.Publish(name, messages...)
	}
	if !p.gate.Step() {
		return errDead
	}
	if err := p.Publisher.Publish(name, messages...); err != nil {
		return err
	}
	select {
	case <-p.gate.Died(): // delivered, and it never learnt it
		return errDead
	default:
		return nil
	}
}

// node is an edge that knows who is connected, and says so when it is asked.
type node struct {
	id  event.NodeID
	say func(...event.Event) error

	order sync.Mutex // what is said agrees with members
	rows  map[event.SessionID]event.Who
	syncs uint64

	mu      sync.Mutex
	got     []event.Delivery
	changed chan struct{}
}

func (n *node) Consume(_ context.Context, batch []event.Delivery) error {
	for _, d := range batch {
		if d.SyncAsk != nil {
			if err := n.sync(d.SyncAsk.Asked); err != nil {
				return err
			}
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.got = append(n.got, batch...)
	close(n.changed)
	n.changed = make(chan struct{})
	return nil
}

// Missed has it say what it has, as an edge does; what it cannot say it is asked for.
func (n *node) Missed(context.Context, string) { _ = n.sync(0) }
func (n *node) Close()                         {}

func (n *node) sync(asked uint64) error {
	n.order.Lock()
	defer n.order.Unlock()
	n.syncs++
	s := event.SyncNode{Whole: true, ID: n.syncs, Part: 1, Parts: 1, Asked: asked}
	r := event.RoomSync{Room: "r"}
	for _, who := range n.rows {
		r.Sessions = append(r.Sessions, who)
		s.Sessions = append(s.Sessions, event.SessionRow{Who: who, Since: 1})
	}
	s.Rooms = []event.RoomSync{r}
	return n.say(event.Event{Who: event.Who{Node: n.id}, Synced: &event.NodeSynced{Sync: s}})
}

// enter and leave say what becomes of a session, in its user's name.
func (n *node) enter(user event.UserID) error {
	who := event.Who{Node: n.id, Session: event.SessionID("s_" + user), Life: 1, User: user}
	n.order.Lock()
	defer n.order.Unlock()
	n.rows[who.Session] = who
	return n.say(event.Event{Who: who, Opened: &event.SessionOpened{Row: event.SessionRow{Who: who, Since: 1}}},
		event.Event{Who: who, Room: "r", Request: 1, Joined: &event.RoomJoined{Head: 4}})
}

func (n *node) leave(user event.UserID) error {
	n.order.Lock()
	defer n.order.Unlock()
	who := n.rows[event.SessionID("s_"+user)]
	delete(n.rows, who.Session)
	return n.say(event.Event{Who: who, Room: "r", Left: &event.RoomLeft{Clean: true}},
		event.Event{Who: who, Closed: &event.SessionClosed{Clean: true}})
}

// await waits until a delivery fits, saying ask again and again; over, which may be nil,
// ends it before.
func (n *node) await(ctx context.Context, over <-chan struct{}, fits func(event.Delivery) bool, ask ...event.Event) (found bool, err error) {
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for {
		if err := n.say(ask...); err != nil {
			return false, err
		}
		for said := true; said; {
			n.mu.Lock()
			found, changed := slices.ContainsFunc(n.got, fits), n.changed
			n.mu.Unlock()
			if found {
				return true, nil
			}
			select {
			case <-changed:
			case <-again.C:
				said = false
			case <-over:
				return false, nil
			case <-ctx.Done():
				return false, fmt.Errorf("%s waits in vain: %w", n.id, context.Cause(ctx))
			}
		}
	}
}

// points are the I/Os at which it dies: a little more than it has here until everybody
// has everything. With the last ones it ends of its own accord.
const points = 30

// TestCrashPoints has a notifier die at each of its I/Os, before or after it took
// effect: each delivery and each request to the registry. Its successor reaches
// everybody, lists who is there and nobody else, finds them in the registry, and
// nobody is ever told that somebody left who is there.
func TestCrashPoints(t *testing.T) {
	server := redistest.Start(t, redistest.Options{Args: []string{"--appendfsync", "no"}})
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	var died atomic.Int32
	var all errgroup.Group
	all.SetLimit(20) // they wait for the clock most of the time
	for _, after := range []bool{false, true} {
		for at := 1; at <= points; at++ {
			c := crash{server: server.URL, gate: server.Gate(at, after), prefix: fmt.Sprintf("at-%d-%t", at, after)}
			all.Go(func() error {
				if err := c.run(ctx); err != nil {
					t.Errorf("at %d after=%t: %v", at, after, err)
				}
				if c.died() {
					died.Add(1)
				}
				return nil
			})
		}
	}
	_ = all.Wait()
	if n := died.Load(); n < points {
		t.Errorf("it died %d times in %d lives: the test counts too little of what it does", n, 2*points)
	}
}

// crash is one life and death.
type crash struct {
	server, prefix string
	gate           *redistest.Gate

	broker bus.Backend
	buses  []*bus.Bus
	work   sync.WaitGroup
	nodes  []*node
}

func (c *crash) died() bool {
	select {
	case <-c.gate.Died():
		return true
	default:
		return false
	}
}

func (c *crash) open(b bus.Backend, name string, patient time.Duration) (*bus.Bus, error) {
	made, err := bus.New(b, bus.Config{Partitions: 1, Name: name, PublishTimeout: patient, StopTimeout: patient})
	if err == nil {
		c.buses = append(c.buses, made)
	}
	return made, err
}

// start runs a notifier until it is stopped; its lease is released then, so that the
// next one need not wait for it.
func (c *crash) start(ctx context.Context, b *bus.Bus, store string) (stop func() error, err error) {
	s, err := New(Config{}, b, Options{Store: store, Prefix: c.prefix})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	return sync.OnceValue(func() error { cancel(); return <-ended }), nil
}

func (c *crash) run(ctx context.Context) (err error) {
	c.broker = membus.New()
	ctx, cancel := context.WithCancel(ctx)
	defer func() {
		cancel()
		c.work.Wait()
		for _, b := range c.buses {
			err = errors.Join(err, b.Close())
		}
		err = errors.Join(err, c.broker.Close())
	}()
	edges, err := c.open(c.broker, "edges", time.Minute)
	if err != nil {
		return err
	}
	chat := edges.Writer("chat-00", 1, true)
	for _, id := range []event.NodeID{"a", "b"} {
		n := &node{id: id, rows: map[event.SessionID]event.Who{}, changed: make(chan struct{}), say: func(events ...event.Event) error {
			for i := range events {
				events[i].At = time.Now().UnixMilli()
			}
			return bus.Publish(ctx, chat, topic.Events(), events...)
		}}
		c.nodes = append(c.nodes, n)
		ready := make(chan struct{})
		c.work.Go(func() {
			_ = bus.Read(ctx, edges, topic.Deliveries(id), topic.Edge, bus.ReadOptions{Ready: func() { close(ready) }}, n)
		})
		<-ready
		c.work.Go(func() { _ = edges.Announce(ctx, topic.Nodes, string(id), nil) })
	}
	dying, err := c.open(mortal{c.broker, c.gate}, "mortal", 300*time.Millisecond)
	if err != nil {
		return err
	}
	stop, err := c.start(ctx, dying, c.gate.URL)
	if err != nil {
		return err
	}
	err = errors.Join(c.live(ctx), stop()) // of its own accord, where it has not died
	next, openErr := c.open(c.broker, "successor", time.Minute)
	if openErr != nil {
		return errors.Join(err, openErr)
	}
	stop, startErr := c.start(ctx, next, c.server)
	if startErr != nil {
		return errors.Join(err, startErr)
	}
	if err == nil {
		err = c.look(ctx)
	}
	return errors.Join(err, stop())
}

// live is what happens until the notifier is dead, or has told and written everything.
func (c *crash) live(ctx context.Context) error {
	a, b := c.nodes[0], c.nodes[1]
	err := errors.Join(a.enter("ann"), b.enter("bob"), b.enter("carl"))
	for _, n := range c.nodes {
		_, awaitErr := n.await(ctx, c.gate.Died(), func(d event.Delivery) bool { return d.Posted != nil && d.Posted.Entry.Seq == 5 },
			event.Event{Room: "r", Posted: posted(5)})
		err = errors.Join(err, awaitErr)
	}
	err = errors.Join(err, b.leave("carl"), b.enter("dora"))
	_, awaitErr := a.await(ctx, c.gate.Died(), found("dora", 1), a.find("dora"))
	return errors.Join(err, awaitErr)
}

func (n *node) find(user event.UserID) event.Event {
	return event.Event{Who: event.Who{Node: n.id, Session: "s_ann", Life: 1, User: "ann"}, Request: 7, Find: &event.FindUser{User: user}}
}

func found(user event.UserID, sessions int) func(event.Delivery) bool {
	return func(d event.Delivery) bool {
		return d.Found != nil && d.Found.User == user && d.Found.Count == sessions
	}
}

// look is what everybody is to see in the end.
func (c *crash) look(ctx context.Context) error {
	a := c.nodes[0]
	for _, n := range c.nodes {
		if _, err := n.await(ctx, nil, func(d event.Delivery) bool { return d.Posted != nil && d.Posted.Entry.Seq == 6 },
			event.Event{Room: "r", Posted: posted(6)}); err != nil {
			return fmt.Errorf("a message: %w", err)
		}
	}
	here := []event.UserID{"ann", "bob", "dora"}
	_, err := a.await(ctx, nil, func(d event.Delivery) bool {
		if d.Members == nil {
			return false
		}
		var users []event.UserID
		for _, u := range d.Members.Users {
			users = append(users, u.User)
		}
		slices.Sort(users)
		return slices.Equal(users, here)
	}, event.Event{Who: event.Who{Node: a.id, Session: "s_ann", Life: 1, User: "ann"}, Room: "r", Request: 8, Members: &event.ListMembers{}})
	if err != nil {
		return fmt.Errorf("the members: %w", err)
	}
	for user, sessions := range map[event.UserID]int{"ann": 1, "bob": 1, "dora": 1, "carl": 0} {
		if _, err := a.await(ctx, nil, found(user, sessions), a.find(user)); err != nil {
			return fmt.Errorf("%d sessions of %s: %w", sessions, user, err)
		}
	}
	for _, n := range c.nodes {
		n.mu.Lock()
		defer n.mu.Unlock()
		for _, d := range n.got {
			if d.Presence == nil {
				continue
			}
			for _, user := range d.Presence.Off {
				if slices.Contains(here, user) {
					return fmt.Errorf("%s was told that %s left", n.id, user)
				}
			}
		}
	}
	return nil
}
