package room

import "github.com/parley-chat/parley/shared/event"

// What one page of history holds at most, and how many entries it has when
// nobody says.
const (
	MaxPage      = 200
	MaxPageBytes = 256 << 10
	DefaultPage  = 50
)

// Bounds are the entries that a page may hold: From … To, both inclusive, at
// most Limit; the newest of them when Backward, else the oldest. From is above
// To when there are none.
type Bounds struct {
	From, To uint64
	Limit    int
	Backward bool
}

// Page decides the bounds of a page of a log with this floor and head.
func Page(r event.ReadHistory, floor, head uint64) Bounds {
	b := Bounds{From: max(floor, 1), To: head, Limit: r.Limit, Backward: r.After == nil}
	if b.Limit <= 0 {
		b.Limit = DefaultPage
	}
	b.Limit = min(b.Limit, MaxPage)
	if r.Before > 0 {
		b.To = min(head, r.Before-1)
	}
	if r.After != nil {
		if *r.After >= head {
			return Bounds{From: 1, To: 0, Limit: b.Limit}
		}
		b.From = max(b.From, *r.After+1)
	}
	return b
}

// Empty tells whether there is nothing to read.
func (b Bounds) Empty() bool { return b.From > b.To }

// More tells whether entries of the bounds were left out of a page that holds
// first … last.
func (b Bounds) More(first, last uint64) bool {
	if b.Backward {
		return first > b.From
	}
	return last < b.To
}
