package ingress

import (
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/parley-chat/parley/services/ingress/internal/pages"
	"github.com/parley-chat/parley/services/ingress/internal/ring"
	"github.com/parley-chat/parley/services/ingress/protocol"
	"github.com/parley-chat/parley/shared/event"
)

// This file turns what travels on the bus into the client's frames.

// entryFrame encodes an entry, once for all its readers.
func entryFrame(room event.RoomID, e *event.Entry) []byte {
	m := message(e)
	m.Room = string(room)
	frame := protocol.AppendMessage(make([]byte, 0, len(e.Body)+len(room)+len(e.From)+len(e.CID)+128), &m)
	if e.Kind != event.KindMessage && e.Kind != "" {
		frame = retype(frame, e.Kind)
	}
	return frame
}

// retype gives an entry of a later version its own type: clients that do not know
// it still advance their cursor by it.
func retype(frame []byte, kind string) []byte {
	const head = `{"type":"message"`
	out := protocol.AppendString([]byte(`{"type":`), kind)
	return append(out, frame[len(head):]...)
}

func message(e *event.Entry) protocol.Message {
	return protocol.Message{Seq: e.Seq, MID: string(e.ID), From: string(e.From), CID: string(e.CID), TS: e.At, Body: e.Body}
}

func ringPage(room event.RoomID, p *event.PageRead) ring.Page {
	out := ring.Page{Epoch: string(p.Epoch), After: p.After, Floor: p.Floor, Entries: make([]ring.Entry, len(p.Entries))}
	for i := range p.Entries {
		out.Entries[i] = ring.Entry{Seq: p.Entries[i].Seq, Frame: entryFrame(room, &p.Entries[i])}
	}
	return out
}

// entriesText encodes the entries of a page, once for all who ask for it.
func entriesText(entries []event.Entry) []byte {
	size := 2
	out := make([]protocol.Message, len(entries))
	for i := range entries {
		out[i] = message(&entries[i])
		size += len(entries[i].Body) + len(entries[i].From) + len(entries[i].CID) + 128
	}
	return protocol.AppendEntries(make([]byte, 0, size), out)
}

func pageFrame(id uint64, room event.RoomID, p *pages.Page) []byte {
	out := protocol.Page{ID: id, Room: string(room), Encoded: p.Entries, More: p.More, Floor: p.Floor, Head: p.Head, Epoch: p.Epoch}
	return protocol.AppendPage(make([]byte, 0, len(p.Entries)+len(room)+len(p.Epoch)+128), &out)
}

func joinedFrame(r *request, j *event.RoomJoined) []byte {
	out := protocol.Joined{
		ID: r.id, Room: string(r.room), Epoch: string(j.Epoch),
		Seq: j.Head, After: j.After, Floor: j.Floor, Reset: j.Reset,
	}
	if j.Gap != nil {
		out.Gap = &protocol.Range{From: j.Gap.From, To: j.Gap.To}
	}
	return protocol.AppendJoined(nil, &out)
}

func membersFrame(r *request, m *event.MembersListed) []byte {
	out := protocol.Presence{ID: r.id, Room: string(r.room), Count: m.Count, N: m.N, Users: make([]protocol.UserPresence, len(m.Users))}
	for i, u := range m.Users {
		out.Users[i] = protocol.UserPresence{User: string(u.User), Sessions: u.Sessions, Since: u.Since, Held: u.Held, Nodes: texts(u.Nodes)}
	}
	return protocol.AppendPresence(nil, &out)
}

// foundFrame answers presence of a user; his sessions only to himself.
func foundFrame(r *request, asking event.UserID, f *event.UserFound) []byte {
	out := protocol.Presence{ID: r.id, User: string(f.User), Count: f.Count}
	if f.User == asking {
		out.Sessions = make([]protocol.SessionInfo, len(f.Rows))
		for i, row := range f.Rows {
			out.Sessions[i] = protocol.SessionInfo{
				Session: string(row.Session), Node: string(row.Node), Agent: row.Agent, Since: row.Since, Rooms: texts(row.Rooms),
			}
		}
	}
	return protocol.AppendPresence(nil, &out)
}

func presenceFrame(room event.RoomID, p *event.PresenceChanged) []byte {
	out := protocol.PresenceEvent{Room: string(room), N: p.N}
	if p.Large {
		out.Count = p.Count
	} else {
		out.On, out.Off = texts(p.On), texts(p.Off)
	}
	return protocol.AppendPresenceEvent(nil, &out)
}

// statusFrame shows measures as they are said on the bus.
func statusFrame(d *event.Delivery) []byte {
	samples := make([]json.RawMessage, 0, len(d.Measured.Samples))
	for i := range d.Measured.Samples {
		if raw, err := json.Marshal(&d.Measured.Samples[i]); err == nil { // they are plain: it never fails
			samples = append(samples, raw)
		}
	}
	return protocol.AppendStatus(nil, &protocol.Status{Room: string(d.Room), Samples: samples})
}

func refusal(r *event.Refusal) *protocol.Error {
	return &protocol.Error{Code: protocol.Code(r.Code), Message: r.Message, RetryAfterMS: r.RetryAfterMS}
}

func texts[T ~string](in []T) []string {
	out := make([]string, len(in))
	for i, s := range in {
		out[i] = string(s)
	}
	return out
}

func rateText(rate float64, burst int) string {
	return fmt.Sprintf("%s a second and %d at once are allowed", strconv.FormatFloat(rate, 'g', -1, 64), burst)
}
