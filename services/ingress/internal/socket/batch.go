package socket

const (
	// batchConns is how many connections a worker takes at a time at most, and writes to by
	// one system call where it can.
	batchConns = 128
	// fewConns are written to one by one: the call for many costs more than theirs.
	fewConns = 3
	// batchBytes is about the most that is gathered before it is written.
	batchBytes = 128 << 10
)

// batch is a worker's: what one round gathers, and writes.
type batch struct {
	uring *uring // nil: every connection is written to by a call of its own

	buf     []byte
	parcels []parcel
	ops     []op
}

// parcel is what is written for one connection.
type parcel struct {
	c        *Conn
	from, to int  // in buf
	more     bool // there may be more
	n        int  // how much the socket took
	err      error
}

// op is one send by the ring: of n bytes, when it is done.
type op struct {
	p    *parcel
	fd   int
	data []byte
	n    int
	done bool
	err  error
}

// flush writes what is pending for the connections, as much as each socket takes at
// once. What it does not take goes to a goroutine of its own, and nobody waits for that.
func (b *batch) flush(conns []*Conn) {
	buf := writeBuffers.Get().(*[]byte)
	b.buf = (*buf)[:0]
	for range rounds {
		if conns = b.round(conns); len(conns) == 0 {
			break
		}
	}
	if *buf = b.buf[:0]; cap(*buf) <= maxBuffer {
		writeBuffers.Put(buf)
	}
	b.buf = nil
	if len(conns) > 0 {
		conns[0].server.pool.push(conns...)
	}
}

// round looks once what each connection has, writes it, and returns those that may have
// more, at the slice's beginning.
func (b *batch) round(conns []*Conn) (again []*Conn) {
	again = conns[:0]
	for _, c := range conns {
		c.writing.Store(busy)
		from, more := len(b.buf), false
		if b.buf, more = c.gather(b.buf); len(b.buf) > from {
			b.parcels = append(b.parcels, parcel{c: c, from: from, to: len(b.buf), more: more})
		} else if !c.writing.CompareAndSwap(busy, idle) {
			again = append(again, c)
		}
		if len(b.buf) >= batchBytes {
			again = b.ship(again)
		}
	}
	return b.ship(again)
}

// ship writes the parcels, and appends to again whose connections may have more.
func (b *batch) ship(again []*Conn) []*Conn {
	b.write()
	for i := range b.parcels {
		p := &b.parcels[i]
		c := p.c
		switch {
		case p.err != nil:
			c.broken()
		case p.n < p.to-p.from:
			rest := append([]byte(nil), b.buf[p.from+p.n:p.to]...)
			c.server.wg.Go(func() { c.writeSlowly(rest) })
		case !p.more && c.writing.CompareAndSwap(busy, idle):
		default:
			c.written()
			again = append(again, c)
		}
	}
	clear(b.parcels)
	b.parcels, b.buf = b.parcels[:0], b.buf[:0]
	return again
}

func (b *batch) write() {
	if b.uring != nil && len(b.parcels) > fewConns {
		b.writeTogether()
		return
	}
	for i := range b.parcels {
		b.writeOne(&b.parcels[i])
	}
}

func (b *batch) writeOne(p *parcel) {
	p.n, p.err = p.c.tryWrite(b.buf[p.from:p.to])
}

// writeTogether writes all parcels by one system call.
func (b *batch) writeTogether() {
	for i := range b.parcels {
		if p := &b.parcels[i]; p.c.holdFD() {
			b.ops = append(b.ops, op{p: p, fd: p.c.fd, data: b.buf[p.from:p.to]})
		} else {
			b.writeOne(p)
		}
	}
	err := b.uring.send(b.ops)
	for _, o := range b.ops {
		o.p.c.fdMu.Unlock()
		if o.done {
			o.p.n, o.p.err = o.n, o.err
		} else {
			b.writeOne(o.p)
		}
	}
	clear(b.ops)
	b.ops = b.ops[:0]
	if err != nil {
		b.parcels[0].c.server.log.Warn("a worker writes to each connection by a system call of its own from now on", "why", err)
		b.close()
	}
}

func (b *batch) close() {
	if b.uring != nil {
		b.uring.close()
		b.uring = nil
	}
}
