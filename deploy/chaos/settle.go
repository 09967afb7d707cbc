package chaos

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/parley-chat/parley/services/ingress/protocol"
	"github.com/parley-chat/parley/services/ingress/protocol/client"
)

const (
	quietTime = 60 * time.Second // until everything sent is answered
	restTime  = 10 * time.Second // at rest every cursor is at its head after so long
)

// settle ends the load and writes down how everything is at rest: logs, heads,
// presence, and then what is left when everybody is gone. What the invariants say
// about it is the Checker's business; an error means that it could not be seen.
func (w *world) settle(ctx context.Context, poisoned bool) error {
	patience := time.Duration(w.cfg.Patience)
	quiet, cancel := context.WithTimeout(ctx, patience*quietTime)
	err := w.load.Quiet(quiet)
	cancel()
	if err != nil {
		w.rec.Write(Line{Kind: Looked, Code: "I10", Timed: true, Text: fmt.Sprintf("%s after the last fault and the last send %v", patience*quietTime, err)})
	}
	stalled := w.load.Stalled()
	if err := sleep(ctx, min(patience, 2)*restTime); err != nil {
		return err
	}
	if err := sleep(ctx, 3*(w.load.Stalled()-stalled)); err != nil {
		return err
	}
	reading, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	for i, edge := range w.Edges {
		if err := w.readRooms(reading, edge.URL, edge.Name, i == 0); err != nil {
			return fmt.Errorf("read the final history by %s: %w", edge.Name, err)
		}
	}
	w.load.Close()
	w.lookForRemains(ctx, poisoned)
	return nil
}

// readRooms asks an edge for who is in each room and, when it is to, for all that
// was ever said there.
func (w *world) readRooms(ctx context.Context, edge, name string, history bool) error {
	conn, err := client.Connect(ctx, edge, client.ConnConfig{})
	if err != nil {
		return err
	}
	defer conn.Cut()
	reader := &reader{conn: conn}
	if _, err := reader.ask(ctx, protocol.Request{Type: protocol.TypeHello, User: "auditor"}); err != nil {
		return err
	}
	for _, room := range w.load.rooms {
		if history {
			if err := w.readLog(ctx, reader, room); err != nil {
				return fmt.Errorf("room %s: %w", room, err)
			}
		}
		f, err := reader.ask(ctx, protocol.Request{Type: protocol.TypePresence, Room: room})
		if err != nil {
			return fmt.Errorf("who is in room %s: %w", room, err)
		}
		line := Line{Kind: Presence, Client: name, Room: room}
		for _, u := range f.Users {
			line.Users = append(line.Users, u.User)
		}
		w.rec.Write(line)
	}
	return nil
}

func (w *world) readLog(ctx context.Context, r *reader, room string) error {
	after := uint64(0)
	for {
		page, err := r.ask(ctx, protocol.Request{Type: protocol.TypeHistory, Room: room, After: &after, Limit: 200})
		if err != nil {
			return err
		}
		for _, e := range page.Entries {
			w.rec.Write(Line{Kind: Final, Room: room, Epoch: page.Epoch, Seq: e.Seq, MID: e.MID, User: e.From, CID: e.CID, Hash: bodyHash(e.Body)})
			after = e.Seq
		}
		if !page.More || len(page.Entries) == 0 {
			w.rec.Write(Line{Kind: Head, Room: room, Seq: page.Head, Epoch: page.Epoch})
			return nil
		}
	}
}

// reader asks one thing after the other, again when it is told to try later.
type reader struct {
	conn *client.Conn
	id   uint64
}

func (r *reader) ask(ctx context.Context, q protocol.Request) (protocol.Frame, error) {
	for {
		r.id++
		q.ID = r.id
		if err := r.conn.Send(q); err != nil {
			return protocol.Frame{}, err
		}
		f, err := r.reply(ctx)
		if err != nil || f.Type != protocol.TypeError {
			return f, err
		}
		if !f.Code.Temporary() {
			return f, f.Err()
		}
		if err := sleep(ctx, 200*time.Millisecond); err != nil {
			return f, errors.Join(f.Err(), err)
		}
	}
}

func (r *reader) reply(ctx context.Context) (protocol.Frame, error) {
	for {
		f, err := r.conn.Receive(ctx)
		if err != nil || f.ID == r.id {
			return f, err
		}
	}
}
