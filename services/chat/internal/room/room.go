// Package room decides what becomes of commands: it is the state of one room, as
// far as decisions need it, and pure functions over it. It reads no clock, does
// no I/O and starts nothing; whoever calls it appends the entries it makes and
// says what it decided. A Room is not safe for concurrent use.
package room

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/parley-chat/parley/shared/event"
)

// Limits is how much a room keeps.
type Limits struct {
	Keep          int           // entries of the log
	DedupeEntries int           // sends that are recognised when they come again: at least so many,
	DedupeAge     time.Duration // and at least for so long, as far as the log is kept
}

// MaxLast is how many of the newest entries a join may ask for.
const MaxLast = 200

// Room is one room under one epoch. Head and Floor are its newest and oldest
// kept entry; a room without entries has head 0 and floor 1.
type Room struct {
	ID    event.RoomID
	Epoch event.Epoch
	Head  uint64
	Floor uint64

	limits Limits
	tail   *index // nil: not read yet
	reach  uint64 // every entry from here on is in tail

	// Of the entries above loaded, which this owner appended itself, those up to
	// told were published; those above decided are of the batch in hand.
	loaded, told, decided uint64
}

// New returns a room as its log shows it. Before its first Post it has to Recall
// its tail.
func New(id event.RoomID, epoch event.Epoch, head, floor uint64, limits Limits) *Room {
	if head == 0 {
		floor = 1
	}
	return &Room{ID: id, Epoch: epoch, Head: head, Floor: max(floor, 1), limits: limits,
		loaded: head, told: head, decided: head}
}

// Ready tells whether Post can be decided: the tail is known, or there is none.
func (r *Room) Ready() bool { return r.tail != nil || r.Head == 0 }

// Recall reads the log's tail through next, which gives the entries from the
// head down and false after the oldest. It asks for as much as dedupe needs at
// the time now (Unix ms). After an error the room is as it was.
func (r *Room) Recall(now int64, next func() (event.Entry, bool, error)) error {
	type remembered struct {
		place
		body uint64
	}
	since := now - r.limits.DedupeAge.Milliseconds()
	var read []remembered
	for n := 0; n < r.limits.DedupeEntries || (n < r.limits.Keep && read[n-1].at >= since); n++ {
		e, ok, err := next()
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		read = append(read, remembered{placeOf(e), bodyHash(e.Body)})
	}
	r.tail, r.reach = newIndex(len(read)), r.Head+1
	for _, e := range slices.Backward(read) {
		r.tail.add(e.place, e.body)
		r.reach = min(r.reach, e.seq)
	}
	return nil
}

// Cost estimates the bytes that the room takes in memory.
func (r *Room) Cost() int64 {
	const fixed = 512
	if r.tail == nil {
		return fixed
	}
	return fixed + int64(r.tail.len())*indexCost
}

// Join decides where a subscription begins.
func (r *Room) Join(j event.JoinRoom) event.RoomJoined {
	joined := event.RoomJoined{Epoch: r.Epoch, Head: r.Head, Floor: r.Floor, After: r.Head}
	switch since := j.Since; {
	case since != nil && (since.Epoch != r.Epoch || since.Seq > r.Head):
		joined.Reset = true
	case since != nil && since.Seq+1 < r.Floor:
		joined.Gap = &event.Range{From: since.Seq + 1, To: r.Floor - 1}
		joined.After = joined.Gap.To
	case since != nil:
		joined.After = since.Seq
	case j.Last > 0:
		n := min(uint64(j.Last), MaxLast, r.Head)
		joined.After = max(r.Head-n, r.Floor-1)
	}
	return joined
}

// Beyond tells whether the cursor is of this epoch and beyond the head: then the
// client is wrong, or the log lost its tail.
func (r *Room) Beyond(c *event.Cursor) bool {
	return c != nil && c.Epoch == r.Epoch && c.Seq > r.Head
}

// Posting is what became of a PostMessage that was not refused.
type Posting struct {
	Entry event.Entry // to be appended; of a duplicate only Seq and At are set
	Dup   bool        // the log had it already
	// Again: it is not known that the entry's event was ever published (this owner
	// did not append it, or could not publish it), so it is due once more.
	Again bool
}

// Post decides a send; the room must be Ready. A new entry counts at once: the
// caller appends it, or forgets the room. id and now (Unix ms) are the new entry's.
func (r *Room) Post(from event.UserID, p event.PostMessage, id event.MessageID, now int64) (Posting, *event.Refusal) {
	if !r.Ready() {
		return Posting{}, &event.Refusal{Code: "internal", Message: "the room's tail was not read before a send", CID: p.CID}
	}
	if r.tail == nil {
		r.tail, r.reach = newIndex(0), 1
	}
	hash := bodyHash(p.Body)
	if e, ok := r.tail.sends[keyOf(from, p.CID)]; ok {
		if e.body != hash {
			return Posting{}, conflict(p.CID, fmt.Sprintf("cid is in use: entry %d has it with another body", e.seq))
		}
		return Posting{Entry: event.Entry{Seq: e.seq, At: e.at}, Dup: true, Again: r.untold(e.seq)}, nil
	}
	if p.Since != nil && !r.reaches(*p.Since) {
		return Posting{}, conflict(p.CID, fmt.Sprintf("too old to tell whether it was sent: look for the cid in the history after %d, and send it under a new one if it is not there", p.Since.Seq))
	}
	r.Head++
	e := event.Entry{Seq: r.Head, ID: id, From: from, CID: p.CID, Kind: event.KindMessage, Body: json.RawMessage(p.Body), At: now}
	r.tail.add(placeOf(e), hash)
	r.shorten(now)
	return Posting{Entry: e}, nil
}

// Appended says that the log has every entry up to the head.
func (r *Room) Appended() { r.decided = r.Head }

// Told says that the events of every entry up to the head are published.
func (r *Room) Told() { r.told, r.decided = r.Head, r.Head }

// untold tells whether the entry's event may never have been published and is
// not of the batch in hand either.
func (r *Room) untold(seq uint64) bool {
	return seq <= r.loaded || (seq > r.told && seq <= r.decided)
}

// reaches tells whether every send after the cursor is remembered. Under another
// epoch seqs may have been given twice, so there it takes the whole log.
func (r *Room) reaches(c event.Cursor) bool {
	if c.Epoch != r.Epoch {
		return r.reach <= 1
	}
	return c.Seq >= r.reach-1
}

// shorten moves the floor by count and forgets what dedupe need not know.
func (r *Room) shorten(now int64) {
	if keep := uint64(r.limits.Keep); r.Head > keep {
		r.Floor = max(r.Floor, r.Head-keep+1)
	}
	r.tail.forget(r.limits.DedupeEntries, max(r.limits.Keep, r.limits.DedupeEntries), now-r.limits.DedupeAge.Milliseconds())
	if r.tail.len() > 0 {
		r.reach = r.tail.oldest().seq
	}
}

func conflict(cid event.ClientID, message string) *event.Refusal {
	return &event.Refusal{Code: "conflict", Message: message, CID: cid}
}
