package baseline

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/gorilla/websocket"
	"github.com/redis/go-redis/v9"
)

// client is one connection: a goroutine that reads, one that writes, and a queue
// between the rooms and the latter.
type client struct {
	user, room string
	conn       *websocket.Conn
	send       chan *websocket.PreparedMessage
	done       chan struct{} // closed when the reader has ended
}

type request struct {
	Type string          `json:"type"`
	ID   uint64          `json:"id"`
	Body json.RawMessage `json:"body"`
}

type message struct {
	Type string          `json:"type"`
	Room string          `json:"room"`
	User string          `json:"user"`
	TS   int64           `json:"ts"`
	Body json.RawMessage `json:"body"`
}

type reply struct {
	Type    string `json:"type"`
	ID      uint64 `json:"id,omitempty"`
	Code    string `json:"code,omitempty"`
	Message string `json:"message,omitempty"`
}

func (s *Server) connect(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	user, room := query.Get("user"), query.Get("room")
	if user == "" || room == "" {
		http.Error(w, "user and room are needed in the query", http.StatusBadRequest)
		return
	}
	conn, err := s.upgrader.Upgrade(w, r, nil)
	if err != nil {
		return // answered already
	}
	c := &client{user: user, room: room, conn: conn, send: make(chan *websocket.PreparedMessage, queueLength), done: make(chan struct{})}
	if !s.add(c) {
		_ = conn.Close()
		return
	}
	go s.write(c)
	// The handler's stack has grown in the handshake: read on a new one.
	go s.read(c)
}

func (s *Server) read(c *client) {
	defer s.wg.Done()
	defer s.remove(c)
	defer close(c.done)
	ctx := context.Background()
	if err := s.hub.join(ctx, c); err != nil {
		s.cfg.Logger.Warn("client not joined", "user", c.user, "err", err)
		return
	}
	defer func() {
		if err := s.hub.leave(ctx, c); err != nil {
			s.cfg.Logger.Debug("room not left", "room", c.room, "err", err)
		}
	}()
	c.reply(reply{Type: "joined"})
	c.conn.SetReadLimit(maxFrame)
	_ = c.conn.SetReadDeadline(time.Now().Add(pongWait))
	c.conn.SetPongHandler(func(string) error { return c.conn.SetReadDeadline(time.Now().Add(pongWait)) })
	for {
		_, frame, err := c.conn.ReadMessage()
		if err != nil {
			return
		}
		var q request
		if err := json.Unmarshal(frame, &q); err != nil || q.Type != "send" {
			c.reply(reply{Type: "error", ID: q.ID, Code: "bad_request", Message: "want a send with a body"})
			continue
		}
		if err := s.publish(ctx, c, q.Body); err != nil {
			c.reply(reply{Type: "error", ID: q.ID, Code: "unavailable", Message: err.Error()})
			continue
		}
		c.reply(reply{Type: "ok", ID: q.ID})
	}
}

// publish returns when Redis has the message.
func (s *Server) publish(ctx context.Context, c *client, body json.RawMessage) error {
	frame, err := json.Marshal(message{Type: "message", Room: c.room, User: c.user, TS: time.Now().UnixMilli(), Body: body})
	if err != nil {
		return err
	}
	if !s.cfg.Durable {
		return s.redis.Publish(ctx, channel(c.room), frame).Err()
	}
	_, err = s.redis.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.XAdd(ctx, &redis.XAddArgs{Stream: "log:" + c.room, MaxLen: keep, Approx: true, Values: []any{"m", frame}})
		p.Publish(ctx, channel(c.room), frame)
		return nil
	})
	return err
}

func (s *Server) write(c *client) {
	defer s.wg.Done()
	defer c.conn.Close()
	ping := time.NewTicker(pingEvery)
	defer ping.Stop()
	for {
		var err error
		select {
		case <-c.done:
			return
		case frame := <-c.send:
			_ = c.conn.SetWriteDeadline(time.Now().Add(writeWait))
			err = c.conn.WritePreparedMessage(frame)
		case <-ping.C:
			err = c.conn.WriteControl(websocket.PingMessage, nil, time.Now().Add(writeWait))
		}
		if err != nil {
			return
		}
	}
}

func (c *client) reply(r reply) {
	raw, err := json.Marshal(r)
	if err != nil {
		return // strings and numbers: it does not happen
	}
	if frame, err := websocket.NewPreparedMessage(websocket.TextMessage, raw); err == nil {
		c.queue(frame)
	}
}

// queue never waits: a client whose queue is full is too slow and is cut off.
func (c *client) queue(frame *websocket.PreparedMessage) {
	select {
	case c.send <- frame:
	default:
		_ = c.conn.Close()
	}
}
