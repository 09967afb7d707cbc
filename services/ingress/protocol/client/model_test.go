package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"testing"

	"github.com/parley-chat/parley/services/ingress/protocol"
	"pgregory.net/rapid"
)

// world is one room's log, the edges in front of it, and the lines between them
// and one machine: frames travel one by one, and a line may break at any point.
type world struct {
	t     *rapid.T
	m     *machine
	now   int64
	epoch int
	floor uint64
	log   []protocol.Message // all that was ever written under this epoch; those below floor are trimmed
	lines map[int]*wire

	refs    int
	acks    map[int]Ack
	failed  map[int]error
	cursor  uint64 // what the user has seen
	voided  bool   // an epoch changed: acked entries may be gone
	trimmed bool
}

type wire struct {
	up     []protocol.Request
	down   [][]byte
	open   bool // the WebSocket stands
	at     uint64
	joined bool
}

const modelRoom = "g"

func newWorld(t *rapid.T) *world {
	w := &world{t: t, floor: 1, lines: map[int]*wire{}, acks: map[int]Ack{}, failed: map[int]error{}, now: 1}
	w.m = newMachine(machineConfig{urls: []string{"ws://a"}, user: "alice", rand: func() float64 { return 0.5 }, baseMS: 10, capMS: 100, pending: 1000, window: rapid.IntRange(0, 1).Draw(t, "window")})
	w.m.start(w.now)
	w.effects()
	return w
}

func (w *world) head() uint64 { return uint64(len(w.log)) }

func (w *world) effects() {
	for _, e := range w.m.take() {
		switch e.kind {
		case doDial:
			w.lines[e.link] = &wire{}
		case doSend:
			if l := w.lines[e.link]; l != nil {
				l.up = append(l.up, e.req)
			}
		case doClose:
			delete(w.lines, e.link)
		case doReply:
			if e.err != nil {
				w.failed[e.ref] = e.err
			} else {
				w.acks[e.ref] = e.ack
			}
		case doDeliver:
			w.seen(e.frame)
		case doEnd:
			w.t.Fatalf("the room ended: %v", e.err)
		case doStatus:
			if e.status.State == Closed {
				w.t.Fatalf("the client ended: %d", e.status.Code)
			}
		}
	}
}

// seen checks what the user sees: one by one, or with the break told.
func (w *world) seen(f protocol.Frame) {
	switch f.Type {
	case protocol.TypeReset:
		w.cursor = f.Seq
	case protocol.TypeGap:
		if f.Gap.From != w.cursor+1 {
			w.t.Fatalf("gap from %d after %d", f.Gap.From, w.cursor)
		}
		w.cursor = f.Gap.To
	case protocol.TypeMessage:
		if f.Seq != w.cursor+1 {
			w.t.Fatalf("entry %d after %d", f.Seq, w.cursor)
		}
		w.cursor = f.Seq
	}
}

func (w *world) epochName() string { return fmt.Sprint("e", w.epoch) }

// write appends to the log and streams to whoever has joined.
func (w *world) write(from, cid string, body json.RawMessage) protocol.Message {
	e := protocol.Message{Room: modelRoom, Seq: w.head() + 1, MID: "m", From: from, CID: cid, TS: 1, Body: body}
	w.log = append(w.log, e)
	w.stream()
	return e
}

func (w *world) stream() {
	for _, l := range w.lines {
		for l.joined && l.at < w.head() {
			if l.at+1 < w.floor {
				l.down = append(l.down, protocol.AppendGap(nil, &protocol.Gap{Room: modelRoom, From: l.at + 1, To: w.floor - 1}))
				l.at = w.floor - 1
				continue
			}
			l.down = append(l.down, protocol.AppendMessage(nil, &w.log[l.at]))
			l.at++
		}
	}
}

// serve lets an edge handle one request.
func (w *world) serve(l *wire) {
	r := l.up[0]
	l.up = l.up[1:]
	switch r.Type {
	case protocol.TypeHello:
		l.down = append(l.down, protocol.AppendWelcome(nil, &protocol.Welcome{ID: r.ID, User: "alice", Resume: "s", PingMS: 1 << 40}))
		if since, ok := r.Rooms[modelRoom]; ok {
			w.join(l, 0, &since)
		}
	case protocol.TypeJoin:
		w.join(l, r.ID, r.Since)
	case protocol.TypeSend:
		l.down = append(l.down, w.accept(l, r))
	case protocol.TypeHistory:
		p := protocol.Page{ID: r.ID, Floor: w.floor, Head: w.head(), Epoch: w.epochName()}
		for _, e := range w.log {
			if e.Seq > *r.After && e.Seq >= w.floor {
				if len(p.Entries) == 3 {
					p.More = true
					break
				}
				p.Entries = append(p.Entries, e)
			}
		}
		l.down = append(l.down, protocol.AppendPage(nil, &p))
	}
}

func (w *world) join(l *wire, id uint64, since *protocol.Cursor) {
	j := protocol.Joined{ID: id, Room: modelRoom, Epoch: w.epochName(), Seq: w.head(), After: w.head(), Floor: w.floor}
	switch {
	case since == nil:
	case since.Epoch != j.Epoch || since.Seq > j.Seq:
		j.Reset = true
	case since.Seq+1 < w.floor:
		j.Gap, j.After = &protocol.Range{From: since.Seq + 1, To: w.floor - 1}, w.floor-1
	default:
		j.After = since.Seq
	}
	l.down = append(l.down, protocol.AppendJoined(nil, &j))
	l.joined, l.at = true, j.After
	w.stream()
}

// accept is chat: dedupe over what is kept, conflict where it cannot know.
func (w *world) accept(l *wire, r protocol.Request) []byte {
	if !l.joined {
		w.t.Fatalf("send %s before joined", r.CID)
	}
	for _, e := range w.log {
		if e.Seq >= w.floor && e.From == "alice" && e.CID == r.CID {
			return protocol.AppendOK(nil, &protocol.OK{ID: r.ID, Room: modelRoom, Seq: e.Seq, TS: 1, Dup: true})
		}
	}
	if s := r.Since; s != nil && (s.Epoch != w.epochName() || s.Seq+1 < w.floor) {
		return protocol.AppendError(nil, &protocol.Error{ID: r.ID, CID: r.CID, Code: protocol.Conflict, Message: "not all cids are known"})
	}
	if rapid.IntRange(0, 9).Draw(w.t, "refuse") == 0 {
		return protocol.AppendError(nil, &protocol.Error{ID: r.ID, CID: r.CID, Code: protocol.Unavailable, Message: "later", RetryAfterMS: 5})
	}
	e := w.write("alice", r.CID, r.Body)
	return protocol.AppendOK(nil, &protocol.OK{ID: r.ID, Room: modelRoom, Seq: e.Seq, TS: 1})
}

func (w *world) receive(n int, l *wire) {
	f, err := protocol.ParseFrame(l.down[0])
	if err != nil {
		w.t.Fatal(err)
	}
	l.down = l.down[1:]
	if f.Type == protocol.TypeJoined && f.ID != 0 && w.m.byID(f.ID) != nil && w.m.byID(f.ID).ref != 0 {
		w.cursor = f.After
	}
	w.m.frame(w.now, n, f)
	w.effects()
}

func (w *world) cut(n int, code protocol.CloseCode) {
	delete(w.lines, n)
	w.m.closed(w.now, n, code, 0, false, nil)
	w.effects()
}

// step does one thing that may happen to line n, and says whether there was one.
func (w *world) step(n int, l *wire, what string) bool {
	switch {
	case !l.open && what != "cut":
		l.open = true
		w.m.opened(w.now, n, "")
		w.effects()
	case what == "up" && len(l.up) > 0:
		w.serve(l)
	case what == "down" && len(l.down) > 0:
		w.receive(n, l)
	case what == "cut":
		w.cut(n, protocol.CloseAbnormal)
	case what == "migrate" && l.joined:
		l.down = append(l.down, protocol.AppendMigrate(nil, &protocol.Migrate{ByMS: 1000}))
	default:
		return false
	}
	return true
}

func (w *world) post() {
	w.refs++
	w.m.send(w.now, w.refs, modelRoom, "c"+strconv.Itoa(w.refs), json.RawMessage(strconv.Itoa(w.refs)))
	w.effects()
}

// newEpoch loses the tail beyond keep, and tells it.
func (w *world) newEpoch(keep uint64) {
	w.epoch++
	w.voided = true
	w.log = w.log[:max(keep, w.floor-1)]
	for _, l := range w.lines {
		if l.joined {
			l.at = min(l.at, w.head())
			l.down = append(l.down, protocol.AppendReset(nil, &protocol.Reset{Room: modelRoom, Epoch: w.epochName(), Seq: l.at}))
		}
	}
	w.stream()
}

func (w *world) numbers() []int {
	var ns []int
	for n := range w.lines {
		ns = append(ns, n)
	}
	slices.Sort(ns)
	return ns
}

// heal lets everything through until nothing is left to do.
func (w *world) heal() {
	for range 10_000 {
		busy := false
		for _, n := range w.numbers() {
			for _, what := range []string{"up", "down"} {
				if l := w.lines[n]; l != nil && w.step(n, l, what) {
					busy = true
				}
			}
		}
		if busy {
			continue
		}
		at := w.m.deadline()
		if at == 0 || at > w.now+1<<30 {
			return
		}
		w.now = max(at, w.now)
		w.m.tick(w.now)
		w.effects()
	}
	w.t.Fatal("it does not come to rest")
}

func (w *world) check() {
	if w.cursor != w.head() {
		w.t.Fatalf("the user has seen up to %d of %d", w.cursor, w.head())
	}
	written := map[string][]uint64{}
	for _, e := range w.log {
		if e.From == "alice" {
			written[string(e.Body)] = append(written[string(e.Body)], e.Seq)
		}
	}
	newest := uint64(0)
	for ref := 2; ref <= w.refs; ref++ {
		ack, ok := w.acks[ref]
		unknown := w.trimmed && errors.Is(w.failed[ref], ErrMaybeSent)
		if !ok && !unknown {
			w.t.Fatalf("send %d: no ack (%v)", ref, w.failed[ref])
		}
		if w.voided {
			continue
		}
		at := written[strconv.Itoa(ref)]
		if len(at) > 1 {
			w.t.Fatalf("send %d stands at %v", ref, at)
		}
		if unknown {
			continue
		}
		if w.m.cfg.window == 1 && ack.Seq < newest {
			w.t.Fatalf("send %d was overtaken: %d after %d", ref, ack.Seq, newest)
		}
		newest = ack.Seq
		if !slices.Contains(at, ack.Seq) {
			w.t.Fatalf("send %d was acked as %d, and stands at %v", ref, ack.Seq, at)
		}
	}
}

// TestModel plays random histories: what the user sees is the log, in order
// and without a hole; every send is acked, and written once. Only where the log
// was trimmed may it end undecided, and then it is not written twice. One at a
// time, the sends keep their order.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		w.refs = 1
		w.m.join(w.now, 1, modelRoom, nil, 0)
		w.heal()
		actions := []string{"up", "up", "down", "down", "down", "post", "post", "other", "cut", "migrate", "time", "trim", "epoch"}
		for range rapid.IntRange(1, 120).Draw(t, "steps") {
			what := rapid.SampledFrom(actions).Draw(t, "what")
			switch what {
			case "post":
				w.post()
			case "other":
				w.write("bob", "", json.RawMessage(`0`))
			case "time":
				w.now += 20
				w.m.tick(w.now)
				w.effects()
			case "trim":
				if w.head() > 2 && rapid.IntRange(0, 5).Draw(t, "rare") == 0 {
					w.floor, w.trimmed = max(w.floor, w.head()-1), true
				}
			case "epoch":
				if rapid.IntRange(0, 5).Draw(t, "rare") == 0 {
					w.newEpoch(w.head() - min(w.head(), uint64(rapid.IntRange(0, 3).Draw(t, "lost"))))
				}
			default:
				if ns := w.numbers(); len(ns) > 0 {
					n := rapid.SampledFrom(ns).Draw(t, "line")
					w.step(n, w.lines[n], what)
				}
			}
		}
		w.heal()
		w.check()
	})
}
