package chat

import (
	"slices"

	"github.com/parley-chat/parley/services/chat/internal/room"
	"github.com/parley-chat/parley/services/chat/internal/store"
	"github.com/parley-chat/parley/shared/event"
)

// outcome is what becomes of commands that are decided together.
type outcome struct {
	events  []event.Event
	writes  []store.Write
	byRoom  map[event.RoomID]int // place in writes
	entries int
	again   []again
}

// again is an entry of the log whose event is due once more, at its place in events.
type again struct {
	place int
	room  event.RoomID
	seq   uint64
}

func newOutcome() *outcome { return &outcome{byRoom: map[event.RoomID]int{}} }

// add takes an event, unless it is a refusal that nobody waits for.
func (o *outcome) add(e event.Event) {
	if e.Refused != nil && e.Request == 0 && e.Refused.CID == "" {
		return
	}
	o.events = append(o.events, e)
}

func (o *outcome) addAgain(id event.RoomID, seq uint64) {
	o.again = append(o.again, again{len(o.events), id, seq})
	o.events = append(o.events, event.Event{}) // filled in when the entry is read
}

// write takes a new entry of the room, whose floor may have moved with it.
func (o *outcome) write(r *room.Room, e event.Entry) {
	i, ok := o.byRoom[r.ID]
	if !ok {
		i = len(o.writes)
		o.byRoom[r.ID] = i
		o.writes = append(o.writes, store.Write{Room: r.ID})
	}
	w := &o.writes[i]
	w.Entries = append(w.Entries, e)
	if r.Floor > 1 {
		w.Floor = r.Floor
	}
	o.entries++
}

// close drops the places that stayed empty.
func (o *outcome) close() {
	o.events = slices.DeleteFunc(o.events, func(e event.Event) bool { return e.Kind() == "" })
}
