package ingress

import (
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/parley-chat/parley/shared/event"
)

// partition is what this edge has told the other services about one partition:
// which of its sessions are in which rooms. Joins, leaves and syncs of a partition
// go on the bus under its lock, so that a sync says exactly what the joins and
// leaves before it amount to.
type partition struct {
	svc    *Service
	number int
	sends  admission

	mu    sync.Mutex
	rooms map[event.RoomID]map[*session]struct{} // a join was sent, and no leave since
	users map[*session]struct{}                  // sessions whose user lies here
	due   due
	whole wholeSync
}

// due is what is to be synced as soon as the bus takes it.
type due struct {
	whole bool
	asked uint64                // generation of the notifier that asked last
	rooms map[event.RoomID]bool // true: a hash will do
}

// wholeSync is the last sync of the whole partition, as long as it is unanswered.
type wholeSync struct {
	id   uint64
	left int // parts without an answer
	by   time.Time
}

func newPartition(svc *Service, number int) *partition {
	return &partition{
		svc: svc, number: number, sends: admission{wait: int64(svc.cfg.SendWait)},
		rooms: make(map[event.RoomID]map[*session]struct{}),
		users: make(map[*session]struct{}),
	}
}

// partition is that of a room or user.
func (s *Service) partition(key string) *partition {
	return s.partitions[event.PartitionOf(key, len(s.partitions))]
}

// refusing is how many partitions' sends are refused, should more come than are answered.
func (s *Service) refusing() (n int) {
	for _, p := range s.partitions {
		if p.sends.refusing.Load() {
			n++
		}
	}
	return n
}

// partitionOf reads a writer's scope such as "notifier-03".
func (s *Service) partitionOf(scope string) *partition {
	number, ok := strings.CutPrefix(scope, "notifier-")
	if n, err := strconv.Atoi(number); ok && err == nil && n >= 0 && n < len(s.partitions) {
		return s.partitions[n]
	}
	return nil
}

// join sends the command and notes the session, unless it has ended meanwhile.
func (p *partition) join(s *session, c event.Command, done func(error)) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.ended.Load() {
		return errEnded
	}
	if err := p.svc.enqueue(c, done); err != nil {
		return err
	}
	in := p.rooms[c.Room]
	if in == nil {
		in = make(map[*session]struct{}, 1)
		p.rooms[c.Room] = in
	}
	in[s] = struct{}{}
	return nil
}

// leave sends that the session is not in the room any more, unless it is again.
// When that cannot be sent, a sync of the room will say it.
func (p *partition) leave(s *session, room event.RoomID, clean bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.holds(room) {
		return
	}
	if _, in := p.rooms[room][s]; !in {
		return
	}
	p.drop(s, room)
	c := s.command(room)
	c.Leave = &event.LeaveRoom{Clean: clean}
	if err := p.svc.enqueue(c, p.orSync(room)); err != nil {
		p.add(room, false)
	}
}

// forget notes that a join was refused.
func (p *partition) forget(s *session, room event.RoomID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !s.holds(room) {
		p.drop(s, room)
	}
}

func (p *partition) drop(s *session, room event.RoomID) {
	delete(p.rooms[room], s)
	if len(p.rooms[room]) == 0 {
		delete(p.rooms, room)
	}
}

// opened sends the session's row; an operator's is nobody's.
func (p *partition) opened(s *session) {
	if s.operator() {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.ended.Load() {
		return
	}
	p.users[s] = struct{}{}
	c := s.command("")
	c.OpenSession = &event.OpenSession{Row: s.row(p.svc.nodeID())}
	if err := p.svc.enqueue(c, p.orSyncAll()); err != nil {
		p.due.whole = true
	}
}

// closed sends that the session's connection ended.
func (p *partition) closed(s *session, clean bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, known := p.users[s]; !known {
		return
	}
	delete(p.users, s)
	c := s.command("")
	c.CloseSession = &event.CloseSession{Clean: clean}
	if err := p.svc.enqueue(c, p.orSyncAll()); err != nil {
		p.due.whole = true
	}
}

func (p *partition) orSync(room event.RoomID) func(error) {
	return func(err error) {
		if err != nil {
			p.want(room, false)
		}
	}
}

func (p *partition) orSyncAll() func(error) {
	return func(err error) {
		if err != nil {
			p.wantAll(0)
		}
	}
}

// want asks for a sync of one room; of its hash only, where that will do.
func (p *partition) want(room event.RoomID, hash bool) {
	p.mu.Lock()
	p.add(room, hash)
	p.mu.Unlock()
	p.svc.syncNow()
}

func (p *partition) add(room event.RoomID, hash bool) {
	if p.due.rooms == nil {
		p.due.rooms = make(map[event.RoomID]bool)
	}
	before, known := p.due.rooms[room]
	p.due.rooms[room] = hash && (before || !known)
}

// wantAll asks for a sync of the whole partition.
func (p *partition) wantAll(asked uint64) {
	p.mu.Lock()
	p.due.whole = true
	p.due.asked = max(p.due.asked, asked)
	p.mu.Unlock()
	p.svc.syncNow()
}
