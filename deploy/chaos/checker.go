package chaos

import (
	"cmp"
	"encoding/json"
	"fmt"
	"hash/maphash"
	"maps"
	"slices"
)

// Invariants are what a Checker gives a verdict on, with what each says.
var invariants = []struct{ id, text string }{
	{"I1", "every acknowledged message is in the final history"},
	{"I2", "nothing is delivered that was not sent, and nothing twice"},
	{"I3", "per client and room seq strictly increases"},
	{"I4", "seq names one message, for all clients, acknowledgements and the log"},
	{"I5", "deliveries are gap-free unless a gap or reset was shown; neither is shown while the entries are there"},
	{"I6", "each sender's own order is kept"},
	{"I7", "the acknowledged seq is the delivered seq"},
	{"I8", "no seq is used twice under one epoch, and no epoch comes back"},
	{"I9", "presence equals the truth at rest, on every edge"},
	{"I10", "every room delivers again within the bound after each fault"},
	{"I11", "after the clients are gone nothing is left: goroutines, pending entries, orphan topics, keys"},
	{"I12", "no panic, no data race, no dead letter but for poison"},
	{"I13", "at rest every live client's cursor is the head of its room"},
}

// Verdict is what became of one invariant.
type Verdict struct {
	Invariant, Text string
	Checked         int // how often there was something to hold it against
	Violations      int
	Late            int    // those of the Violations that are of time: something came too late
	First           string // what was wrong first, with its line
}

// Checker holds a history against the invariants, line by line, in memory that
// grows with the messages and not with the deliveries. Not safe for concurrent use.
type Checker struct {
	lines    int
	last     Line
	verdicts map[string]*Verdict
	seed     maphash.Seed
	conns    map[connID]*conn
	rooms    map[string]*room
	posts    map[uint64]*post // by room, user and cid
	opened   uint32           // connections
	excused  bool             // a fault was there that may lose entries
	doubts   []func()         // to be decided at the end
}

type connID struct {
	client string
	conn   int
}

// conn is one connection as the checker follows it.
type conn struct {
	user   string
	number uint32
	rooms  map[string]*position
}

// position is where a connection stands in a room.
type position struct {
	epoch string
	seq   uint64
}

// room is what all histories together say about a room.
type room struct {
	epochs []string // in the order in which they came up
	kept   []uint64 // for each: up to where the change to it said the log was kept; of those told, the highest
	mids   map[string]map[uint64]uint64
	finals map[uint64]uint64
	final  uint64 // the last Final's seq
	read   bool   // the log was read to its end
	losses []told
	posts  []*post // in the order in which they were sent
}

// told is a gap or reset that a client was shown: what it had of (from, to] is void
// or will not come.
type told struct {
	line     int
	text     string
	epoch    string // under which the client had it; empty for a gap
	from, to uint64
}

// post is a message: what was sent under one cid.
type post struct {
	user, cid          string
	hash               uint64
	sends              int
	conn               uint32
	acked, seen, final uint64
	ackEpoch           string
	seenEpoch          string
	line               int // of its ack
}

// NewChecker returns a Checker that has seen nothing.
func NewChecker() *Checker {
	c := &Checker{verdicts: map[string]*Verdict{}, seed: maphash.MakeSeed(), conns: map[connID]*conn{},
		rooms: map[string]*room{}, posts: map[uint64]*post{}}
	for _, i := range invariants {
		c.verdicts[i.id] = &Verdict{Invariant: i.id, Text: i.text}
	}
	return c
}

// Verdicts are those of all invariants, in their order. They are final after Check.
func (c *Checker) Verdicts() []Verdict {
	out := make([]Verdict, 0, len(invariants))
	for _, i := range invariants {
		out = append(out, *c.verdicts[i.id])
	}
	return out
}

func (c *Checker) held(invariant string, ok bool, format string, args ...any) bool {
	v := c.verdicts[invariant]
	v.Checked++
	if ok {
		return true
	}
	v.Violations++
	if c.last.Timed {
		v.Late++
	}
	if v.First == "" {
		v.First = fmt.Sprintf(format, args...) + fmt.Sprintf(" (line %d: %s)", c.lines, c.line())
	}
	return false
}

func (c *Checker) line() string {
	raw, err := json.Marshal(c.last)
	if err != nil {
		return err.Error()
	}
	return string(raw)
}

// Add takes the next line.
func (c *Checker) Add(l Line) {
	c.lines++
	c.last = l
	switch l.Kind {
	case Opened:
		c.opened++
		c.conns[connID{l.Client, l.Conn}] = &conn{user: l.User, number: c.opened, rooms: map[string]*position{}}
	case Closed:
		delete(c.conns, connID{l.Client, l.Conn})
	case Joined, Gap, Reset, Left, Delivered:
		if on := c.conns[connID{l.Client, l.Conn}]; on != nil {
			c.seen(on, l)
		}
	case Sent:
		c.sent(l)
	case Acked:
		c.ack(l)
	case Fault:
		c.excused = c.excused || l.Excuse
	case Healed:
		c.held("I10", l.Took <= l.Bound, "after %s room %s delivered again in %d ms, allowed are %d", l.Code, l.Room, l.Took, l.Bound)
	case Final:
		c.entry(l)
	case Head:
		c.head(l)
	case Presence:
		c.presence(l)
	case Measured:
		c.held(l.Code, l.Took <= l.Bound, "%s: %d, allowed are %d", l.Text, l.Took, l.Bound)
	case Looked:
		c.held(l.Code, l.Text == "", "%s", l.Text)
	}
}

func (c *Checker) room(name string) *room {
	r := c.rooms[name]
	if r == nil {
		r = &room{mids: map[string]map[uint64]uint64{}, finals: map[uint64]uint64{}}
		c.rooms[name] = r
	}
	return r
}

func (c *Checker) post(room, user, cid string) *post {
	return c.posts[c.key(room, user, cid)]
}

func (c *Checker) key(room, user, cid string) uint64 {
	return maphash.Comparable(c.seed, [3]string{room, user, cid})
}

func (c *Checker) sent(l Line) {
	key := c.key(l.Room, l.User, l.CID)
	p := c.posts[key]
	if p == nil {
		p = &post{user: l.User, cid: l.CID, hash: l.Hash}
		if on := c.conns[connID{l.Client, l.Conn}]; on != nil {
			p.conn = on.number
		}
		c.posts[key] = p
		r := c.room(l.Room)
		r.posts = append(r.posts, p)
	}
	p.sends++
}

func (c *Checker) ack(l Line) {
	p := c.post(l.Room, l.User, l.CID)
	if p == nil {
		c.held("I2", false, "%s was acknowledged and never sent", l.CID)
		return
	}
	if p.acked != 0 && p.ackEpoch == l.Epoch {
		c.doubt("I4", l.Room, l.Epoch, p.acked == l.Seq, "%s was acknowledged as %d and as %d", l.CID, p.acked, l.Seq)
	}
	p.acked, p.ackEpoch, p.line = l.Seq, l.Epoch, c.lines
	c.agree(l.Room, p)
}

// agree compares what was acknowledged with what was delivered under the same epoch.
func (c *Checker) agree(name string, p *post) {
	if p.acked != 0 && p.seen != 0 && p.ackEpoch == p.seenEpoch {
		c.doubt("I7", name, p.ackEpoch, p.acked == p.seen, "%s of %s was acknowledged as %d and delivered as %d", p.cid, p.user, p.acked, p.seen)
	}
}

// doubt is held for something that hangs on the epoch of an acknowledgement. Those
// do not name it, and one may come before the reset that tells of another epoch: a
// mismatch stands only if the client's epoch turns out to be the room's last one.
func (c *Checker) doubt(invariant, name, epoch string, ok bool, format string, args ...any) {
	if ok {
		c.held(invariant, true, "")
		return
	}
	line, last := c.lines, c.last
	c.doubts = append(c.doubts, func() {
		r := c.room(name)
		c.lines, c.last = line, last
		c.held(invariant, len(r.epochs) > 0 && r.epochs[len(r.epochs)-1] != epoch, format, args...)
	})
}

func (c *Checker) presence(l Line) {
	var truth []string
	for _, on := range c.conns {
		if on.rooms[l.Room] != nil {
			truth = append(truth, on.user)
		}
	}
	slices.Sort(truth)
	truth = slices.Compact(truth)
	said := slices.Sorted(slices.Values(l.Users))
	c.held("I9", slices.Equal(truth, said), "%s says of room %s: missing %v, ghosts %v", l.Client, l.Room, without(truth, said), without(said, truth))
}

func without(all, some []string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(s string) bool { return slices.Contains(some, s) })
}

// finish looks at what can be told only at the end.
func (c *Checker) finish() {
	for _, decide := range c.doubts {
		decide()
	}
	names := slices.SortedFunc(maps.Keys(c.rooms), cmp.Compare[string])
	for _, name := range names {
		r := c.rooms[name]
		for _, p := range r.posts {
			if p.acked != 0 && r.read {
				c.last, c.lines = Line{Kind: Acked, Room: name, User: p.user, CID: p.cid, Seq: p.acked, Epoch: p.ackEpoch}, p.line
				c.held("I1", p.final == p.acked || r.excuses(p), "the log of %s has %s of %s as %d, acknowledged was %d; epochs %v, kept %v",
					name, p.cid, p.user, p.final, p.acked, r.epochs, r.kept)
			}
		}
		c.inOrder(name, r)
		c.unjust(name, r)
	}
}

// inOrder holds what each connection sent once against the places that it got, in the log or
// where somebody was shown it. What it sent again may stand behind later sends.
func (c *Checker) inOrder(name string, r *room) {
	type sender struct {
		user  string
		conn  uint32
		epoch string
	}
	newest := map[sender]uint64{}
	for _, p := range r.posts {
		seq, epoch := p.seen, p.seenEpoch
		if p.final != 0 && len(r.epochs) > 0 {
			seq, epoch = p.final, r.epochs[len(r.epochs)-1]
		}
		if p.sends != 1 || seq == 0 {
			continue
		}
		from := sender{p.user, p.conn, epoch}
		c.last, c.lines = Line{Kind: Sent, Room: name, User: p.user, CID: p.cid, Seq: seq, Epoch: epoch}, p.line
		c.held("I6", seq >= newest[from], "%s of %s is entry %d of %s, one that it sent before is entry %d", p.cid, p.user, seq, name, newest[from])
		newest[from] = max(newest[from], seq)
	}
}

// excuses tells whether a change of epoch after the ack said that the entry is gone.
// What a reset kept must not end before that; other entries may have its number by
// now, because the log was written again before the reset was told.
func (r *room) excuses(p *post) bool {
	for i := slices.Index(r.epochs, p.ackEpoch) + 1; i > 0 && i < len(r.epochs); i++ {
		if r.kept[i] < p.acked || r.final >= p.acked {
			return true
		}
	}
	return false
}

// unjust finds gaps and resets that were told of entries that are still there.
func (c *Checker) unjust(name string, r *room) {
	for _, t := range r.losses {
		c.lines = t.line
		c.last = Line{Kind: Reset, Room: name, Epoch: t.epoch, Text: t.text}
		for seq := t.from + 1; seq <= t.to; seq++ {
			mid, there := r.finals[seq]
			if t.epoch != "" { // a reset: is it the entry that the client had?
				there = there && mid == r.mids[t.epoch][seq] && mid != 0
			}
			if !c.held("I5", !there, "%s, but entry %d of %s is still there", t.text, seq, name) {
				break
			}
		}
	}
}
