package crowd

import (
	"maps"
	"time"

	"github.com/parley-chat/parley/deploy/loadgen/dialect"
	"github.com/parley-chat/parley/deploy/loadgen/wire"
)

const (
	firstID    = 16 // ids below are for hello and join
	atOnce     = 64 // sends before the loop looks at its sockets again
	extraSlice = 30 // seconds after the end that are still told apart
	parkFor    = 100 * time.Millisecond
)

// requests are those without an answer. A request's id is its place, so that an
// answer finds it without a map.
type requests struct {
	slots []request
	free  []uint32
	open  int
}

type request struct {
	due    int64
	conn   int32
	life   int32
	within bool // in use
}

func (r *requests) add(q request) (id uint64) {
	q.within = true
	r.open++
	if n := len(r.free); n > 0 {
		slot := r.free[n-1]
		r.free = r.free[:n-1]
		r.slots[slot] = q
		return uint64(slot) + firstID
	}
	r.slots = append(r.slots, q)
	return uint64(len(r.slots)-1) + firstID
}

// take returns the request and forgets it.
func (r *requests) take(id uint64, conn, life int32) (request, bool) {
	if id < firstID || id-firstID >= uint64(len(r.slots)) {
		return request{}, false
	}
	q := r.slots[id-firstID]
	if !q.within || q.conn != conn || q.life != life {
		return request{}, false
	}
	r.slots[id-firstID] = request{}
	r.free = append(r.free, uint32(id-firstID))
	r.open--
	return q, true
}

// abandon refuses what the lost connection has not been answered.
func (l *loop) abandon(conn int32, now int64) {
	for at := 0; at < len(l.requests.slots) && l.requests.open > 0; at++ {
		s := l.requests.slots[at]
		if q, ok := l.requests.take(uint64(at)+firstID, conn, s.life); ok {
			l.refused(l.driving, q.due, now, "connection lost")
		}
	}
}

// driving is a Drive under way.
type driving struct {
	Drive
	window   int // of this loop
	next     int64
	inFlight int
	parked   []int64 // when the places of refused requests are free again
	tally    Tally
	busy     time.Duration
	before   driven
}

// driven are counts as they were at the drive's start.
type driven struct {
	skipped, repeated, closed int64
	reasons                   map[string]int64
}

func (l *loop) begin(d Drive) func(int64) {
	return func(int64) {
		seconds := int((d.To-d.Start)/int64(time.Second)) + 1 + extraSlice
		l.driving = &driving{
			Drive: d, window: max(1, d.Window/(l.cfg.Shares*l.cfg.Loops)),
			tally: Tally{
				Ack: newHistogram(3), Delivery: newHistogram(3), Refusal: newHistogram(3), Lag: newHistogram(3), Turn: newHistogram(3),
				Slices: make([]Slice, seconds), Reasons: map[string]int64{}, Last: map[int64]Seen{},
			},
			before: driven{l.skipped, l.repeated, l.counts.Closed, maps.Clone(l.reasons)},
		}
	}
}

func (l *loop) finish(to chan<- Tally) func(int64) {
	return func(now int64) {
		d := l.driving
		if d == nil {
			to <- Tally{}
			return
		}
		l.driving = nil
		d.censor(l.requests.slots, now)
		t := d.tally
		t.Skipped, t.Repeated, t.Closed = l.skipped-d.before.skipped, l.repeated-d.before.repeated, l.counts.Closed-d.before.closed
		for reason, n := range l.reasons {
			if n -= d.before.reasons[reason]; n > 0 {
				t.Reasons[reason] += n
			}
		}
		if d.To > d.From {
			t.Busy = float64(d.busy) / float64(d.To-d.From)
		}
		for len(t.Slices) > 0 {
			if s := t.Slices[len(t.Slices)-1]; s.Sent+s.Acked+s.Refused+s.Delivered > 0 || s.Ack.Histogram != nil || s.Delivery.Histogram != nil {
				break
			}
			t.Slices = t.Slices[:len(t.Slices)-1]
		}
		to <- t
	}
}

// censor counts what has no answer with the time that it has waited so far:
// without it a server that leaves the slow ones unanswered would look fast.
func (d *driving) censor(slots []request, now int64) {
	for _, q := range slots {
		if q.within && q.due >= d.From && q.due < d.To {
			d.tally.Ack.record(now - q.due)
		}
	}
}

// sendDue sends what is due and says when the next is; 0: at no known time.
func (l *loop) sendDue(now int64) int64 {
	d := l.driving
	if d.Kind == Silence {
		return 0
	}
	if d.Rate > 0 {
		return l.sendOnTime(d, now)
	}
	return l.sendInWindow(d, now)
}

func (l *loop) sendOnTime(d *driving, now int64) int64 {
	interval := float64(time.Second) / d.Rate
	for sent := 0; d.Count == 0 || d.next < d.Count; d.next++ {
		due := d.Start + int64(float64(d.next)*interval)
		if due >= d.To {
			return 0
		}
		i, ours := l.sender(d)
		if !ours {
			continue
		}
		if due > now {
			return due
		}
		if sent++; sent > atOnce {
			return now
		}
		now = time.Now().UnixNano()
		l.request(d, i, due, now)
	}
	return 0
}

func (l *loop) sendInWindow(d *driving, now int64) int64 {
	for len(d.parked) > 0 && d.parked[0] <= now {
		d.parked = d.parked[1:]
		d.inFlight--
	}
	if now < d.Start {
		return d.Start
	}
	for sent := 0; d.inFlight < d.window && now < d.To && (d.Count == 0 || d.next < d.Count); d.next++ {
		i, ours := l.sender(d)
		if !ours {
			continue
		}
		if sent++; sent > atOnce {
			return now
		}
		now = time.Now().UnixNano()
		d.inFlight++
		l.request(d, i, now, now)
	}
	if len(d.parked) > 0 {
		return d.parked[0]
	}
	return 0
}

// sender is whose turn it is: the rooms in turn, and in each its members in turn.
func (l *loop) sender(d *driving) (conn int32, ours bool) {
	perRoom := l.cfg.perRoom()
	rooms := int64(l.cfg.Connections() / perRoom)
	member := int64(l.cfg.Members) // the writer
	if !l.cfg.Writer {
		member = d.next / rooms % int64(l.cfg.Members)
	}
	conn, ours = l.byID[int(d.next%rooms)*perRoom+int(member)]
	return conn, ours
}

// request sends a message or asks for a page.
func (l *loop) request(d *driving, i int32, due, now int64) {
	c := &l.conns[i]
	t := &d.tally
	inside := due >= d.From && due < d.To
	if inside {
		t.Sent++
		if d.Rate > 0 {
			t.Lag.record(now - due)
		}
	}
	if now >= d.From && now < d.To {
		t.SentWithin++
	}
	if s := d.slice(now); s != nil {
		s.Sent++
	}
	l.counts.Sent++
	if c.state != joined {
		l.refused(d, due, now, "not connected")
		return
	}
	id := l.requests.add(request{due: due, conn: i, life: c.life})
	if d.Kind == Pages {
		// A member asks for its own room, and in the turns in between for those without members.
		turn := d.next / int64(l.cfg.Connections()/l.cfg.perRoom())
		room := l.rooms[(c.room+int(turn%int64(l.cfg.Every)))%len(l.rooms)]
		l.payload = l.dialect.AppendHistory(l.payload[:0], id, room, PageEntries)
	} else {
		l.payload = l.dialect.AppendSend(l.payload[:0], dialect.Send{ID: id, Room: l.rooms[c.room], Due: due, Body: l.cfg.Body})
	}
	l.send(i, wire.Text, l.payload)
}

// line handles what a server said to a connection.
func (l *loop) line(i int32, e dialect.Event, now int64) {
	c := &l.conns[i]
	switch e.Kind {
	case dialect.Message:
		l.counts.Delivered++
		if e.Seq != 0 {
			l.advance(c, e.Seq)
		}
		if d := l.driving; d != nil {
			d.delivered(e.Due, now)
		}
	case dialect.Joined:
		l.joinedAt(i, e)
	case dialect.Ack, dialect.Page:
		q, ok := l.requests.take(e.ID, i, c.life)
		if !ok {
			return
		}
		if e.Kind == dialect.Ack {
			l.counts.Acked++
		} else {
			l.counts.Pages++
		}
		if d := l.driving; d != nil && q.due >= d.Start {
			d.answered(e, q.due, now)
		}
	case dialect.Refusal:
		if c.state == joining {
			l.shut(i)
			l.failed(i, string(e.Code))
			return
		}
		if q, ok := l.requests.take(e.ID, i, c.life); ok {
			l.refused(l.driving, q.due, now, string(e.Code))
		}
	}
}

// slice is the second in which at lies.
func (d *driving) slice(at int64) *Slice {
	i := (at - d.Start) / int64(time.Second)
	if at < d.Start || i >= int64(len(d.tally.Slices)) {
		return nil
	}
	return &d.tally.Slices[i]
}

func (d *driving) delivered(due, now int64) {
	if due < d.Start {
		return // of an earlier drive, or of somebody else
	}
	t := &d.tally
	if now >= d.From && now < d.To {
		t.DeliveredWithin++
	}
	if s := d.slice(now); s != nil {
		s.Delivered++
	}
	if s := d.slice(due); s != nil {
		if s.Delivery.Histogram == nil {
			s.Delivery = newHistogram(2)
		}
		s.Delivery.record(now - due)
	}
	if due < d.From || due >= d.To {
		return
	}
	t.Delivered++
	t.Delivery.record(now - due)
	if d.Last {
		t.Last[due] = Seen{Count: t.Last[due].Count + 1, At: now}
	}
}

func (d *driving) answered(e dialect.Event, due, now int64) {
	t := &d.tally
	d.inFlight--
	within, inside := now >= d.From && now < d.To, due >= d.From && due < d.To
	if e.Kind == dialect.Page {
		if within {
			t.PagesWithin++
		}
		if inside {
			t.Pages++
			if e.Entries < PageEntries {
				t.Short++
			}
		}
	} else {
		if within {
			t.AckedWithin++
		}
		if inside {
			t.Acked++
		}
	}
	if s := d.slice(now); s != nil {
		s.Acked++
	}
	if s := d.slice(due); s != nil {
		if s.Ack.Histogram == nil {
			s.Ack = newHistogram(2)
		}
		s.Ack.record(now - due)
	}
	if inside {
		t.Ack.record(now - due)
	}
}

// refused takes note of a request that came to nothing. In a closed loop its place
// stays taken for a moment, as a client that is refused waits.
func (l *loop) refused(d *driving, due, now int64, why string) {
	l.counts.Refused++
	if d == nil || due < d.Start {
		return
	}
	if d.Rate == 0 {
		d.parked = append(d.parked, now+int64(parkFor))
	}
	d.tally.Reasons["refused: "+why]++
	if s := d.slice(now); s != nil {
		s.Refused++
	}
	if now >= d.From && now < d.To {
		d.tally.RefusedWithin++
	}
	if due >= d.From && due < d.To {
		d.tally.Refused++
		d.tally.Refusal.record(now - due)
	}
}

// turn takes note of how long the loop was busy with one round of events.
func (d *driving) turn(took time.Duration) {
	if now := time.Now().UnixNano(); now >= d.From && now < d.To {
		d.tally.Turn.record(int64(took))
		d.busy += took
	}
}
