package socket

import (
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// uring sends to many sockets by one system call, with an io_uring(7) of its own. Each send is tried
// once, at once, and never waits, so that when send returns the kernel holds nothing of ours.
// One goroutine uses it at a time.
type uring struct {
	fd      int
	rings   []byte // the kernel's memory, mapped
	entries []byte

	sqHead, sqTail *uint32
	cqHead, cqTail *uint32
	sqMask, cqMask uint32
	sqes           []submission
	cqes           []completion
}

// submission and completion are the kernel's io_uring_sqe and io_uring_cqe.
type submission struct {
	opcode uint8
	flags  uint8
	ioprio uint16
	fd     int32
	offset uint64
	addr   uint64
	length uint32
	msgs   uint32
	user   uint64
	_      [3]uint64
}

type completion struct {
	user   uint64
	result int32
	flags  uint32
}

// setup is the kernel's io_uring_params.
type setup struct {
	sqEntries, cqEntries, flags, sqThreadCPU, sqThreadIdle, features, wqFD uint32
	_                                                                      [3]uint32
	sq                                                                     sqOffsets
	cq                                                                     cqOffsets
}

type sqOffsets struct {
	head, tail, mask, entries, flags, dropped, array, _ uint32
	_                                                   uint64
}

type cqOffsets struct {
	head, tail, mask, entries, overflow, cqes, flags, _ uint32
	_                                                   uint64
}

const (
	opSend         = 26 // IORING_OP_SEND, Linux 5.6
	enterGetEvents = 1
	singleMapping  = 1 // IORING_FEAT_SINGLE_MMAP, Linux 5.4
	offsetSQEs     = 0x10000000
	sendFlags      = unix.MSG_DONTWAIT | unix.MSG_NOSIGNAL
)

// newUring makes a ring for so many sends at a time, a power of two. It fails where the kernel is too
// old, or a sandbox forbids io_uring.
func newUring(size int) (*uring, error) {
	var p setup
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, uintptr(size), uintptr(unsafe.Pointer(&p)), 0)
	if errno != 0 {
		return nil, fmt.Errorf("io_uring_setup: %w", errno)
	}
	r := &uring{fd: int(fd)}
	if err := r.mapMemory(&p); err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

func (r *uring) mapMemory(p *setup) (err error) {
	if p.features&singleMapping == 0 {
		return errors.New("io_uring: the kernel is older than Linux 5.4")
	}
	const protection, flags = unix.PROT_READ | unix.PROT_WRITE, unix.MAP_SHARED | unix.MAP_POPULATE
	size := max(p.sq.array+p.sqEntries*4, p.cq.cqes+p.cqEntries*uint32(unsafe.Sizeof(completion{})))
	if r.rings, err = unix.Mmap(r.fd, 0, int(size), protection, flags); err != nil {
		return fmt.Errorf("map the rings: %w", err)
	}
	if r.entries, err = unix.Mmap(r.fd, offsetSQEs, int(p.sqEntries)*int(unsafe.Sizeof(submission{})), protection, flags); err != nil {
		return fmt.Errorf("map the entries: %w", err)
	}
	word := func(offset uint32) *uint32 { return (*uint32)(unsafe.Pointer(&r.rings[offset])) }
	r.sqHead, r.sqTail, r.sqMask = word(p.sq.head), word(p.sq.tail), *word(p.sq.mask)
	r.cqHead, r.cqTail, r.cqMask = word(p.cq.head), word(p.cq.tail), *word(p.cq.mask)
	r.sqes = unsafe.Slice((*submission)(unsafe.Pointer(&r.entries[0])), p.sqEntries)
	r.cqes = unsafe.Slice((*completion)(unsafe.Pointer(&r.rings[p.cq.cqes])), p.cqEntries)
	slots := unsafe.Slice(word(p.sq.array), p.sqEntries)
	for i := range slots {
		slots[i] = uint32(i) // for good
	}
	return nil
}

func (r *uring) close() {
	if r.entries != nil {
		_ = unix.Munmap(r.entries)
	}
	if r.rings != nil {
		_ = unix.Munmap(r.rings)
	}
	_ = unix.Close(r.fd)
}

// send tries all ops, at most as many as the ring was made for, and notes what each socket took. With an error the
// uring is of no use any more; ops that are not done were not tried.
func (r *uring) send(ops []op) error {
	tail := *r.sqTail
	for i := range ops {
		r.sqes[(tail+uint32(i))&r.sqMask] = submission{
			opcode: opSend, fd: int32(ops[i].fd), msgs: sendFlags, user: uint64(i),
			addr: uint64(uintptr(unsafe.Pointer(&ops[i].data[0]))), length: uint32(len(ops[i].data)),
		}
	}
	tail += uint32(len(ops))
	atomic.StoreUint32(r.sqTail, tail)
	defer runtime.KeepAlive(ops)
	for open := len(ops); open > 0; {
		waiting := tail - atomic.LoadUint32(r.sqHead)
		_, _, errno := unix.Syscall6(unix.SYS_IO_URING_ENTER, uintptr(r.fd), uintptr(waiting), uintptr(open), enterGetEvents, 0, 0)
		n, err := r.complete(ops)
		open -= n
		if err != nil {
			return err
		}
		if errno != 0 && errno != unix.EINTR && waiting > 0 && n == 0 {
			atomic.StoreUint32(r.sqTail, atomic.LoadUint32(r.sqHead)) // nobody else looks at them
			return fmt.Errorf("io_uring_enter: %w", errno)
		}
	}
	return nil
}

// complete takes the answers that are there.
func (r *uring) complete(ops []op) (n int, err error) {
	head := *r.cqHead
	for end := atomic.LoadUint32(r.cqTail); head != end; head++ {
		c := r.cqes[head&r.cqMask]
		n++
		o := &ops[c.user]
		switch errno := unix.Errno(-c.result); {
		case c.result >= 0:
			o.n, o.done = int(c.result), true
		case errno == unix.EAGAIN:
			o.done = true
		case errno == unix.EINVAL || errno == unix.EOPNOTSUPP:
			err = fmt.Errorf("io_uring: send: %w", errno)
		case errno == unix.EINTR:
		default:
			o.err, o.done = errno, true
		}
	}
	atomic.StoreUint32(r.cqHead, head)
	return n, err
}
