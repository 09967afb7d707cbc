package ring

import "github.com/parley-chat/parley/services/ingress/protocol"

// Cursor is a subscription: everything up to and with Seq has been given to its
// socket. The zero value begins before the first entry.
type Cursor struct {
	Seq   uint64
	Given uint32 // entries so far; it wraps around
	void  bool   // the next thing to say is reset
}

// State is what is left to do for a cursor.
type State int

// Live: the cursor is at the head. More: there is more at hand than fitted.
// Behind: a page after the cursor is needed, and Next goes on when it is there.
const (
	Live State = iota
	More
	Behind
)

// Void tells the cursor that the epoch has changed: what it is past of the new
// log's entries is void. It is to be called after Reset.
func (l *Log) Void(c *Cursor) {
	c.Seq = min(c.Seq, l.head)
	c.void = true
}

// Next appends to buf the frames that follow the cursor, each with a line feed
// after it, and moves the cursor past them. It stops when buf has limit bytes or
// more; one frame is always taken.
func (l *Log) Next(c *Cursor, buf []byte, limit int) ([]byte, State) {
	if c.void {
		c.void = false
		buf = protocol.AppendReset(buf, &protocol.Reset{Room: l.room, Epoch: l.epoch, Seq: c.Seq})
		buf = append(buf, '\n')
	}
	for c.Seq < l.head {
		entries, ok := l.after(c, &buf)
		if !ok {
			return buf, Behind
		}
		for _, e := range entries {
			buf = append(append(buf, e.Frame...), '\n')
			c.Seq = e.Seq
			c.Given++
			if len(buf) >= limit {
				return buf, l.state(c)
			}
		}
	}
	return buf, Live
}

func (l *Log) state(c *Cursor) State {
	if c.Seq < l.head {
		return More
	}
	return Live
}

// after returns entries that follow the cursor, from the ring or the older page.
// Where the page says that some are gone it appends the gap and moves the cursor
// over it. ok is false when neither has what follows.
func (l *Log) after(c *Cursor, buf *[]byte) (entries []Entry, ok bool) {
	if l.covers(c.Seq) {
		return l.recent[c.Seq+1-l.first():], true
	}
	p := l.older
	if p == nil || c.Seq < p.After || c.Seq >= p.last() {
		return nil, false
	}
	if gap, gone := gapAfter(p, c.Seq); gone {
		*buf = protocol.AppendGap(*buf, &protocol.Gap{Room: l.room, From: gap.From, To: gap.To})
		*buf = append(*buf, '\n')
		c.Seq = gap.To
	}
	for i, e := range p.Entries {
		if e.Seq > c.Seq {
			return p.Entries[i:], true
		}
	}
	return nil, true
}
