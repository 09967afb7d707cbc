package chat

import (
	"container/list"

	"github.com/parley-chat/parley/services/chat/internal/room"
	"github.com/parley-chat/parley/shared/event"
)

// rooms are those that a partition holds in memory, bounded in number and bytes.
// What is dropped is read again from the log. Not safe for concurrent use.
type rooms struct {
	max      int
	maxBytes int64

	byID  map[event.RoomID]*list.Element
	order *list.List // of *cached, most recently used first
	bytes int64
}

type cached struct {
	room *room.Room
	cost int64
}

func newRooms(n int, bytes int64) *rooms {
	return &rooms{max: n, maxBytes: bytes, byID: map[event.RoomID]*list.Element{}, order: list.New()}
}

// use returns the room, or nil, as the most recently used.
func (r *rooms) use(id event.RoomID) *room.Room {
	e := r.byID[id]
	if e == nil {
		return nil
	}
	r.order.MoveToFront(e)
	return e.Value.(*cached).room
}

// peek returns the room, or nil.
func (r *rooms) peek(id event.RoomID) *room.Room {
	if e := r.byID[id]; e != nil {
		return e.Value.(*cached).room
	}
	return nil
}

func (r *rooms) put(x *room.Room) {
	r.byID[x.ID] = r.order.PushFront(&cached{room: x})
	r.weigh(x.ID)
}

// weigh takes note of what the room costs now.
func (r *rooms) weigh(id event.RoomID) {
	if e := r.byID[id]; e != nil {
		c := e.Value.(*cached)
		cost := c.room.Cost()
		r.bytes += cost - c.cost
		c.cost = cost
	}
}

// shrink drops the least used until the rest is within bounds.
func (r *rooms) shrink() {
	for len(r.byID) > r.max || r.bytes > r.maxBytes && len(r.byID) > 1 {
		c := r.order.Remove(r.order.Back()).(*cached)
		r.bytes -= c.cost
		delete(r.byID, c.room.ID)
	}
}

func (r *rooms) clear() {
	clear(r.byID)
	r.order.Init()
	r.bytes = 0
}
