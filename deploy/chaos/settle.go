package chaos

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/parley-chat/parley/services/ingress/protocol"
	"github.com/parley-chat/parley/services/ingress/protocol/client"
)

const (
	quietTime = 60 * time.Second // until everything sent is answered
	restTime  = 10 * time.Second // at rest every cursor is at its head after so long
	goneTime  = 30 * time.Second // until nothing is left of clients that are gone
)

// settle ends the load and writes down how everything is at rest: logs, heads,
// presence, and then what is left when everybody is gone. What the invariants say
// about it is the Checker's business; an error means that it could not be seen.
func (w *world) settle(ctx context.Context, poisoned bool) error {
	quiet, cancel := context.WithTimeout(ctx, quietTime)
	err := w.load.Quiet(quiet)
	cancel()
	if err != nil {
		w.rec.Write(Line{Kind: Looked, Code: "I10", Text: fmt.Sprintf("%s after the last fault and the last send %v", quietTime, err)})
	}
	if err := sleep(ctx, restTime); err != nil {
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

// lookForRemains waits until nothing is left of the load, and tells what is.
func (w *world) lookForRemains(ctx context.Context, poisoned bool) {
	looks := []struct {
		code string
		look func(context.Context) (string, error)
	}{
		{"I11", w.goroutinesLeft}, {"I11", w.pendingLeft}, {"I11", w.keysLeft}, {"I12", func(ctx context.Context) (string, error) { return w.deadLetters(ctx, poisoned) }},
	}
	for _, l := range looks {
		w.rec.Write(Line{Kind: Looked, Code: l.code, Text: untilNothing(ctx, l.look)})
	}
}

// untilNothing looks until nothing is found, or it takes too long.
func untilNothing(ctx context.Context, look func(context.Context) (string, error)) string {
	ctx, cancel := context.WithTimeout(ctx, goneTime)
	defer cancel()
	last := ""
	for {
		found, err := look(ctx)
		switch {
		case err == nil && found == "":
			return ""
		case err == nil:
			last = found
		case last == "":
			last = err.Error()
		}
		if sleep(ctx, 250*time.Millisecond) != nil {
			return last
		}
	}
}

// goroutinesLeft allows for what comes and goes in an idle service.
func (w *world) goroutinesLeft(ctx context.Context) (string, error) {
	for _, p := range w.Services() {
		n, err := goroutines(ctx, p)
		if err != nil {
			return "", err
		}
		if was := w.before[p.Kind]; n > was+was/2+50 {
			return fmt.Sprintf("%s has %d goroutines, before the load it had %d", p.Name, n, was), nil
		}
	}
	return "", nil
}

// scan goes through all keys with the prefix.
func (w *world) scan(ctx context.Context, do func(key string) (string, error)) (string, error) {
	keys := w.redis.Scan(ctx, 0, "parley:*", 500).Iterator()
	for keys.Next(ctx) {
		if found, err := do(keys.Val()); err != nil || found != "" {
			return found, err
		}
	}
	return "", keys.Err()
}

func (w *world) pendingLeft(ctx context.Context) (string, error) {
	return w.scan(ctx, func(key string) (string, error) {
		if !strings.Contains(key, ":commands-") && !strings.Contains(key, ":events-") && !strings.Contains(key, ":deliveries-") {
			return "", nil
		}
		groups, err := w.redis.XInfoGroups(ctx, key).Result()
		if err != nil { // gone meanwhile, or no stream
			return "", nil
		}
		for _, g := range groups {
			if g.Pending > 20 { // an idle service has heartbeats under way
				return fmt.Sprintf("%s of %s has %d pending entries", g.Name, key, g.Pending), nil
			}
		}
		return "", nil
	})
}

// lasting are the keys that stay on purpose; all others must expire.
var lasting = []string{":log:", ":w", ":epoch", ":age", ":commands-", ":events-", ":generation:", ":settled:", ":set:", ":partitions", ":dead-letters"}

func (w *world) keysLeft(ctx context.Context) (string, error) {
	topics := 0
	found, err := w.scan(ctx, func(key string) (string, error) {
		if strings.Contains(key, ":deliveries-") && !strings.Contains(key, ":strangers:") {
			topics++
		}
		for _, part := range lasting {
			if strings.Contains(key, part) {
				return "", nil
			}
		}
		ttl, err := w.redis.PTTL(ctx, key).Result()
		if err == nil && ttl == -1 {
			return key + " stays for ever", nil
		}
		return "", err
	})
	if found == "" && err == nil && topics > len(w.Edges) {
		found = fmt.Sprintf("%d topics of edges, and %d edges", topics, len(w.Edges))
	}
	return found, err
}

func (w *world) deadLetters(ctx context.Context, poisoned bool) (string, error) {
	if poisoned {
		return "", nil
	}
	return w.scan(ctx, func(key string) (string, error) {
		if !strings.Contains(key, ":dead-letters") {
			return "", nil
		}
		letters, err := w.redis.XRevRangeN(ctx, key, "+", "-", 1).Result()
		if err != nil && !errors.Is(err, redis.Nil) || len(letters) == 0 {
			return "", nil // another kind of key
		}
		return fmt.Sprintf("a dead letter: %.300v", letters[0].Values), nil
	})
}
