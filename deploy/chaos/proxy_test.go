package chaos

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"
)

// echo answers each line with itself and counts them.
type echo struct {
	listener net.Listener
	work     sync.WaitGroup
	lines    chan string
}

func newEcho(t *testing.T) *echo {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e := &echo{listener: l, lines: make(chan string, 100)}
	e.work.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			e.work.Go(func() {
				defer conn.Close()
				for r := bufio.NewScanner(conn); r.Scan(); {
					e.lines <- r.Text()
					fmt.Fprintln(conn, r.Text())
				}
			})
		}
	})
	return e
}

func throughProxy(t *testing.T) (*echo, *Proxy, func() net.Conn) {
	e := newEcho(t)
	p, err := Listen(e.listener.Addr().String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		e.listener.Close()
		e.work.Wait()
	})
	return e, p, func() net.Conn {
		conn, err := net.Dial("tcp", p.Addr())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
}

// answer sends a line and returns what comes back within the time.
func answer(conn net.Conn, line string, within time.Duration) (string, error) {
	if line != "" {
		if _, err := fmt.Fprintln(conn, line); err != nil {
			return "", err
		}
	}
	_ = conn.SetReadDeadline(time.Now().Add(within))
	buffer := make([]byte, 100)
	n, err := conn.Read(buffer)
	return string(buffer[:n]), err
}

const (
	soon = 10 * time.Second
	beat = 100 * time.Millisecond
)

func TestProxyPassesOn(t *testing.T) {
	_, p, dial := throughProxy(t)
	conn := dial()
	for range 3 {
		if got, err := answer(conn, "hello", soon); err != nil || got != "hello\n" {
			t.Fatalf("%q, %v", got, err)
		}
	}
	p.Set(Faults{Latency: 30 * time.Millisecond})
	began := time.Now()
	if _, err := answer(conn, "late", soon); err != nil || time.Since(began) < 60*time.Millisecond {
		t.Fatalf("%v after %s, want two times 30 ms at least", err, time.Since(began))
	}
}

func TestProxyHoldsAndLetsGo(t *testing.T) {
	for name, f := range map[string]Faults{"up": {HoldUp: true}, "down": {HoldDown: true}, "both": {HoldUp: true, HoldDown: true}} {
		t.Run(name, func(t *testing.T) {
			e, p, dial := throughProxy(t)
			conn := dial()
			p.Set(f)
			if got, err := answer(conn, "one", beat); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("%q, %v while held", got, err)
			}
			if f.HoldUp != (len(e.lines) == 0) {
				t.Fatalf("the target has %d lines", len(e.lines))
			}
			p.Set(Faults{})
			if got, err := answer(conn, "", soon); err != nil || got != "one\n" {
				t.Fatalf("%q, %v after it", got, err)
			}
		})
	}
}

func TestProxyDropsTheReplyAfterExecution(t *testing.T) {
	e, p, dial := throughProxy(t)
	p.Set(Faults{DropReply: 1})
	if got, err := answer(dial(), "one", soon); err == nil {
		t.Fatalf("an answer came: %q", got)
	}
	if got := <-e.lines; got != "one" {
		t.Fatalf("the target got %q", got)
	}
}

func TestProxyCutsRefusesAndResets(t *testing.T) {
	_, p, dial := throughProxy(t)
	p.Set(Faults{CutAfter: 7})
	raw, _ := func() ([]byte, error) {
		conn := dial()
		if _, err := fmt.Fprint(conn, "four\nfive\n"); err != nil {
			return nil, err
		}
		_ = conn.SetReadDeadline(time.Now().Add(soon))
		return io.ReadAll(conn)
	}()
	if len(raw) > 7 {
		t.Errorf("%q passed, cut after 7", raw)
	}
	p.Set(Faults{})
	open := dial()
	if _, err := answer(open, "hello", soon); err != nil {
		t.Fatal(err)
	}
	if n := p.Reset(); n != 1 {
		t.Errorf("%d reset, want 1", n)
	}
	if _, err := answer(open, "", soon); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("after the reset: %v", err)
	}
	p.Set(Faults{Refuse: true})
	conn, err := net.Dial("tcp", p.Addr())
	if err == nil { // the reset may come while it dials, or after
		defer conn.Close()
		_, err = answer(conn, "", soon)
	}
	if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("refused: %v", err)
	}
}
