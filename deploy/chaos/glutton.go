package chaos

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/gorilla/websocket"

	"github.com/parley-chat/parley/deploy/cluster"
	"github.com/parley-chat/parley/services/ingress/protocol"
)

const (
	gluttons   = 8        // clients at each edge
	appetite   = 20_000   // requests of each, all of which are answered
	slowClient = 64 << 10 // bytes of heap that a client may cost that does not read
	heapSlack  = 8 << 20  // by which an edge's heap differs all the same
)

// gluttons has clients ask much and read nothing, and measures what that costs the
// edges in memory.
func (w *world) gluttons(ctx context.Context) error {
	before := map[string]int64{}
	for _, e := range w.Edges {
		n, err := heap(ctx, e)
		if err != nil {
			return err
		}
		before[e.Name] = n
	}
	feeding, cancel := context.WithTimeout(ctx, 8*time.Second) // a stalled line is closed after 10 s
	defer cancel()
	var all sync.WaitGroup
	var mu sync.Mutex
	var lines []*websocket.Conn
	for _, e := range w.Edges {
		for range gluttons {
			all.Go(func() {
				if ws := feed(feeding, e.URL); ws != nil {
					mu.Lock()
					lines = append(lines, ws)
					mu.Unlock()
				}
			})
		}
	}
	all.Wait()
	defer func() {
		for _, ws := range lines {
			abort(ws.NetConn())
		}
	}()
	for _, e := range w.Edges {
		n, err := heap(ctx, e)
		if err != nil {
			return err
		}
		w.measured("I11", fmt.Sprintf("bytes of heap of %s for %d clients that ask and do not read", e.Name, gluttons),
			max(n-before[e.Name], 0), gluttons*slowClient+int64(w.cfg.Patience)*heapSlack)
	}
	return nil
}

// feed connects with the smallest buffers, asks until the edge ends it, nothing
// more is taken, or the appetite is sated, and leaves the line open.
func feed(ctx context.Context, edge string) *websocket.Conn {
	small := net.Dialer{Control: func(_, _ string, c syscall.RawConn) (err error) {
		_ = c.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096) })
		return err
	}}
	d := websocket.Dialer{NetDialContext: small.DialContext, ReadBufferSize: 512, WriteBufferSize: 16 << 10}
	ws, _, err := d.DialContext(ctx, "ws"+strings.TrimPrefix(edge, "http")+protocol.Path, nil)
	if err != nil {
		return nil // as a storm's victim: the edge has other worries
	}
	deadline, _ := ctx.Deadline()
	_ = ws.SetWriteDeadline(deadline)
	err = ws.WriteMessage(websocket.TextMessage, []byte(`{"type":"hello","id":1,"user":"glutton"}`))
	const together = 200
	for i := 0; i < appetite && err == nil; i += together {
		var b strings.Builder
		for k := range together {
			fmt.Fprintf(&b, `{"type":"typing","id":%d,"room":"nowhere"}`+"\n", i+k+2)
		}
		err = ws.WriteMessage(websocket.TextMessage, []byte(b.String()))
	}
	return ws
}

// heap is what a process has in its heap, after it has been cleaned up.
func heap(ctx context.Context, p *cluster.Process) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.Admin+"/debug/pprof/heap?gc=1", nil)
	if err != nil {
		return 0, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, fmt.Errorf("heap of %s: %w", p.Name, err)
	}
	_ = res.Body.Close()
	const name = "go_memstats_heap_alloc_bytes"
	found, err := metrics(ctx, p, name)
	return int64(found[name]), err
}
