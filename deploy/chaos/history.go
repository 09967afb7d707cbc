package chaos

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"sync"
	"time"
)

// Kind says what a Line of a history tells.
type Kind string

// What clients tell, in the order in which a connection saw it; a sent is written
// down before it leaves.
const (
	Opened    Kind = "opened"    // a connection got its welcome
	Joined    Kind = "joined"    // Epoch, After, Reset, From–To of a gap; Since: what was asked
	Sent      Kind = "sent"      // CID, Hash; each try is a line
	Acked     Kind = "acked"     // CID, Seq; Epoch: the one the client held then
	Refused   Kind = "refused"   // CID, Code
	Delivered Kind = "delivered" // Seq, MID, User (who sent), CID, Hash
	Gap       Kind = "gap"       // From, To
	Reset     Kind = "reset"     // Epoch, Seq
	Left      Kind = "left"      // the ok of a leave
	Closed    Kind = "closed"    // a connection ended, Code says how
)

// What the run tells.
const (
	Fault    Kind = "fault"    // Code, Text; Excuse: from here on entries may really be lost
	Ended    Kind = "ended"    // the fault is taken back, everything should work again
	Healed   Kind = "healed"   // Room: a message sent after the fault was delivered, Took and Bound in ms
	Final    Kind = "final"    // at rest: an entry of the room's log, ascending
	Head     Kind = "head"     // at rest, after a room's Finals: Seq and Epoch of its log
	Presence Kind = "presence" // at rest: Users that the edge Client says are in the room
	Measured Kind = "measured" // Code: the invariant; Text: what; Took and Bound: how much it was, and may be
	Looked   Kind = "looked"   // Code: an invariant that the run looked at itself; Text: what it found, empty if all was well
)

// Line is one line of a history. Fields that a kind has not are zero.
type Line struct {
	At     int64    `json:"at"` // µs since the run began
	Kind   Kind     `json:"kind"`
	Client string   `json:"client,omitempty"` // a session
	Conn   int      `json:"conn,omitempty"`   // its how manyeth connection
	User   string   `json:"user,omitempty"`
	Room   string   `json:"room,omitempty"`
	Epoch  string   `json:"epoch,omitempty"`
	Seq    uint64   `json:"seq,omitempty"`
	MID    string   `json:"mid,omitempty"`
	CID    string   `json:"cid,omitempty"`
	Hash   uint64   `json:"hash,omitempty"` // of the body
	After  uint64   `json:"after,omitempty"`
	From   uint64   `json:"from,omitempty"`
	To     uint64   `json:"to,omitempty"`
	Reset  bool     `json:"reset,omitempty"`
	Since  *Since   `json:"since,omitempty"`
	Code   string   `json:"code,omitempty"`
	Excuse bool     `json:"excuse,omitempty"`
	Timed  bool     `json:"timed,omitempty"` // a machine that is too busy may be why
	Took   int64    `json:"took_ms,omitempty"`
	Bound  int64    `json:"bound_ms,omitempty"`
	Users  []string `json:"users,omitempty"`
	Text   string   `json:"text,omitempty"`
}

// Since is a cursor that a client showed.
type Since struct {
	Epoch string `json:"epoch"`
	Seq   uint64 `json:"seq"`
}

// bodyHash identifies a body; 0 is none.
func bodyHash(body []byte) uint64 {
	h := fnv.New64a()
	_, _ = h.Write(body)
	return h.Sum64() | 1
}

// Recorder writes a history. Safe for concurrent use; lines of one goroutine keep
// their order.
type Recorder struct {
	began time.Time

	mu   sync.Mutex
	file *os.File
	out  *bufio.Writer
	enc  *json.Encoder
	n    map[Kind]int
	code map[string]int // Closed lines
	err  error
}

// Record begins a history in a new file.
func Record(path string) (*Recorder, error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	out := bufio.NewWriterSize(f, 1<<16)
	return &Recorder{began: time.Now(), file: f, out: out, enc: json.NewEncoder(out), n: map[Kind]int{}, code: map[string]int{}}, nil
}

// Write adds a line and dates it.
func (r *Recorder) Write(l Line) {
	r.mu.Lock()
	defer r.mu.Unlock()
	l.At = time.Since(r.began).Microseconds()
	r.n[l.Kind]++
	if l.Kind == Closed {
		r.code[l.Code]++
	}
	if err := r.enc.Encode(&l); r.err == nil {
		r.err = err
	}
}

// Count is how many lines of a kind were written.
func (r *Recorder) Count(k Kind) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.n[k]
}

// Code is how many connections ended with a code.
func (r *Recorder) Code(code string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.code[code]
}

// Close writes what waits and tells whether the history is whole.
func (r *Recorder) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return errors.Join(r.err, r.out.Flush(), r.file.Close())
}

// Check reads a history, line by line, into a new Checker.
func Check(history io.Reader) (*Checker, error) {
	c := NewChecker()
	in := bufio.NewScanner(history)
	in.Buffer(make([]byte, 1<<16), 1<<24)
	for in.Scan() {
		var l Line
		if err := json.Unmarshal(in.Bytes(), &l); err != nil {
			return nil, fmt.Errorf("line %d of the history: %w", c.lines+1, err)
		}
		c.Add(l)
	}
	if err := in.Err(); err != nil {
		return nil, fmt.Errorf("read the history: %w", err)
	}
	c.finish()
	return c, nil
}
