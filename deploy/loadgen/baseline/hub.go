package baseline

import (
	"context"
	"fmt"
	"sync"

	"github.com/gorilla/websocket"
	"github.com/redis/go-redis/v9"
)

// hub hands what Redis publishes to the clients of this process. One subscription
// serves all rooms.
type hub struct {
	pubsub *redis.PubSub

	// joining keeps the order of a room's subscribe and unsubscribe; it is held over
	// their I/O, mu is not.
	joining sync.Mutex
	mu      sync.RWMutex
	rooms   map[string]map[*client]struct{}
}

func newHub(rdb *redis.Client) *hub {
	return &hub{pubsub: rdb.Subscribe(context.Background()), rooms: map[string]map[*client]struct{}{}}
}

func channel(room string) string { return "room:" + room }

// join adds the client, and subscribes to the room for the first one.
func (h *hub) join(ctx context.Context, c *client) error {
	h.joining.Lock()
	defer h.joining.Unlock()
	if h.put(c) {
		if err := h.pubsub.Subscribe(ctx, channel(c.room)); err != nil {
			h.take(c)
			return fmt.Errorf("subscribe to room %s: %w", c.room, err)
		}
	}
	return nil
}

// leave removes the client, and unsubscribes after the last one.
func (h *hub) leave(ctx context.Context, c *client) error {
	h.joining.Lock()
	defer h.joining.Unlock()
	if h.take(c) {
		return h.pubsub.Unsubscribe(ctx, channel(c.room))
	}
	return nil
}

func (h *hub) put(c *client) (first bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	members := h.rooms[c.room]
	if members == nil {
		members = map[*client]struct{}{}
		h.rooms[c.room] = members
		first = true
	}
	members[c] = struct{}{}
	return first
}

func (h *hub) take(c *client) (last bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	members := h.rooms[c.room]
	delete(members, c)
	if len(members) == 0 {
		delete(h.rooms, c.room)
		return true
	}
	return false
}

// run hands out until ctx ends.
func (h *hub) run(ctx context.Context) {
	messages := h.pubsub.Channel(redis.WithChannelSize(4096))
	for {
		select {
		case <-ctx.Done():
			return
		case m, open := <-messages:
			if !open {
				return
			}
			// One frame for all sockets, headers and all.
			frame, err := websocket.NewPreparedMessage(websocket.TextMessage, []byte(m.Payload))
			if err == nil {
				h.deliver(m.Channel[len(channel("")):], frame)
			}
		}
	}
}

func (h *hub) deliver(room string, frame *websocket.PreparedMessage) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	for c := range h.rooms[room] {
		c.queue(frame)
	}
}

func (h *hub) close() error { return h.pubsub.Close() }
