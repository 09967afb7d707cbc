package ingress

import (
	"context"
	"time"

	"github.com/parley-chat/parley/services/ingress/internal/ring"
	"github.com/parley-chat/parley/services/ingress/protocol"
	"github.com/parley-chat/parley/shared/event"
	"github.com/parley-chat/parley/shared/tracing"
)

// deliveries reads the node's topic: what the notifier has for this edge becomes
// entries in rings, replies in outboxes, or a sync.
type deliveries struct {
	svc   *Service
	wakes *wakes // reused
}

// Consume handles one batch. Sessions are woken after it, so that what it brings
// for one of them goes out together.
func (d deliveries) Consume(_ context.Context, batch []event.Delivery) error {
	w := d.wakes
	var spans []tracing.Span
	for i := range batch {
		if parent := batch[i].Traceparent; parent != "" {
			spans = append(spans, d.svc.tracer.Follow(parent, "ingress deliver"))
		}
		d.svc.deliver(&batch[i], w)
	}
	w.wake()
	for _, s := range spans {
		s.End(nil)
	}
	d.svc.metrics.batches.Inc()
	return nil
}

// Missed: deliveries of a notifier's partition are lost, so we ask how its rooms
// stand.
func (d deliveries) Missed(_ context.Context, scope string) {
	d.svc.log.Warn("deliveries were lost", "scope", scope)
	if p := d.svc.partitionOf(scope); p != nil {
		p.wantAll(0)
	}
}

// Close is bus.Consumer's.
func (d deliveries) Close() {}

// deliver is the list of what a notifier may say.
func (s *Service) deliver(d *event.Delivery, w *wakes) {
	kind := d.Kind()
	s.metrics.deliveries.WithLabelValues(orUnknown(kind)).Inc()
	switch {
	case d.Posted != nil:
		s.onPosted(d, w)
	case d.Joined != nil:
		s.onJoined(d, w)
	case d.Page != nil && d.Session == "":
		if r := s.hub.room(d.Room); r != nil {
			r.page(d.Request, ringPage(d.Room, d.Page), w)
		}
	case d.Refused != nil:
		if ss, r := s.waiting(d); r != nil {
			ss.fail(r, refusal(d.Refused))
		}
	case d.Accepted != nil:
		s.reply(d, w, func(_ *session, r *request) []byte {
			return protocol.AppendOK(nil, &protocol.OK{ID: r.id, Room: string(r.room), Seq: d.Accepted.Seq, TS: d.Accepted.At, Dup: d.Accepted.Dup})
		})
	case d.Page != nil:
		s.onPage(d, w)
	case d.Members != nil:
		s.reply(d, w, func(_ *session, r *request) []byte { return membersFrame(r, d.Members) })
	case d.Found != nil:
		s.reply(d, w, func(ss *session, r *request) []byte { return foundFrame(r, ss.who.User, d.Found) })
	case d.Typing != nil:
		s.volatile(d, w, protocol.AppendTyping(nil, &protocol.Typing{Room: string(d.Room), From: string(d.From)}))
	case d.Signal != nil:
		s.volatile(d, w, protocol.AppendSignal(nil, &protocol.Signal{Room: string(d.Room), From: string(d.From), Body: d.Signal.Body}))
	case d.Presence != nil:
		s.tellRoom(d.Room, "", w, presenceFrame(d.Room, d.Presence))
	case d.Measured != nil:
		s.onMeasured(d, w)
	case d.Replaced != nil:
		s.onReplaced(d)
	case d.Synced != nil:
		s.onSynced(d.Synced, w)
	case d.SyncAsk != nil:
		s.onSyncAsked(d.SyncAsk)
	case d.Trace != nil:
		s.onTrace(d)
	case d.Epoch != nil:
		s.onSyncAsked(&event.SyncAsked{Partition: d.Epoch.Partition})
	default:
		now := time.Now().Unix()
		if last := s.oddity.Load(); now-last >= 60 && s.oddity.CompareAndSwap(last, now) {
			s.log.Warn("deliveries of an unknown kind are skipped; a newer notifier sends them", "room", d.Room)
		}
	}
}

func orUnknown(kind string) string {
	if kind == "" {
		return "unknown"
	}
	return kind
}

// waiting finds the session and the request that a delivery answers, if they are
// still there.
func (s *Service) waiting(d *event.Delivery) (*session, *request) {
	if d.Session == "" || d.Request == 0 {
		return nil, nil
	}
	ss := s.hub.session(d.Session, d.Life)
	if ss == nil {
		return nil, nil
	}
	r := ss.answered(d.Request)
	if r != nil && r.gate != nil {
		r.gate.answered(int64(r.at.Sub(s.began)), s.clock())
	}
	return ss, r
}

// reply answers a request, if it still waits and the client wants to know.
func (s *Service) reply(d *event.Delivery, w *wakes, frame func(*session, *request) []byte) {
	ss, r := s.waiting(d)
	if r == nil {
		return
	}
	s.metrics.answered(r, time.Now())
	if r.id == 0 {
		return
	}
	at := int64(0)
	if r.kind == protocol.TypeSend && d.Posted != nil {
		at = max(int64(r.at.Sub(s.began)), 1)
	}
	ss.pushLater(frame(ss, r), at, w)
}

// answered is told that the answer to a send which came at that time is written now.
func (s *Service) answered(at int64) { s.counts.sent(time.Duration(s.clock() - at)) }

// pushLater queues a frame that the batch's end wakes the writer for; at is that of
// outbox.pushSent.
func (s *session) pushLater(frame []byte, at int64, w *wakes) {
	if s.out.pushSent(frame, at) {
		w.add(s)
		return
	}
	s.expel(protocol.CloseSlow, nil, false)
}

// onPosted puts an entry into its room and answers its sender. Rooms that nobody
// here is in are none of our business.
func (s *Service) onPosted(d *event.Delivery, w *wakes) {
	e := &d.Posted.Entry
	if !d.Posted.Again {
		s.reply(d, w, func(_ *session, r *request) []byte {
			return protocol.AppendOK(nil, &protocol.OK{ID: r.id, Room: string(r.room), Seq: e.Seq, TS: e.At})
		})
	}
	r := s.hub.room(d.Room)
	if r == nil {
		return
	}
	s.metrics.latency.Observe(max(float64(time.Now().UnixMilli()-e.At)/1000, 0))
	foreign, full := r.posted(d.Posted.Epoch, ring.Entry{Seq: e.Seq, Frame: entryFrame(d.Room, e)}, w)
	if foreign {
		s.hub.syncSoon(d.Room)
	}
	if full {
		w.wake()
		s.server.Settle(s.settle)
	}
}

// settleTime is for what readers take at once; it bounds what a burst for a large room
// costs all others.
const settleTime = 200 * time.Millisecond

// onJoined begins a subscription. An answer that comes too late begins nothing:
// its row was taken back when the request ended.
func (s *Service) onJoined(d *event.Delivery, w *wakes) {
	ss, r := s.waiting(d)
	if r == nil || r.kind != protocol.TypeJoin {
		return
	}
	s.metrics.answered(r, time.Now())
	ss.mu.Lock()
	m := ss.rooms[r.room]
	if m == nil || ss.ended.Load() {
		ss.mu.Unlock()
		return
	}
	m.joining--
	old := m.sub
	if old != nil {
		s.hub.unsubscribe(old)
	}
	full := false
	if r.id != 0 || r.hello {
		full = !ss.out.push(joinedFrame(r, d.Joined))
	}
	m.sub = s.hub.subscribe(ss, r.room, d.Joined)
	ss.out.touch(m.sub)
	if old == nil {
		ss.rowChanged()
	}
	ss.mu.Unlock()
	if full {
		ss.expel(protocol.CloseSlow, nil, false)
		return
	}
	w.add(ss)
}

// volatile tells a room what is worth nothing later; the one it came from knows.
func (s *Service) volatile(d *event.Delivery, w *wakes, frame []byte) {
	if time.Now().UnixMilli()-d.At > event.VolatileMS {
		s.metrics.dropped.WithLabelValues(d.Kind()).Inc()
		return
	}
	s.tellRoom(d.Room, d.Session, w, frame)
}

// tellRoom offers a frame to all subscribers but one.
func (s *Service) tellRoom(id event.RoomID, but event.SessionID, w *wakes, frame []byte) {
	r := s.hub.room(id)
	if r == nil {
		return
	}
	r.members(func(sub *subscription) {
		if ss := sub.session; ss.who.Session != but && ss.out.offer(frame) {
			w.add(ss)
		}
	})
}

// onReplaced ends the older life of a session, or one session too many of a user.
func (s *Service) onReplaced(d *event.Delivery) {
	ss := s.hub.session(d.Session, d.Life)
	if ss == nil {
		return
	}
	if d.Replaced.Over {
		ss.expel(protocol.CloseTryLater, protocol.Errorf(protocol.Limit, "a user may have %d sessions (PARLEY_USER_SESSIONS)", d.Replaced.Limit), false)
		return
	}
	ss.expel(protocol.CloseSuperseded, nil, false)
}
