package notifier

import (
	"testing"
	"time"

	"github.com/parley-chat/parley/shared/event"
)

func TestBoards(t *testing.T) {
	w := newWorld(t, Config{})
	a, b := w.edge("a"), w.edge("b")
	board := a.who("s1", 1, event.Operator)
	now := time.Now().UnixMilli()
	measured := func(process string, at int64) event.Event {
		return event.Event{Room: event.StatusRoom, At: at, Measured: &event.Measures{Process: process, Service: "chat", At: at, Bus: &event.BusMeasures{Trip: 5}}}
	}
	w.say(measured("p", now), measured("q", now), measured("q", now-60_000)) // the last is old: nobody is told, nothing is kept

	a.join(event.StatusRoom, board)
	before := a.await("what was before", func(d event.Delivery) bool { return d.Measured != nil })
	if before.Session != "s1" || before.Life != 1 || len(before.Measured.Samples) != 2 || before.Measured.Samples[0].Bus != nil {
		t.Errorf("before: %+v", before)
	}
	w.say(measured("p", now+1))
	live := a.await("what is now", func(d event.Delivery) bool { return d.Measured != nil })
	if live.Session != "" || len(live.Measured.Samples) != 1 || live.Measured.Samples[0].Bus == nil {
		t.Errorf("now: %+v", live)
	}
	w.say(event.Event{Epoch: &event.EpochChanged{Epoch: "e2"}})
	b.await("the end", func(d event.Delivery) bool {
		if d.Measured != nil {
			t.Error("an edge without boards was told measures")
		}
		return d.Epoch != nil
	})
}

func TestConnectionsOfMembers(t *testing.T) {
	w := newWorld(t, Config{})
	a, b := w.edge("a"), w.edge("b")
	ann, other, held := a.who("s1", 1, "ann"), b.who("s2", 1, "ann"), b.who("s3", 1, "bob")
	a.join("r", ann)
	b.join("r", other)
	b.join("r", held)
	w.say(event.Event{Who: held, Room: "r", Left: &event.RoomLeft{}})
	operator := a.who("s9", 1, event.Operator)
	w.say(event.Event{Who: operator, Room: "r", Request: 2, Members: &event.ListMembers{Sessions: true}})
	list := a.await("the list", func(d event.Delivery) bool { return d.Members != nil }).Members
	if len(list.Users) != 2 || len(list.Users[0].Nodes) != 2 || list.Users[0].Nodes[1] != "b" || list.Users[1].Held != 1 || len(list.Users[1].Nodes) != 0 {
		t.Errorf("with connections: %+v", list)
	}
	w.say(event.Event{Who: ann, Room: "r", Request: 3, Members: &event.ListMembers{}})
	list = a.await("the list", func(d event.Delivery) bool { return d.Members != nil }).Members
	if len(list.Users) != 2 || list.Users[0].Nodes != nil || list.Users[1].Held != 0 {
		t.Errorf("for members: %+v", list)
	}
}

func TestPastIsBounded(t *testing.T) {
	var p past
	begin := int64(1_700_000_000_000)
	for s := range int64(900) {
		for i := range 40 {
			p.add(event.Measures{Process: string(rune('A' + i)), Service: "ingress", At: begin + s*1000, Ingress: &event.EdgeMeasures{Deliveries: uint64(s)}})
		}
	}
	all := p.all()
	if len(all) > pastSamples+40 || len(all) < pastSamples/2 {
		t.Errorf("%d samples are given, about %d are meant", len(all), pastSamples)
	}
	oldest, newest := all[0].At, all[len(all)-1].At
	if oldest < begin+(890-600)*1000 || newest < begin+890_000 {
		t.Errorf("the samples go from %d to %d s", (oldest-begin)/1000, (newest-begin)/1000)
	}
	p.add(event.Measures{Process: "late", At: begin + 3_600_000})
	if all := p.all(); len(all) != 1 {
		t.Errorf("%d samples are left of processes that ended", len(all))
	}
}
