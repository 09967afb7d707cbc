package socket

import (
	"bytes"
	"errors"
	"runtime"
	"testing"

	"github.com/gorilla/websocket"
	"golang.org/x/sys/unix"
)

func pair(t *testing.T) (ours, theirs int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = unix.Close(fds[0])
		_ = unix.Close(fds[1])
	})
	return fds[0], fds[1]
}

func TestUring(t *testing.T) {
	r, err := newUring(8)
	if err != nil {
		t.Skipf("this machine does not allow io_uring: %v", err)
	}
	defer r.close()

	good, reads := pair(t)
	full, _ := pair(t)
	for err := error(nil); err == nil; {
		_, err = unix.Write(full, make([]byte, 1<<10))
	}
	narrow, _ := pair(t)
	large := make([]byte, 8<<20)
	broken, gone := pair(t)
	_ = unix.Shutdown(gone, unix.SHUT_RDWR)
	buf := make([]byte, 64)
	for turn := range 20 { // more than the ring has places
		word := bytes.Repeat([]byte{byte('a' + turn)}, 9)
		ops := []op{{fd: good, data: word}, {fd: full, data: word}, {fd: broken, data: word}, {fd: -1, data: word}, {fd: good, data: word[:1]}}
		if turn == 0 {
			ops = append(ops, op{fd: narrow, data: large})
		}
		if err := r.send(ops); err != nil {
			t.Fatal(err)
		}
		for i, o := range ops {
			if !o.done {
				t.Errorf("turn %d: op %d is not done", turn, i)
			}
		}
		if n, _ := unix.Read(reads, buf); string(buf[:n]) != string(word)+string(word[:1]) {
			t.Errorf("turn %d: %q arrived", turn, buf[:n])
		}
		if o := ops[1]; o.n != 0 || o.err != nil {
			t.Errorf("a socket that is full took %d, %v", o.n, o.err)
		}
		if o := ops[2]; !errors.Is(o.err, unix.EPIPE) {
			t.Errorf("a socket without a peer: %v", o.err)
		}
		if o := ops[3]; !errors.Is(o.err, unix.EBADF) {
			t.Errorf("no socket: %v", o.err)
		}
		if turn == 0 {
			if o := ops[5]; o.n <= 0 || o.n >= len(large) || o.err != nil {
				t.Errorf("of %d bytes a socket took %d, %v", len(large), o.n, o.err)
			}
		}
	}
}

// A ring that is of no use says so, and what it did not try is told apart.
func TestUringThatIsClosed(t *testing.T) {
	r, err := newUring(8)
	if err != nil {
		t.Skipf("this machine does not allow io_uring: %v", err)
	}
	fd := r.fd
	r.fd = -1
	ours, _ := pair(t)
	ops := []op{{fd: ours, data: []byte("x")}}
	if err := r.send(ops); !errors.Is(err, unix.EBADF) {
		t.Errorf("send: %v", err)
	}
	if ops[0].done {
		t.Error("what was not tried counts as done")
	}
	r.fd = fd
	r.close()
}

// What a ring could not send is written without it.
func TestWithoutTheRing(t *testing.T) {
	r, err := newUring(batchConns)
	if err != nil {
		t.Skipf("this machine does not allow io_uring: %v", err)
	}
	fd := r.fd
	defer func() { _ = unix.Close(fd) }()
	r.fd = -1
	e := newEdge(t, nil)
	b := &batch{uring: r}
	var conns []*Conn
	var sockets []*websocket.Conn
	for range 2 * fewConns {
		ws, h := e.connect()
		for !h.conn.writing.CompareAndSwap(idle, busy) { // so that no worker of the server's looks after it
			runtime.Gosched()
		}
		h.frames = append(h.frames, []byte("hello"))
		conns, sockets = append(conns, h.conn), append(sockets, ws)
	}
	b.flush(conns)
	if b.uring != nil {
		t.Error("the ring that is of no use was kept")
	}
	for _, ws := range sockets {
		if got := read(t, ws); got != "hello" {
			t.Errorf("read %q", got)
		}
	}
}
