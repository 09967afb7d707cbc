package client

import (
	"context"
	"fmt"

	"github.com/parley-chat/parley/services/ingress/protocol"
)

// HistoryQuery chooses a page: the entries before a seq, those after one, or
// with neither the newest.
type HistoryQuery struct {
	Before *uint64 // exclusive
	After  *uint64 // exclusive; not with Before
	Limit  int     // at most 200; 0 means 50
}

// Page is a piece of a room's log, ascending. It holds at most 256 KiB, so it
// may be shorter than asked; More says whether there is more in that direction.
type Page struct {
	Entries []protocol.Frame // with Room; types of later versions included
	More    bool
	Floor   uint64 // the oldest entry kept
	Head    uint64 // the newest
	Epoch   string
}

// History reads a room's log. The user needs the right to join, not to have
// joined. Temporary errors are retried until ctx is over.
func (c *Client) History(ctx context.Context, room string, q HistoryQuery) (Page, error) {
	f, err := c.query(ctx, protocol.Request{Type: protocol.TypeHistory, Room: room, Before: q.Before, After: q.After, Limit: q.Limit})
	if err != nil {
		return Page{}, fmt.Errorf("history of %s: %w", room, err)
	}
	for i := range f.Entries {
		f.Entries[i].Room = room
	}
	return Page{Entries: f.Entries, More: f.More, Floor: f.Floor, Head: f.Head, Epoch: f.Epoch}, nil
}

// Presence says who is in a room: at most 200 of them, and how many in all.
func (c *Client) Presence(ctx context.Context, room string) (protocol.Presence, error) {
	return c.presence(ctx, protocol.Request{Type: protocol.TypePresence, Room: room})
}

// PresenceUser says how many sessions a user has; for oneself also which.
func (c *Client) PresenceUser(ctx context.Context, user string) (protocol.Presence, error) {
	return c.presence(ctx, protocol.Request{Type: protocol.TypePresence, User: user})
}

func (c *Client) presence(ctx context.Context, r protocol.Request) (protocol.Presence, error) {
	f, err := c.query(ctx, r)
	if err != nil {
		return protocol.Presence{}, fmt.Errorf("presence of %s%s: %w", r.Room, r.User, err)
	}
	return protocol.Presence{Room: r.Room, User: r.User, Users: f.Users, Sessions: f.Sessions, Count: f.Count, N: f.N}, nil
}

// Auth replaces the session's token in place. A client with Config.Token does
// so by itself before the old one expires.
func (c *Client) Auth(ctx context.Context, token string) error {
	_, err := c.query(ctx, protocol.Request{Type: protocol.TypeAuth, Token: token})
	if err != nil {
		return fmt.Errorf("auth: %w", err)
	}
	return nil
}

func (c *Client) query(ctx context.Context, r protocol.Request) (protocol.Frame, error) {
	e, err := c.ask(ctx, func(m *machine, now int64, ref int) { m.request(now, ref, r) })
	return e.frame, err
}
