package ingress

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/parley-chat/parley/services/ingress/internal/socket"
	"github.com/parley-chat/parley/services/ingress/protocol"
	"github.com/parley-chat/parley/shared/event"
)

// errEnded: the session is gone; nobody is left to be told.
var errEnded = errors.New("the session has ended")

// session is one connection, from its hello on one life of a session. Its reader
// goroutine calls Receive, a writer Fill; deliveries come from the goroutine that
// reads the node's topic.
type session struct {
	svc    *Service
	conn   *socket.Conn
	out    outbox
	limits limiter // the reader's alone
	bearer string  // from the handshake's Authorization header

	// Set by hello, constant afterwards.
	who    event.Who // without Node, which may change
	since  int64
	agent  string
	opened atomic.Bool
	ended  atomic.Bool

	mu       sync.Mutex
	rooms    map[event.RoomID]*membership
	requests requests
	expires  time.Time
	rowDue   bool // the row changed, and is sent soon
}

// membership is a room of a session: joined, or with joins on their way.
type membership struct {
	sub     *subscription // nil: not joined yet
	joining int
	typed   time.Time // when a typing went through last
}

func (s *Service) newSession(c *socket.Conn, bearer string) *session {
	return &session{
		svc: s, conn: c, bearer: bearer,
		out: outbox{maxFrames: s.cfg.OutboxFrames, maxBytes: s.cfg.OutboxBytes},
	}
}

// Fill is socket.Handler: replies first, then each room's entries after the
// session's cursor.
func (s *session) Fill(buf []byte, limit int) []byte {
	buf, dirty := s.out.take(buf, limit, s.svc.answered)
	given := 0
	for _, sub := range dirty {
		if len(buf) >= limit {
			s.out.touch(sub)
			continue
		}
		var more bool
		var n int
		if buf, n, more = sub.room.next(sub, buf, limit); more {
			s.out.touch(sub)
		}
		given += n
	}
	if given > 0 {
		s.svc.counts.deliveries.Add(uint64(given))
	}
	return buf
}

// Ended is socket.Handler.
func (s *session) Ended(e socket.Ending) { s.end(e.Clean) }

// end takes the session out of everything; what its outbox holds is still written.
// Only the first call counts. clean says that it is gone for good; else its rows
// are held for a while, as it may resume.
func (s *session) end(clean bool) {
	if !s.opened.Load() || s.ended.Swap(true) {
		return
	}
	s.mu.Lock()
	rooms := s.rooms
	s.rooms = nil
	s.requests.clear()
	for _, m := range rooms {
		if m.sub != nil {
			s.svc.hub.unsubscribe(m.sub)
		}
	}
	s.mu.Unlock()
	s.svc.hub.close(s)
	for room := range rooms {
		s.svc.partition(string(room)).leave(s, room, clean)
	}
	s.svc.partition(string(s.who.User)).closed(s, clean)
	s.svc.metrics.sessions.Dec()
}

// expel ends the session and closes its connection with a last word.
func (s *session) expel(code protocol.CloseCode, last *protocol.Error, clean bool) {
	s.end(clean)
	var frame []byte
	if last != nil {
		frame = protocol.AppendError(nil, last)
	}
	s.out.last(frame)
	s.conn.Close(code, code.String())
}

// command is a command in the session's name. A room that is empty concerns the
// session itself.
func (s *session) command(room event.RoomID) event.Command {
	return event.Command{Who: s.who, Room: room, At: time.Now().UnixMilli()}
}

// holds tells whether the session is in the room, or on its way.
func (s *session) holds(room event.RoomID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rooms[room] != nil
}

// joined tells whether the session is in the room.
func (s *session) joined(room event.RoomID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.rooms[room]
	return m != nil && m.sub != nil
}

// row is what the registry shows of the session.
func (s *session) row(node event.NodeID) event.SessionRow {
	s.mu.Lock()
	defer s.mu.Unlock()
	row := event.SessionRow{Who: s.who, Agent: s.agent, Since: s.since}
	row.Node = node
	for room, m := range s.rooms {
		if m.sub != nil {
			row.Rooms = append(row.Rooms, room)
		}
	}
	return row
}

// rowChanged has the row sent, at most once a second. s.mu is held.
func (s *session) rowChanged() {
	if s.rowDue {
		return
	}
	s.rowDue = true
	s.svc.wheel.After(rowEvery, func(time.Time) time.Duration {
		s.mu.Lock()
		s.rowDue = false
		s.mu.Unlock()
		s.svc.partition(string(s.who.User)).opened(s)
		return 0
	})
}

const rowEvery = time.Second

// limiter holds a session to its rates.
type limiter struct {
	requests socket.Bucket
	others   socket.Bucket // typing and pong, which are counted apart
	refused  int           // in a row
}

// tooMany is how many refused requests in a row end a connection: whoever goes on
// like that does not listen.
const tooMany = 1000
