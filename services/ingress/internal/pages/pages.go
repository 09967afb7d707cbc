// Package pages keeps the pages of history that chat read last, encoded, by what
// was asked: who asks the same again need not have it all read and carried again.
package pages

import (
	"container/list"
	"sync"
	"time"
)

// Question is what a page answers. Before and After are exclusive; Before 0: none.
type Question struct {
	Room          string
	Before, After uint64
	FromAfter     bool // After is set
	Limit         int
}

// Page is an answer as it was when chat gave or confirmed it. It is never changed.
type Page struct {
	Epoch       string
	Head, Floor uint64
	More        bool
	Entries     []byte // encoded, as a list
	Confirmed   time.Time
}

// overhead is about what a page takes besides its entries and the room's name.
const overhead = 256

// Cache holds pages up to a number of bytes; those asked for least lately go first.
// Safe for concurrent use.
type Cache struct {
	max int64

	mu    sync.Mutex
	by    map[Question]*list.Element
	order *list.List // of *kept, most recently used first
	bytes int64
}

type kept struct {
	question Question
	page     *Page
	cost     int64
}

// New returns a cache of at most so many bytes; 0: it keeps nothing.
func New(bytes int64) *Cache {
	return &Cache{max: bytes, by: map[Question]*list.Element{}, order: list.New()}
}

// Get returns the page that was kept, or nil.
func (c *Cache) Get(q Question) *Page {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.by[q]
	if e == nil {
		return nil
	}
	c.order.MoveToFront(e)
	return e.Value.(*kept).page
}

// Put keeps a page, unless it alone is more than the cache may hold.
func (c *Cache) Put(q Question, p *Page) {
	cost := int64(len(p.Entries) + len(q.Room) + overhead)
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.by[q]; e != nil {
		c.remove(e)
	}
	if cost > c.max {
		return
	}
	c.by[q] = c.order.PushFront(&kept{q, p, cost})
	c.bytes += cost
	for c.bytes > c.max {
		c.remove(c.order.Back())
	}
}

func (c *Cache) remove(e *list.Element) {
	k := c.order.Remove(e).(*kept)
	delete(c.by, k.question)
	c.bytes -= k.cost
}

// Bytes is what the pages take in memory.
func (c *Cache) Bytes() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bytes
}
