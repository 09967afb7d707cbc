package socket

import (
	"sync"
	"time"
)

// pool is the few workers that write to all sockets. A connection stands in the
// queue at most once, so the queue is no longer than there are connections; while
// it waits there, more gathers for it, and goes out in the same write. Workers
// never block on a socket.
type pool struct {
	workers int
	wg      sync.WaitGroup

	mu     sync.Mutex
	some   sync.Cond
	queue  []*Conn
	head   int
	busy   int           // workers that write
	idle   chan struct{} // closed when nothing is queued and nobody writes; nil: nobody waits for that
	closed bool
}

func newPool(workers int, own func() *batch) *pool {
	p := &pool{workers: workers}
	p.some.L = &p.mu
	for range workers {
		p.wg.Go(func() { p.work(own()) })
	}
	return p
}

func (p *pool) push(conns ...*Conn) {
	p.mu.Lock()
	p.queue = append(p.queue, conns...)
	p.mu.Unlock()
	if len(conns) == 1 {
		p.some.Signal()
		return
	}
	p.some.Broadcast()
}

func (p *pool) work(b *batch) {
	defer b.close()
	var mine [batchConns]*Conn
	for {
		n := p.take(mine[:])
		if n == 0 {
			return
		}
		b.flush(mine[:n])
		clear(mine[:n])
		p.wrote()
	}
}

// wrote is the end of what a worker took.
func (p *pool) wrote() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.busy--
	if p.idle != nil && p.quiet() {
		close(p.idle)
		p.idle = nil
	}
}

func (p *pool) quiet() bool { return p.busy == 0 && p.head == len(p.queue) }

// settle waits until everything that is queued is written, or left to slow readers; for limit at most.
func (p *pool) settle(limit time.Duration) {
	p.mu.Lock()
	if p.quiet() {
		p.mu.Unlock()
		return
	}
	if p.idle == nil {
		p.idle = make(chan struct{})
	}
	idle := p.idle
	p.mu.Unlock()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-idle:
	case <-timer.C:
	}
}

// take moves a fair share of the queue to the worker; 0 means that the pool ends.
func (p *pool) take(into []*Conn) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.head == len(p.queue) {
		if p.closed {
			return 0
		}
		p.some.Wait()
	}
	n := min(len(into), (len(p.queue)-p.head)/p.workers+1, len(p.queue)-p.head)
	copy(into, p.queue[p.head:p.head+n])
	clear(p.queue[p.head : p.head+n])
	p.head += n
	p.busy++
	if p.head == len(p.queue) {
		p.queue, p.head = p.queue[:0], 0
	} else if p.head > 1024 && p.head > len(p.queue)/2 {
		p.queue = append(p.queue[:0], p.queue[p.head:]...)
		p.head = 0
	}
	return n
}

// close lets the workers end after what is queued.
func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.some.Broadcast()
	p.wg.Wait()
}
