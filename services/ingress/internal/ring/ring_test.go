package ring

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func entry(seq uint64) Entry {
	return Entry{Seq: seq, Frame: fmt.Appendf(nil, `{"type":"message","room":"r","seq":%d}`, seq)}
}

func entries(from, to uint64) (out []Entry) {
	for seq := from; seq <= to; seq++ {
		out = append(out, entry(seq))
	}
	return out
}

// said reads what a cursor was given, in short: "3 4 gap5-7 8 reset@2".
func said(t interface{ Fatalf(string, ...any) }, buf []byte) string {
	var words []string
	for _, line := range strings.Split(strings.TrimSuffix(string(buf), "\n"), "\n") {
		if line == "" {
			continue
		}
		var f struct {
			Type     string
			Epoch    string
			Seq      uint64
			From, To uint64
		}
		if err := json.Unmarshal([]byte(line), &f); err != nil {
			t.Fatalf("a frame is no JSON: %q", line)
		}
		switch f.Type {
		case "message":
			words = append(words, fmt.Sprint(f.Seq))
		case "gap":
			words = append(words, fmt.Sprintf("gap%d-%d", f.From, f.To))
		case "reset":
			words = append(words, fmt.Sprintf("reset%s@%d", f.Epoch, f.Seq))
		default:
			t.Fatalf("unexpected frame %q", line)
		}
	}
	return strings.Join(words, " ")
}

func TestNext(t *testing.T) {
	bounds := Bounds{Entries: 4, Bytes: 1 << 20}
	tests := []struct {
		name   string
		head   uint64
		do     func(*Log)
		cursor uint64
		want   string
		state  State
	}{
		{name: "live and quiet", head: 5, cursor: 5},
		{name: "live entry", head: 5, do: func(l *Log) { l.Add(entry(6)) }, cursor: 5, want: "6"},
		{name: "known entry", head: 5, do: func(l *Log) { l.Add(entry(5)) }, cursor: 5},
		{name: "behind an empty ring", head: 5, cursor: 2, state: Behind},
		{name: "a hole waits", head: 5, do: func(l *Log) { l.Add(entry(7)) }, cursor: 5},
		{name: "a hole is filled", head: 5, do: func(l *Log) { l.Add(entry(7)); l.Add(entry(6)) }, cursor: 5, want: "6 7"},
		{name: "a page fills it", head: 5, do: func(l *Log) {
			l.Add(entry(8))
			l.AddPage(Page{Epoch: "a", After: 5, Floor: 1, Entries: entries(6, 7)})
		}, cursor: 5, want: "6 7 8"},
		{name: "a page before the ring joins it", head: 5, do: func(l *Log) {
			l.AddPage(Page{Epoch: "a", After: 3, Floor: 1, Entries: entries(4, 5)})
		}, cursor: 4, want: "5"},
		{name: "a page that does not fit is kept", head: 9, do: func(l *Log) {
			l.AddPage(Page{Epoch: "a", After: 2, Floor: 1, Entries: entries(3, 9)})
		}, cursor: 2, want: "3 4 5 6 7 8 9"},
		{name: "a page short of the ring", head: 9, do: func(l *Log) {
			l.AddPage(Page{Epoch: "a", After: 2, Floor: 1, Entries: entries(3, 5)})
		}, cursor: 2, want: "3 4 5", state: Behind},
		{name: "a page that begins after the cursor", head: 9, do: func(l *Log) {
			l.AddPage(Page{Epoch: "a", After: 4, Floor: 1, Entries: entries(5, 9)})
		}, cursor: 3, state: Behind},
		{name: "a page of another epoch", head: 9, do: func(l *Log) {
			l.AddPage(Page{Epoch: "b", After: 2, Floor: 1, Entries: entries(3, 9)})
		}, cursor: 2, state: Behind},
		{name: "entries are gone", head: 9, do: func(l *Log) {
			l.AddPage(Page{Epoch: "a", After: 2, Floor: 6, Entries: entries(6, 9)})
		}, cursor: 2, want: "gap3-5 6 7 8 9"},
		{name: "a cursor inside the gap", head: 9, do: func(l *Log) {
			l.AddPage(Page{Epoch: "a", After: 2, Floor: 6, Entries: entries(6, 9)})
		}, cursor: 4, want: "gap5-5 6 7 8 9"},
		{name: "all entries are gone", head: 9, do: func(l *Log) {
			l.AddPage(Page{Epoch: "a", After: 2, Floor: 10})
		}, cursor: 2, want: "gap3-9"},
		{name: "a hole is gone", head: 5, do: func(l *Log) {
			l.Heard(9)
			l.AddPage(Page{Epoch: "a", After: 5, Floor: 8, Entries: entries(8, 9)})
		}, cursor: 5, want: "gap6-7 8 9"},
		{name: "off the ring", head: 0, do: func(l *Log) {
			for _, e := range entries(1, 6) {
				l.Add(e)
			}
		}, cursor: 1, state: Behind},
		{name: "on the ring", head: 0, do: func(l *Log) {
			for _, e := range entries(1, 6) {
				l.Add(e)
			}
		}, cursor: 2, want: "3 4 5 6"},
		{name: "shrunk", head: 0, do: func(l *Log) {
			l.Add(entry(1))
			l.Shrink()
			l.Add(entry(2))
		}, cursor: 1, want: "2"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			l := NewLog("r", bounds, "a", test.head)
			if test.do != nil {
				test.do(l)
			}
			c := Cursor{Seq: test.cursor}
			buf, state := l.Next(&c, nil, 1<<20)
			if got := said(t, buf); got != test.want || state != test.state {
				t.Errorf("said %q, state %d; want %q, state %d", got, state, test.want, test.state)
			}
		})
	}
}

func TestResetTellsEachCursor(t *testing.T) {
	l := NewLog("r", Bounds{4, 1 << 20}, "a", 9)
	low, high := Cursor{Seq: 3}, Cursor{Seq: 9}
	l.Reset("b", 5)
	l.Void(&low)
	l.Void(&high)
	l.Add(entry(6))
	buf, state := l.Next(&high, nil, 1<<20)
	if got := said(t, buf); got != "resetb@5 6" || state != Live {
		t.Errorf("the high cursor was told %q, %d", got, state)
	}
	buf, state = l.Next(&low, nil, 1<<20)
	if got := said(t, buf); got != "resetb@3" || state != Behind {
		t.Errorf("the low cursor was told %q, %d", got, state)
	}
}

func TestNextStopsAtTheLimit(t *testing.T) {
	l := NewLog("r", Bounds{10, 1 << 20}, "a", 0)
	for _, e := range entries(1, 5) {
		l.Add(e)
	}
	var c Cursor
	buf, state := l.Next(&c, nil, 1)
	if got := said(t, buf); got != "1" || state != More {
		t.Fatalf("said %q, state %d; want one entry and More", got, state)
	}
	if buf, state = l.Next(&c, nil, 1<<20); said(t, buf) != "2 3 4 5" || state != Live {
		t.Fatalf("went on with %q, state %d", said(t, buf), state)
	}
}

// chatLog is the truth in the model: what chat has of a room.
type chatLog struct {
	epoch       int
	floor, head uint64
}

func (c *chatLog) name() string { return fmt.Sprintf("e%d", c.epoch) }

func (c *chatLog) page(after uint64, limit int) Page {
	p := Page{Epoch: c.name(), After: after, Floor: c.floor}
	for seq := max(after+1, c.floor); seq <= c.head && len(p.Entries) < limit; seq++ {
		p.Entries = append(p.Entries, entry(seq))
	}
	return p
}

// reader checks what one cursor is given.
type reader struct {
	cursor Cursor
	at     uint64
	epoch  string
}

func (r *reader) read(t *rapid.T, truth *chatLog, buf []byte) {
	for _, word := range strings.Fields(said(t, buf)) {
		var from, to uint64
		var epoch string
		switch {
		case strings.HasPrefix(word, "gap"):
			_, _ = fmt.Sscanf(word, "gap%d-%d", &from, &to)
			if from != r.at+1 || to < from || r.epoch == truth.name() && to >= truth.floor {
				t.Fatalf("%s at %d, floor %d", word, r.at, truth.floor)
			}
			r.at = to
		case strings.HasPrefix(word, "reset"):
			epoch, at, _ := strings.Cut(strings.TrimPrefix(word, "reset"), "@")
			_, _ = fmt.Sscan(at, &to)
			if epoch == r.epoch || to > r.at {
				t.Fatalf("%s at %d of %s", word, r.at, r.epoch)
			}
			r.at, r.epoch = to, epoch
		default:
			_, _ = fmt.Sscan(word, &to)
			if to != r.at+1 {
				t.Fatalf("entry %d after %d", to, r.at)
			}
			r.at = to
		}
		_ = epoch
	}
	if r.at != r.cursor.Seq {
		t.Fatalf("the client is at %d, its cursor at %d", r.at, r.cursor.Seq)
	}
}

func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		truth := &chatLog{floor: 1, head: rapid.Uint64Range(0, 20).Draw(t, "head")}
		l := NewLog("r", Bounds{rapid.IntRange(1, 8).Draw(t, "entries"), rapid.IntRange(40, 400).Draw(t, "bytes")}, truth.name(), truth.head)
		var readers []*reader
		read := func(r *reader, limit int) State {
			buf, state := l.Next(&r.cursor, nil, limit)
			r.read(t, truth, buf)
			return state
		}
		sync := func() {
			if l.Epoch() != truth.name() {
				l.Reset(truth.name(), truth.head)
				for _, r := range readers {
					l.Void(&r.cursor)
				}
			}
			l.Heard(truth.head)
		}
		t.Repeat(map[string]func(*rapid.T){
			"post": func(t *rapid.T) {
				truth.head++
				if rapid.Bool().Draw(t, "heard") && l.Epoch() == truth.name() {
					l.Add(entry(truth.head))
				}
			},
			"trim": func(t *rapid.T) {
				truth.floor = rapid.Uint64Range(truth.floor, max(truth.head, truth.floor)).Draw(t, "floor")
			},
			"join": func(t *rapid.T) {
				if l.Epoch() == truth.name() && len(readers) < 5 {
					l.Heard(truth.head)
					at := rapid.Uint64Range(truth.floor-1, truth.head).Draw(t, "at")
					readers = append(readers, &reader{cursor: Cursor{Seq: at}, at: at, epoch: truth.name()})
				}
			},
			"read": func(t *rapid.T) {
				if len(readers) > 0 {
					read(rapid.SampledFrom(readers).Draw(t, "reader"), rapid.IntRange(1, 500).Draw(t, "limit"))
				}
			},
			"page": func(t *rapid.T) {
				l.AddPage(truth.page(rapid.Uint64Range(0, truth.head).Draw(t, "after"), rapid.IntRange(1, 6).Draw(t, "limit")))
			},
			"shrink": func(*rapid.T) { l.Shrink() },
			"lose": func(t *rapid.T) {
				truth.epoch++
				truth.head = rapid.Uint64Range(truth.floor-1, truth.head).Draw(t, "left")
				if truth.head < truth.floor {
					truth.head, truth.floor = 0, 1
				}
				sync()
			},
			"": func(t *rapid.T) {
				if l.Bytes() < 0 || l.want < l.head || len(l.recent) > 0 && l.recent[len(l.recent)-1].Seq != l.head {
					t.Fatalf("log out of shape: %+v", l)
				}
			},
		})
		sync()
		for l.Hole() {
			l.AddPage(truth.page(l.Head(), 5))
		}
		for _, r := range readers {
			for range 1000 {
				if state := read(r, 200); state == Behind {
					l.AddPage(truth.page(r.cursor.Seq, 5))
				} else if state == Live {
					break
				}
			}
			if r.at != truth.head {
				t.Fatalf("a reader ended at %d, the head is %d", r.at, truth.head)
			}
		}
	})
}
