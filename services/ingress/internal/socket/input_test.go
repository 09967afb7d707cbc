package socket

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/parley-chat/parley/services/ingress/protocol"
)

// recorder is a Handler that keeps what it is given.
type recorder struct{ heard []string }

func (r *recorder) Receive(data []byte)           { r.heard = append(r.heard, string(data)) }
func (r *recorder) Fill(buf []byte, _ int) []byte { return buf }
func (r *recorder) Ended(Ending)                  {}

// deaf is a connection without a line; what it would send stays.
func deaf(h Handler) *Conn {
	s := &Server{cfg: testConfig(), began: time.Now()}
	s.cfg.ControlBurst = 1 << 20
	c := &Conn{server: s, handler: h, limit: s.cfg.FrameBytes}
	c.writing.Store(again)
	return c
}

// feed has the connection read to the end.
func feed(c *Conn, r io.Reader) error {
	in := &input{buf: make([]byte, 0, 64)}
	for {
		if err := in.fill(r); err != nil {
			return err
		}
		if err := c.digest(in); err != nil {
			return err
		}
	}
}

// frameOf is a client's frame.
func frameOf(first byte, mask uint32, payload []byte) []byte {
	out := []byte{first}
	switch n := len(payload); {
	case n < 126:
		out = append(out, maskBit|byte(n))
	case n < 1<<16:
		out = binary.BigEndian.AppendUint16(append(out, maskBit|126), uint16(n))
	default:
		out = binary.BigEndian.AppendUint64(append(out, maskBit|127), uint64(n))
	}
	key := binary.BigEndian.AppendUint32(nil, mask)
	out = append(out, key...)
	for i, b := range payload {
		out = append(out, b^key[i&3])
	}
	return out
}

// pieces gives n bytes at a time at most.
type pieces struct {
	r io.Reader
	n int
}

func (p pieces) Read(into []byte) (int, error) { return p.r.Read(into[:min(len(into), p.n)]) }

func TestMessagesInAnyPieces(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var line []byte
	var want []string
	for range 60 {
		message := []byte(strings.Repeat("aé€", random.IntN(500)))
		want = append(want, string(message))
		first := byte(opText &^ finBit)
		for cuts := random.IntN(4); cuts > 0; cuts-- { // anywhere, also within a rune
			at := random.IntN(len(message) + 1)
			line = append(line, frameOf(first, random.Uint32(), message[:at])...)
			message, first = message[at:], opMore
			if random.IntN(2) == 0 {
				line = append(line, frameOf(opPing, random.Uint32(), []byte("still there?"))...)
			}
		}
		line = append(line, frameOf(first|finBit, random.Uint32(), message)...)
	}
	line = append(line, frameOf(opClose, 7, binary.BigEndian.AppendUint16(nil, 4321))...)
	for _, n := range []int{1, 2, 3, 7, 100, len(line)} {
		var r recorder
		c := deaf(&r)
		err := feed(c, pieces{bytes.NewReader(line), n})
		var said *farewell
		if !errors.As(err, &said) || said.code != 4321 {
			t.Errorf("%d at a time: ended with %v", n, err)
		}
		if !slices.Equal(r.heard, want) {
			t.Errorf("%d at a time: %d messages, want %d, or they differ", n, len(r.heard), len(want))
		}
		if string(c.pong) != "still there?" {
			t.Errorf("%d at a time: a ping is to be answered with %q", n, c.pong)
		}
	}
}

func TestRefusedFrames(t *testing.T) {
	limit := testConfig().FrameBytes
	long := bytes.Repeat([]byte("x"), limit)
	code := func(c uint16, reason string) []byte {
		return append(binary.BigEndian.AppendUint16(nil, c), reason...)
	}
	for name, test := range map[string]struct {
		line []byte
		want error
	}{
		"as long as allowed":                   {frameOf(opText, 1, long), io.EOF},
		"longer":                               {frameOf(opText, 1, append(long, 'x')), errTooLarge},
		"longer, by its header alone":          {frameOf(opText, 1, make([]byte, 1<<16))[:14], errTooLarge},
		"a length with the highest bit":        {[]byte{opText, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, errBroken},
		"the longest length":                   {[]byte{opText, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0}, errTooLarge},
		"longer in all":                        {slices.Concat(frameOf(0x01, 1, long), frameOf(0x80, 1, []byte("x"))), errTooLarge},
		"a continuation of nothing":            {frameOf(0x80, 1, []byte("x")), errBroken},
		"a beginning inside a message":         {slices.Concat(frameOf(0x01, 1, nil), frameOf(opText, 1, nil)), errBroken},
		"a control frame in fragments":         {frameOf(opPing&^finBit, 1, nil), errBroken},
		"an opcode of a control frame to come": {frameOf(0x8b, 1, nil), errBroken},
		"half a code":                          {frameOf(opClose, 1, []byte{3}), errBroken},
		"a code that is never sent":            {frameOf(opClose, 1, code(1006, "")), errBroken},
		"a code that does not exist":           {frameOf(opClose, 1, code(2999, "")), errBroken},
		"a reason that is not UTF-8":           {frameOf(opClose, 1, code(1000, "\xff")), errBroken},
	} {
		if err := feed(deaf(&recorder{}), bytes.NewReader(test.line)); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
	err := feed(deaf(&recorder{}), bytes.NewReader(frameOf(opClose, 1, nil)))
	var said *farewell
	if !errors.As(err, &said) || said.code != protocol.CloseNoStatus {
		t.Errorf("a goodbye without a code: %v", err)
	}
}

func FuzzInput(f *testing.F) {
	f.Add(frameOf(opText, 0x01020304, []byte("hello")), 3)
	f.Add(slices.Concat(frameOf(0x01, 1, []byte("a")), frameOf(opPing, 2, nil), frameOf(0x80, 3, []byte("b"))), 1)
	f.Add(frameOf(opClose, 1, []byte{3, 232}), 2)
	f.Fuzz(func(t *testing.T, line []byte, n int) {
		var whole, parts recorder
		errWhole := feed(deaf(&whole), bytes.NewReader(line))
		errParts := feed(deaf(&parts), pieces{bytes.NewReader(line), max(n, 1)})
		if errWhole.Error() != errParts.Error() || !slices.Equal(whole.heard, parts.heard) {
			t.Errorf("at once %v and %q, in pieces %v and %q", errWhole, whole.heard, errParts, parts.heard)
		}
		for _, message := range whole.heard {
			if len(message) > testConfig().FrameBytes {
				t.Errorf("a message of %d bytes", len(message))
			}
		}
	})
}

// TestIdleConnectionsHaveSmallStacks: what waits for input must not outgrow the stack that goroutines begin with.
func TestIdleConnectionsHaveSmallStacks(t *testing.T) {
	const n = 300
	e := newEdge(t, nil)
	talk := func(n int) {
		for range n {
			ws, _ := e.connect()
			for range 3 {
				if err := ws.WriteMessage(websocket.TextMessage, []byte("hello")); err != nil {
					t.Fatal(err)
				}
				read(t, ws)
			}
			<-e.results
		}
	}
	stacks := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.StackInuse
	}
	talk(50)
	before := stacks()
	talk(n)
	if each := (stacks() - before) / n; each > stackBytes*5/4 {
		t.Errorf("a stack of %d bytes for each idle connection", each)
	}
	go e.server.CloseAll(protocol.CloseRestart, "test over")
	for range 50 + n {
		<-e.closed
	}
}
