package room

import (
	"crypto/sha256"
	"encoding/binary"
	"strconv"

	"github.com/parley-chat/parley/shared/event"
)

// key stands for (from, cid). It is a cryptographic hash because a sender
// chooses both and must not be able to make another's collide.
type key [16]byte

func keyOf(from event.UserID, cid event.ClientID) key {
	b := make([]byte, 0, 256)
	b = append(b, from...)
	b = append(b, 0) // no user's name has a control character
	b = append(b, cid...)
	sum := sha256.Sum256(b)
	return key(sum[:16])
}

func bodyHash(body []byte) uint64 {
	sum := sha256.Sum256(body)
	return binary.LittleEndian.Uint64(sum[:8])
}

// known is what is remembered of a send.
type known struct {
	seq  uint64
	body uint64
	at   int64
}

// place is one remembered entry in the log's order.
type place struct {
	key key
	seq uint64
	at  int64
}

func placeOf(e event.Entry) place {
	if e.CID == "" { // of a kind that no send makes: it only keeps its place
		return place{key: keyOf("", event.ClientID(strconv.FormatUint(e.Seq, 10))), seq: e.Seq, at: e.At}
	}
	return place{key: keyOf(e.From, e.CID), seq: e.Seq, at: e.At}
}

// index remembers the tail of a log by (from, cid), without holes; the oldest
// are forgotten first.
type index struct {
	sends map[key]known
	order []place // oldest first
	gone  int     // so many of order are forgotten
}

// indexCost estimates the bytes that one remembered entry takes: key and value in
// the map with its slack, and its place.
const indexCost = 2*(16+24) + 32

func newIndex(n int) *index {
	return &index{sends: make(map[key]known, n), order: make([]place, 0, n)}
}

func (x *index) len() int { return len(x.order) - x.gone }

func (x *index) oldest() place { return x.order[x.gone] }

func (x *index) add(p place, body uint64) {
	x.sends[p.key] = known{seq: p.seq, body: body, at: p.at}
	x.order = append(x.order, p)
}

// forget drops the oldest: what is more than atMost, and of what is more than
// atLeast whatever is older than since.
func (x *index) forget(atLeast, atMost int, since int64) {
	for x.len() > atLeast && (x.len() > atMost || x.oldest().at < since) {
		p := x.oldest()
		if x.sends[p.key].seq == p.seq { // else the cid came again later
			delete(x.sends, p.key)
		}
		x.gone++
	}
	if x.gone > 64 && x.gone > len(x.order)/2 {
		x.order = append([]place(nil), x.order[x.gone:]...)
		x.gone = 0
	}
}

// Recognises tells whether a repeat of the send would be recognised now. It is
// asked of a room that is Ready.
func (r *Room) Recognises(from event.UserID, cid event.ClientID) bool {
	if r.tail == nil || cid == "" {
		return false
	}
	_, known := r.tail.sends[keyOf(from, cid)]
	return known
}
