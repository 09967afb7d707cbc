package ingress

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/parley-chat/parley/shared/bus"
	"github.com/parley-chat/parley/shared/event"
	"github.com/parley-chat/parley/shared/topic"
)

// others is chat and notifier in one, as small as an edge's tests need them: it
// reads commands from the bus and writes deliveries to it.
type others struct {
	bus    *bus.Bus
	writer *bus.Writer

	mu      sync.Mutex
	rooms   map[event.RoomID]*fakeRoom
	rows    map[event.SessionID]event.Who
	ignore  func(event.Command) bool // commands that are swallowed
	skip    func(event.Entry) bool   // entries whose delivery is lost
	heard   []event.Command
	changed chan struct{} // closed and made anew with each command
}

type fakeRoom struct {
	epoch   event.Epoch
	floor   uint64
	entries []event.Entry // all of them, from 1
	members map[event.SessionID]event.Who
}

func (r *fakeRoom) head() uint64 { return uint64(len(r.entries)) }

func newOthers(b *bus.Bus) *others {
	o := &others{
		bus: b, writer: b.Writer("notifier-00", 1, true),
		rooms: map[event.RoomID]*fakeRoom{}, rows: map[event.SessionID]event.Who{},
		changed: make(chan struct{}),
	}
	bus.Handle(b, topic.Commands(), topic.Chat, o.consume)
	return o
}

func (o *others) room(id event.RoomID) *fakeRoom {
	if o.rooms[id] == nil {
		o.rooms[id] = &fakeRoom{epoch: "e1", floor: 1, members: map[event.SessionID]event.Who{}}
	}
	return o.rooms[id]
}

func (o *others) consume(_ context.Context, batch []event.Command) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, c := range batch {
		o.heard = append(o.heard, c)
		if o.ignore == nil || !o.ignore(c) {
			o.do(c)
		}
	}
	close(o.changed)
	o.changed = make(chan struct{})
	return nil
}

// wait waits until some command that was heard is as asked.
func (o *others) wait(ctx context.Context, asked func(event.Command) bool) error {
	for {
		o.mu.Lock()
		changed, found := o.changed, slices.ContainsFunc(o.heard, asked)
		o.mu.Unlock()
		if found {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("such a command never came: %w", ctx.Err())
		}
	}
}

func (o *others) tell(node event.NodeID, d event.Delivery) {
	d.At = time.Now().UnixMilli()
	_ = bus.Enqueue(o.writer, topic.Deliveries(node), nil, d)
}

func (o *others) reply(c event.Command, d event.Delivery) {
	d.Room, d.Session, d.Life, d.Request = c.Room, c.Session, c.Life, c.Request
	o.tell(c.Node, d)
}

func (o *others) do(c event.Command) {
	switch {
	case c.Join != nil:
		o.join(c)
	case c.Leave != nil:
		if r := o.room(c.Room); r.members[c.Session].Life == c.Life {
			delete(r.members, c.Session)
		}
	case c.Post != nil:
		o.post(c)
	case c.Read != nil:
		o.reply(c, event.Delivery{Page: o.page(o.room(c.Room), c.Read)})
	case c.OpenSession != nil:
		o.open(c.OpenSession.Row.Who)
	case c.Type != nil, c.Signal != nil:
		o.volatile(c)
	case c.Members != nil:
		o.reply(c, event.Delivery{Members: &event.MembersListed{Count: len(o.room(c.Room).members)}})
	case c.Sync != nil:
		o.sync(c)
	}
}

func (o *others) open(who event.Who) {
	old, known := o.rows[who.Session]
	if known && old.Life < who.Life {
		o.tell(old.Node, event.Delivery{Session: old.Session, Life: old.Life, Replaced: &event.SessionReplaced{}})
	}
	o.rows[who.Session] = who
}

func (o *others) join(c event.Command) {
	r := o.room(c.Room)
	r.members[c.Session] = c.Who
	j := event.RoomJoined{Epoch: r.epoch, Head: r.head(), Floor: r.floor, After: r.head()}
	switch since := c.Join.Since; {
	case since != nil && (since.Epoch != r.epoch || since.Seq > r.head()):
		j.Reset = true
	case since != nil:
		j.After = since.Seq
	case c.Join.Last > 0:
		j.After = max(r.head()-min(r.head(), uint64(c.Join.Last)), r.floor-1)
	}
	o.reply(c, event.Delivery{Joined: &j})
}

func (o *others) post(c event.Command) {
	r := o.room(c.Room)
	if string(c.Post.Body) == `"refuse"` {
		o.reply(c, event.Delivery{Refused: &event.Refusal{Code: "conflict", Message: "as you wish"}})
		return
	}
	e := event.Entry{Seq: r.head() + 1, ID: event.MessageID(fmt.Sprint("m", r.head()+1)), From: c.User, CID: c.Post.CID,
		Kind: event.KindMessage, Body: c.Post.Body, At: time.Now().UnixMilli()}
	r.entries = append(r.entries, e)
	if o.skip != nil && o.skip(e) {
		return
	}
	nodes := map[event.NodeID]bool{}
	for _, who := range r.members {
		nodes[who.Node] = true
	}
	for node := range nodes {
		d := event.Delivery{Room: c.Room, Posted: &event.MessagePosted{Entry: e, Epoch: r.epoch}}
		if node == c.Node {
			d.Session, d.Life, d.Request = c.Session, c.Life, c.Request
		}
		o.tell(node, d)
	}
}

func (o *others) page(r *fakeRoom, q *event.ReadHistory) *event.PageRead {
	p := &event.PageRead{Floor: r.floor, Head: r.head(), Epoch: r.epoch}
	if q.Have != nil && *q.Have == (event.Held{Epoch: r.epoch, Head: r.head(), Floor: r.floor}) {
		p.Same = true
		return p
	}
	after := r.head() - min(r.head(), uint64(q.Limit))
	if q.After != nil {
		after = *q.After
		p.After = after
	}
	for seq := max(after+1, r.floor); seq <= r.head() && len(p.Entries) < q.Limit; seq++ {
		p.Entries = append(p.Entries, r.entries[seq-1])
	}
	return p
}

func (o *others) volatile(c event.Command) {
	d := event.Delivery{Room: c.Room, Session: c.Session, From: c.User}
	if c.Type != nil {
		d.Typing = &event.TypingStarted{}
	} else {
		d.Signal = &event.SignalSent{Body: c.Signal.Body}
	}
	o.tell(c.Node, d)
}

func (o *others) sync(c event.Command) {
	var heads []event.RoomHead
	for _, s := range c.Sync.Rooms {
		r := o.room(s.Room)
		for _, who := range s.Sessions {
			who.Node = c.Node
			r.members[who.Session] = who
		}
		heads = append(heads, event.RoomHead{Room: s.Room, Epoch: r.epoch, Head: r.head(), Floor: r.floor})
	}
	o.tell(c.Node, event.Delivery{Synced: &event.RoomsSynced{Partition: c.Sync.Partition, ID: c.Sync.ID, Heads: heads}})
}

// lose makes the room's log end at head under a new epoch, and says so.
func (o *others) lose(id event.RoomID, epoch event.Epoch, head int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	r := o.room(id)
	r.epoch, r.entries = epoch, r.entries[:head]
	for _, who := range r.members {
		o.tell(who.Node, event.Delivery{Epoch: &event.EpochChanged{Partition: event.PartitionOf(string(id), o.bus.Partitions()), Epoch: epoch}})
	}
}
