package client

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"sync"

	"github.com/parley-chat/parley/services/ingress/protocol"
)

// Room is a room the client has joined. All methods are safe for concurrent
// use; events are read by one goroutine.
type Room struct {
	client *Client
	name   string

	mu     sync.Mutex
	joined protocol.Frame
	cursor protocol.Cursor
	queue  []protocol.Frame
	full   bool
	err    error         // why the room is over
	wake   chan struct{} // room for one
}

// JoinOptions say where in the log to begin, and who takes the events. The
// zero value begins with what comes next.
type JoinOptions struct {
	Since *protocol.Cursor // go on after this entry
	Last  int              // begin with that many of the newest entries, at most 200; not with Since
	// OnEvent gets every event in order from a goroutine of the room's own, which
	// ends with the room. Nil: call Next.
	OnEvent func(protocol.Frame)
}

// Join enters a room and waits for joined. An error of the server's is a
// *protocol.Error; temporary ones are retried until ctx is over. The room stays
// joined over all reconnects until Leave, Close, or until the server ends it.
// Joining a room again moves its cursor: what was not read yet is dropped, and
// OnEvent stays what it was.
func (c *Client) Join(ctx context.Context, room string, o JoinOptions) (*Room, error) {
	if !protocol.ValidRoom(room) {
		return nil, fmt.Errorf("join: %q is not a room name: %s", room, protocol.RoomRule)
	}
	_, err := c.ask(ctx, func(m *machine, now int64, ref int) {
		m.join(now, ref, room, o.Since, o.Last)
		if m.rooms[room] != nil { // else it was refused
			c.prepareRoom(room, o.OnEvent)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("join %s: %w", room, err)
	}
	r := c.room(room)
	if r == nil { // another goroutine was quick
		return nil, fmt.Errorf("join %s: %w", room, ErrLeft)
	}
	return r, nil
}

// enterRoom runs in the loop when a join of the user's is through.
func (c *Client) enterRoom(f protocol.Frame) {
	r := c.room(f.Room)
	if r == nil {
		return
	}
	r.mu.Lock()
	r.joined, r.cursor = f, protocol.Cursor{Epoch: f.Epoch, Seq: f.After}
	r.queue, r.full = nil, false
	r.mu.Unlock()
	c.machine.unpause(c.now(), f.Room)
}

// prepareRoom runs in the loop.
func (c *Client) prepareRoom(name string, onEvent func(protocol.Frame)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.rooms[name] != nil {
		return
	}
	r := &Room{client: c, name: name, wake: make(chan struct{}, 1)}
	c.rooms[name] = r
	if onEvent != nil {
		c.work.Go(func() {
			for {
				f, err := r.Next(context.Background()) // ends with the room
				if err != nil {
					return
				}
				onEvent(f)
			}
		})
	}
}

func (c *Client) room(name string) *Room {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rooms[name]
}

func (c *Client) endRoom(name string, err error) {
	c.mu.Lock()
	r := c.rooms[name]
	delete(c.rooms, name)
	c.mu.Unlock()
	if r == nil {
		return
	}
	r.mu.Lock()
	r.err = err
	r.mu.Unlock()
	r.poke()
}

// deliver runs in the loop. A room nobody reads fills up to its bound; then the
// machine passes its entries over until Next has made room.
func (c *Client) deliver(name string, f protocol.Frame) {
	r := c.room(name)
	if r == nil {
		return
	}
	r.mu.Lock()
	r.queue = append(r.queue, f)
	pause := !r.full && len(r.queue) >= c.cfg.Events
	r.full = r.full || pause
	r.mu.Unlock()
	r.poke()
	if pause {
		c.machine.pause(name)
	}
}

func (r *Room) poke() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Name is the room's name.
func (r *Room) Name() string { return r.name }

// Cursor is where the reader of events stands: give it to JoinOptions.Since
// after a restart of the program.
func (r *Room) Cursor() protocol.Cursor {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.cursor
}

// Joined is what the server last said to a Join: head, floor, and the cursor
// (After) it began with.
func (r *Room) Joined() protocol.Joined {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.joined
	return protocol.Joined{Room: f.Room, Epoch: f.Epoch, Seq: f.Seq, After: f.After, Floor: f.Floor, Gap: f.Gap, Reset: f.Reset}
}

// Next returns the next event: message, gap, reset, typing, signal, presence,
// or an entry of a type this version does not know, which has Room, Seq and Raw.
// Entries come once and in order, over all reconnects. When the room is over it
// returns why, after the last event: ErrLeft, an error that is ErrClosed, or the
// server's *protocol.Error.
//
// A room keeps Config.Events events. One that nobody reads passes over what
// comes then, and fetches the entries when there is room again, so a slow
// reader loses typing, signal and presence, and entries only to a gap.
func (r *Room) Next(ctx context.Context) (protocol.Frame, error) {
	for {
		f, ok, err := r.pop()
		if ok || err != nil {
			return f, err
		}
		select {
		case <-r.wake:
		case <-ctx.Done():
			return protocol.Frame{}, fmt.Errorf("room %s: %w", r.name, ctx.Err())
		}
	}
}

func (r *Room) pop() (f protocol.Frame, ok bool, err error) {
	r.mu.Lock()
	if len(r.queue) == 0 {
		if err = r.err; err != nil {
			err = fmt.Errorf("room %s: %w", r.name, err)
			r.poke() // for the next call
		}
		r.mu.Unlock()
		return f, false, err
	}
	f = r.queue[0]
	r.queue[0] = protocol.Frame{}
	r.queue = r.queue[1:]
	r.advance(&f)
	drained := r.full && len(r.queue) <= r.client.cfg.Events/2
	if drained {
		r.full = false
	}
	r.mu.Unlock()
	if drained {
		r.client.post(func(m *machine, now int64) { m.unpause(now, r.name) })
	}
	return f, true, nil
}

func (r *Room) advance(f *protocol.Frame) {
	switch {
	case f.Type == protocol.TypeReset:
		r.cursor = protocol.Cursor{Epoch: f.Epoch, Seq: f.Seq}
	case f.Type == protocol.TypeGap:
		r.cursor.Seq = max(r.cursor.Seq, f.Gap.To)
	case f.Entry():
		r.cursor.Seq = max(r.cursor.Seq, f.Seq)
	}
}

// SendOption changes one Send.
type SendOption func(*sending)

type sending struct{ cid string }

// WithCID sends under a cid of the caller's, 1–64 characters, unique per user
// and room: sending it again after a restart of the program is not a second
// message.
func WithCID(cid string) SendOption { return func(s *sending) { s.cid = cid } }

// Send appends a message to the room and returns where it stands. body is
// marshalled to JSON (a json.RawMessage goes as it is), at most 32 KiB. Sends of
// one goroutine keep their order. Send survives reconnects and temporary
// errors: it returns when the message is in the log, when the server refuses
// it (*protocol.Error), or when ctx is over; then the outcome is unknown, as it is
// after ErrMaybeSent.
func (r *Room) Send(ctx context.Context, body any, options ...SendOption) (Ack, error) {
	s := sending{}
	for _, o := range options {
		o(&s)
	}
	if s.cid == "" {
		s.cid = rand.Text()
	}
	raw, err := encodeBody(body)
	if err != nil {
		return Ack{}, fmt.Errorf("send to %s: %w", r.name, err)
	}
	if limit := r.client.Status().Limits.BodyBytes; limit > 0 && len(raw) > limit {
		return Ack{}, protocol.Errorf(protocol.TooLarge, "body is %d bytes, at most %d are allowed", len(raw), limit)
	}
	e, err := r.client.ask(ctx, func(m *machine, now int64, ref int) { m.send(now, ref, r.name, s.cid, raw) })
	if err != nil {
		return Ack{}, fmt.Errorf("send to %s: %w", r.name, err)
	}
	return e.ack, nil
}

// encodeBody keeps raw JSON as it is, but for space between its tokens.
func encodeBody(body any) (json.RawMessage, error) {
	var raw bytes.Buffer
	enc := json.NewEncoder(&raw)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(body); err != nil {
		return nil, err
	}
	return bytes.TrimSpace(raw.Bytes()), nil
}

// Typing tells the room that the user is typing. Without a connection it fails
// with code unavailable at once: typing is worth nothing later.
func (r *Room) Typing(ctx context.Context) error {
	return r.volatile(ctx, protocol.Request{Type: protocol.TypeTyping, Room: r.name})
}

// Signal sends a volatile body of at most 4 KiB to the room: not stored, not
// ordered, and after a reconnect possibly twice.
func (r *Room) Signal(ctx context.Context, body any) error {
	raw, err := encodeBody(body)
	if err != nil {
		return fmt.Errorf("signal to %s: %w", r.name, err)
	}
	return r.volatile(ctx, protocol.Request{Type: protocol.TypeSignal, Room: r.name, Body: raw})
}

func (r *Room) volatile(ctx context.Context, req protocol.Request) error {
	_, err := r.client.ask(ctx, func(m *machine, now int64, ref int) { m.volatile(now, ref, req) })
	if err != nil {
		return fmt.Errorf("%s in %s: %w", req.Type, r.name, err)
	}
	return nil
}

// Leave leaves the room; nothing of it comes afterwards, and what waits to be
// sent there fails with ErrLeft.
func (r *Room) Leave(ctx context.Context) error {
	_, err := r.client.ask(ctx, func(m *machine, now int64, ref int) { m.leave(now, ref, r.name) })
	if err != nil {
		return fmt.Errorf("leave %s: %w", r.name, err)
	}
	return nil
}
