// Package ring holds what an edge remembers of a room's log, and the cursors
// that its subscribers are. A Log is the room's head, a ring of the newest
// encoded entries without a hole, at most one page of older ones, and the
// entries that came before their turn; a Cursor is a number that moves through
// them. It is pure: no lock, no clock, no I/O; the caller guards a Log and its
// cursors with one mutex.
package ring

import "github.com/parley-chat/parley/services/ingress/protocol"

// Entry is one encoded entry, shared by all sockets that it goes to.
type Entry struct {
	Seq   uint64
	Frame []byte // one JSON object, never changed
}

// Page is a run of the log as chat read it: the entries after After, ascending
// and without a hole, beginning at Floor where that is higher.
type Page struct {
	Epoch   string
	After   uint64
	Floor   uint64 // the oldest entry that is kept
	Entries []Entry
}

// last is the seq up to which the page says what there is.
func (p *Page) last() uint64 {
	if n := len(p.Entries); n > 0 {
		return p.Entries[n-1].Seq
	}
	return max(p.After, max(p.Floor, 1)-1)
}

// Bounds are the most a ring may hold.
type Bounds struct {
	Entries int
	Bytes   int
}

// Log is what an edge knows of one room's log under one epoch.
type Log struct {
	room   string
	bounds Bounds

	epoch  string
	head   uint64  // newest seq without a hole below it
	want   uint64  // newest seq heard of; above head: there is a hole
	recent []Entry // ends with head; may be empty
	older  *Page   // the last catch-up page that did not fit before recent
	ahead  map[uint64][]byte
	bytes  int // of recent and older
	early  int // bytes of ahead
}

// NewLog returns the log of a room of which nothing is known but its head.
func NewLog(room string, bounds Bounds, epoch string, head uint64) *Log {
	return &Log{room: room, bounds: bounds, epoch: epoch, head: head, want: head}
}

// Epoch is the tag under which the log's seqs are unique.
func (l *Log) Epoch() string { return l.epoch }

// Head is the newest seq that every subscriber can be given.
func (l *Log) Head() uint64 { return l.head }

// Bytes is what the log keeps in memory.
func (l *Log) Bytes() int { return l.bytes + l.early }

// Hole tells whether entries are known to exist that never came; a page after
// Head has them.
func (l *Log) Hole() bool { return l.want > l.head }

// Heard says that the log reaches to head: what is between is a hole.
func (l *Log) Heard(head uint64) { l.want = max(l.want, head) }

// Add takes an entry of the present epoch. It reports whether the head moved.
// Entries at or below the head are known already; one above head + 1 waits
// until the hole before it is filled, as long as there is room to wait in.
func (l *Log) Add(e Entry) (moved bool) {
	switch {
	case e.Seq <= l.head:
		return false
	case e.Seq > l.head+1:
		l.Heard(e.Seq)
		l.wait(e)
		return false
	}
	l.append(e)
	for frame, ok := l.ahead[l.head+1]; ok; frame, ok = l.ahead[l.head+1] {
		delete(l.ahead, l.head+1)
		l.early -= len(frame)
		l.append(Entry{l.head + 1, frame})
	}
	return true
}

func (l *Log) wait(e Entry) {
	if _, known := l.ahead[e.Seq]; known || len(l.ahead) >= l.bounds.Entries || l.early+len(e.Frame) > l.bounds.Bytes {
		return // it is heard of; a page will bring it
	}
	if l.ahead == nil {
		l.ahead = make(map[uint64][]byte)
	}
	l.ahead[e.Seq] = e.Frame
	l.early += len(e.Frame)
}

func (l *Log) append(e Entry) {
	l.recent = append(l.recent, e)
	l.head = e.Seq
	l.want = max(l.want, l.head)
	l.bytes += len(e.Frame)
	l.trim(l.bounds)
}

// trim drops the oldest of recent until it is within b. The newest stays.
func (l *Log) trim(b Bounds) {
	n, size := 0, l.bytes-l.olderBytes()
	for len(l.recent)-n > 1 && (len(l.recent)-n > b.Entries || size > b.Bytes) {
		size -= len(l.recent[n].Frame)
		l.bytes -= len(l.recent[n].Frame)
		l.recent[n] = Entry{}
		n++
	}
	l.recent = l.recent[n:]
}

// AddPage takes a page of the log and reports whether the head moved. A page of
// another epoch is dropped. What it has above the head is appended; what it has
// below is kept for the cursors that lie in it, in front of the ring where it
// fits, else as the one older page.
func (l *Log) AddPage(p Page) (moved bool) {
	if p.Epoch != l.epoch {
		return false
	}
	if p.After <= l.head {
		if p.Floor > l.head+1 { // what was between is gone: the log goes on at the floor
			l.skip(p.Floor - 1)
			moved = true
		}
		for _, e := range p.Entries {
			moved = l.Add(e) || moved
		}
	}
	if l.covers(p.After) || p.After >= l.head {
		return moved
	}
	if !l.prepend(&p) {
		l.keep(&p)
	}
	return moved
}

// skip moves the head over entries that are gone.
func (l *Log) skip(to uint64) {
	l.bytes -= size(l.recent)
	l.recent = nil
	l.head = to
	l.want = max(l.want, to)
	for seq, frame := range l.ahead {
		if seq <= to {
			l.early -= len(frame)
			delete(l.ahead, seq)
		}
	}
}

// prepend puts the page before the ring, if it reaches it and all of it fits.
func (l *Log) prepend(p *Page) bool {
	first := l.first()
	if p.last()+1 < first || p.Floor > p.After+1 {
		return false
	}
	var front []Entry
	for _, e := range p.Entries {
		if e.Seq < first {
			front = append(front, e)
		}
	}
	recent := l.bytes - l.olderBytes()
	if len(front)+len(l.recent) > l.bounds.Entries || size(front)+recent > l.bounds.Bytes {
		return false
	}
	l.bytes += size(front)
	l.recent = append(front, l.recent...)
	return true
}

func (l *Log) keep(p *Page) {
	l.bytes -= l.olderBytes()
	l.older = p
	l.bytes += l.olderBytes()
}

func (l *Log) olderBytes() int {
	if l.older == nil {
		return 0
	}
	return size(l.older.Entries)
}

func size(entries []Entry) (n int) {
	for _, e := range entries {
		n += len(e.Frame)
	}
	return n
}

// first is the oldest seq of the ring, head + 1 when it is empty.
func (l *Log) first() uint64 { return l.head + 1 - uint64(len(l.recent)) }

// covers tells whether the ring has all entries after seq.
func (l *Log) covers(seq uint64) bool { return seq+1 >= l.first() }

// Shrink gives all memory back; cursors behind the head will ask for pages. It
// returns how many bytes that were.
func (l *Log) Shrink() int {
	n := l.Bytes()
	l.recent, l.older, l.ahead = nil, nil, nil
	l.bytes, l.early = 0, 0
	return n
}

// Forget drops the older page, which no cursor has use for once all are through.
func (l *Log) Forget() {
	l.bytes -= l.olderBytes()
	l.older = nil
}

// Reset goes on under a new epoch, whose head is head. The caller then calls
// Void for each cursor.
func (l *Log) Reset(epoch string, head uint64) {
	l.Shrink()
	l.epoch, l.head, l.want = epoch, head, head
}

// gapAfter is the range of entries after seq that the page says are gone.
func gapAfter(p *Page, seq uint64) (gap protocol.Range, ok bool) {
	if p.Floor <= seq+1 {
		return gap, false
	}
	return protocol.Range{From: seq + 1, To: p.Floor - 1}, true
}
