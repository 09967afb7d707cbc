package wire

import (
	"bufio"
	"bytes"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gorilla/websocket"
)

// server is a frame as a server sends it: not masked.
func server(op byte, fin bool, payload []byte) []byte {
	b := Append(nil, op, payload)
	head := len(b) - len(payload) - len(key)
	b = append(b[:head:head], payload...)
	b[1] &= 0x7f
	if !fin {
		b[0] &= 0x7f
	}
	return b
}

func TestNextTakesFramesOfEveryLength(t *testing.T) {
	for _, n := range []int{0, 1, 125, 126, 127, 65535, 65536, 200_000} {
		payload := bytes.Repeat([]byte{'x'}, n)
		raw := append(server(Text, true, payload), 0x81) // the next frame begins
		for _, short := range []int{0, 1, (len(raw) - 1) / 2, len(raw) - 2} {
			if _, took, err := Next(raw[:short]); took != 0 || err != nil {
				t.Errorf("%d of %d bytes: took %d, %v; want to wait for more", short, len(raw), took, err)
			}
		}
		f, took, err := Next(raw)
		if err != nil || took != len(raw)-1 || f.Op != Text || !f.Fin || !bytes.Equal(f.Payload, payload) {
			t.Errorf("a frame of %d bytes: took %d of %d, op %d, fin %v, %d bytes, %v", n, took, len(raw)-1, f.Op, f.Fin, len(f.Payload), err)
		}
	}
	if f, _, err := Next(server(Continuation, false, []byte("a"))); err != nil || f.Fin || f.Op != Continuation {
		t.Errorf("a part: %+v, %v", f, err)
	}
}

func TestNextRefusesWhatNoServerMaySend(t *testing.T) {
	masked := Append(nil, Text, []byte("hi"))
	if _, _, err := Next(masked); !errors.Is(err, ErrMasked) {
		t.Errorf("a masked frame: %v", err)
	}
	for _, raw := range [][]byte{
		{0xc1, 0},                                    // a reserved bit
		{0x81, 127, 0, 0, 0, 1, 0, 0, 0, 0},          // 4 GiB
		{0x81, 127, 0xff, 0, 0, 0, 0, 0, 0, 0, 1, 2}, // more than an int holds
	} {
		if _, _, err := Next(raw); err == nil {
			t.Errorf("% x is taken for a frame", raw)
		}
	}
}

// TestGorillaUnderstands: what we send is what an independent implementation reads,
// and the other way round.
func TestGorillaUnderstands(t *testing.T) {
	sizes := []int{0, 5, 125, 126, 70_000}
	failed := make(chan error, 1)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		failed <- func() error {
			conn, err := (&websocket.Upgrader{}).Upgrade(w, r, nil)
			if err != nil {
				return err
			}
			defer conn.Close()
			for range sizes {
				kind, b, err := conn.ReadMessage()
				if err != nil {
					return err
				}
				if err := conn.WriteMessage(kind, b); err != nil {
					return err
				}
			}
			return conn.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(4001, "slow"))
		}()
	}))
	defer s.Close()
	host := strings.TrimPrefix(s.URL, "http://")
	conn, err := net.Dial("tcp", host)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write(AppendHandshake(nil, host, "/ws?user=a")); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(conn)
	var b []byte
	more := func() {
		t.Helper()
		next := make([]byte, 4096)
		n, err := in.Read(next)
		if err != nil {
			t.Fatal(err)
		}
		b = append(b, next[:n]...)
	}
	for n := 0; n == 0; more() {
		if n, err = Accepted(b); err != nil {
			t.Fatal(err)
		} else if n > 0 {
			b = b[n:]
			break
		}
	}
	next := func() Frame {
		t.Helper()
		for {
			f, n, err := Next(b)
			if err != nil {
				t.Fatal(err)
			}
			if n > 0 {
				b = b[n:]
				return f
			}
			more()
		}
	}
	for _, size := range sizes {
		payload := bytes.Repeat([]byte("é"), size)
		if _, err := conn.Write(Append(nil, Text, payload)); err != nil {
			t.Fatal(err)
		}
		if f := next(); f.Op != Text || !bytes.Equal(f.Payload, payload) {
			t.Errorf("%d bytes come back as op %d, %d bytes", len(payload), f.Op, len(f.Payload))
		}
	}
	if f := next(); f.Op != Close || CloseCode(f.Payload) != 4001 {
		t.Errorf("closed with op %d, code %d; want 4001", f.Op, CloseCode(f.Payload))
	}
	if err := <-failed; err != nil {
		t.Errorf("the server: %v", err)
	}
}

func TestAcceptedTellsRefusals(t *testing.T) {
	const good = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nsec-websocket-accept: " + accept + "\r\n\r\n"
	if n, err := Accepted([]byte(good + "\x81\x00")); n != len(good) || err != nil {
		t.Errorf("took %d of %d, %v", n, len(good), err)
	}
	if n, err := Accepted([]byte(good[:40])); n != 0 || err != nil {
		t.Errorf("half an answer: %d, %v", n, err)
	}
	var refused *RefusedError
	if _, err := Accepted([]byte("HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\n\r\n")); !errors.As(err, &refused) || refused.Status != "503 Service Unavailable" {
		t.Errorf("refused: %v", err)
	}
	for _, raw := range []string{
		"SSH-2.0-OpenSSH\r\n\r\n", strings.Replace(good, accept, "x", 1), strings.Repeat("x", maxResponse+1),
	} {
		if n, err := Accepted([]byte(raw)); n != 0 || err == nil {
			t.Errorf("%.30q is taken for consent", raw)
		}
	}
}
