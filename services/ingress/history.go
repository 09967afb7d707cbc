package ingress

import (
	"time"

	"github.com/parley-chat/parley/services/ingress/internal/pages"
	"github.com/parley-chat/parley/services/ingress/protocol"
	"github.com/parley-chat/parley/shared/event"
)

// reading is a request for a page: what it asks, and the answer of an earlier time
// that chat was told we hold.
type reading struct {
	question pages.Question
	held     *pages.Page
}

// pageTrust is how long a page is given to members of its room without asking chat,
// as long as nothing comes that it lacks: what else may change of it, such as the
// oldest entry that is kept, may be so old.
const pageTrust = 10 * time.Second

// history answers with a page that is known to be right, or asks chat, which also says
// whether the user may read the room.
func (s *session) history(q *protocol.Request, room event.RoomID) {
	if q.Before != nil && *q.Before == 0 {
		s.refuseWith(q, protocol.BadRequest, "before must be above 0: entries begin with 1")
		return
	}
	ask := pages.Question{Room: q.Room, Limit: q.Limit}
	c := s.command(room)
	c.Read = &event.ReadHistory{After: q.After, Limit: q.Limit}
	if q.Before != nil {
		ask.Before, c.Read.Before = *q.Before, *q.Before
	}
	if q.After != nil {
		ask.After, ask.FromAfter = *q.After, true
	}
	held := s.svc.pages.Get(ask)
	if held != nil && s.knows(room, &ask, held) {
		s.svc.metrics.pages.WithLabelValues("kept").Inc()
		s.svc.metrics.requests.WithLabelValues(q.Type, "ok").Inc()
		if q.ID != 0 {
			s.push(pageFrame(q.ID, room, held))
		}
		return
	}
	if held != nil {
		c.Read.Have = &event.Held{Epoch: event.Epoch(held.Epoch), Head: held.Head, Floor: held.Floor}
	}
	s.ask(&request{id: q.ID, kind: q.Type, room: room, read: &reading{ask, held}}, c)
}

// knows tells whether the session has what the page has of the room, and may have it: it
// has joined, and its stream goes on behind the page. Who asks for what is after an entry
// may look for one of his own that he was told of otherwise, so chat is asked.
func (s *session) knows(room event.RoomID, ask *pages.Question, p *pages.Page) bool {
	if ask.FromAfter || time.Since(p.Confirmed) > pageTrust || !s.joined(room) {
		return false
	}
	r := s.svc.hub.room(room)
	return r != nil && r.at(p.Epoch, p.Head)
}

// onPage answers a history with what chat says, and keeps it.
func (s *Service) onPage(d *event.Delivery, w *wakes) {
	ss, r := s.waiting(d)
	if r == nil {
		return
	}
	if r.read == nil || d.Page.Same && r.read.held == nil {
		ss.fail(r, protocol.Errorf(protocol.Internal, "the answer is to another question"))
		return
	}
	page, how := pageOf(d.Page, r.read.held), "read"
	if d.Page.Same {
		how = "same"
	}
	page.Confirmed = r.at
	s.pages.Put(r.read.question, page)
	s.metrics.pages.WithLabelValues(how).Inc()
	s.metrics.answered(r, time.Now())
	if r.id != 0 {
		ss.pushLater(pageFrame(r.id, r.room, page), 0, w)
	}
}

// pageOf is the page that chat means, which may have the entries of the one held.
func pageOf(p *event.PageRead, held *pages.Page) *pages.Page {
	page := &pages.Page{Epoch: string(p.Epoch), Head: p.Head, Floor: p.Floor}
	if p.Same {
		page.More, page.Entries = held.More, held.Entries
	} else {
		page.More, page.Entries = p.More, entriesText(p.Entries)
	}
	return page
}
