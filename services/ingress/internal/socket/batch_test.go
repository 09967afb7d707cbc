package socket

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/gorilla/websocket"
)

// Many are written to at once; one of them hangs up meanwhile and one reads nothing, and
// the others are given everything in order.
func TestManyAreWrittenToAtOnce(t *testing.T) {
	for _, uring := range []bool{false, true} {
		t.Run(fmt.Sprintf("io_uring=%t", uring), func(t *testing.T) {
			e := newEdge(t, func(c *Config) { c.Uring, c.SendBuffer = uring, 4<<10 })
			const n, turns = 50, 300
			sockets, conns := make([]*websocket.Conn, n), make([]*Conn, n)
			echoes := make([]*echo, n)
			for i := range n {
				sockets[i], echoes[i] = e.connect()
				conns[i] = echoes[i].conn
			}
			for turn := range turns {
				if turn == turns/2 {
					_ = sockets[0].NetConn().Close()
				}
				for i, h := range echoes {
					frame := fmt.Appendf(nil, "%d", turn)
					if i == 1 {
						frame = bytes.Repeat([]byte("x"), 10<<10)
					}
					h.mu.Lock()
					h.frames = append(h.frames, frame)
					h.mu.Unlock()
				}
				Wake(append([]*Conn(nil), conns...))
			}
			for i := 2; i < n; i++ {
				for turn := 0; turn < turns; {
					for _, frame := range strings.Split(read(t, sockets[i]), "\n") {
						if frame != fmt.Sprint(turn) {
							t.Fatalf("connection %d was given %q, want %d", i, frame, turn)
						}
						turn++
					}
				}
			}
			if end := <-echoes[0].end; end.Clean {
				t.Errorf("who hung up ended with %+v", end)
			}
		})
	}
}
