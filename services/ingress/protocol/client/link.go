package client

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	"github.com/parley-chat/parley/services/ingress/protocol"
)

// line carries one link of the machine: it connects, reads, and writes what
// is queued. All that happens on it goes to the client's loop.
type line struct {
	client *Client
	n      int
	url    string
	cancel context.CancelFunc

	mu     sync.Mutex
	ws     *websocket.Conn // nil while connecting
	queue  [][]byte        // at most lineQueue
	wake   chan struct{}   // there is something in queue, or the line is closing
	ending bool
}

const (
	connectWithin = 15 * time.Second // token and handshake together
	lineQueue     = 4096             // more means that the socket is stuck: the line is cut
	lineFrames    = 16 << 10         // bytes gathered in one WebSocket message
)

// run lives as long as the link. It reports opened at most once and closed
// exactly once.
func (l *line) run(ctx context.Context) {
	defer l.cancel()
	token, ws, err := l.open(ctx)
	if err != nil {
		l.failed(err)
		return
	}
	defer ws.Close()
	var writer sync.WaitGroup
	writer.Go(func() { l.write(ctx, ws) })
	l.client.post(func(m *machine, now int64) { m.opened(now, l.n, token) })
	err = l.read(ws)
	l.cancel()
	ws.NetConn().Close() // a write may be stuck
	writer.Wait()
	var ce *CloseError
	if !errors.As(err, &ce) {
		ce = &CloseError{Code: protocol.CloseAbnormal, Err: err}
	}
	l.client.post(func(m *machine, now int64) { m.closed(now, l.n, ce.Code, 0, false, err) })
}

func (l *line) open(ctx context.Context) (string, *websocket.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectWithin)
	defer cancel()
	cfg := &l.client.cfg
	token := ""
	if cfg.Token != nil {
		var err error
		if token, err = cfg.Token(ctx); err != nil {
			return "", nil, err
		}
	}
	ws, err := open(ctx, l.url, ConnConfig{Header: cfg.Header, Dialer: cfg.Dialer})
	if err != nil {
		return "", nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ending {
		ws.Close()
		return "", nil, context.Canceled
	}
	l.ws = ws
	return token, ws, nil
}

func (l *line) failed(err error) {
	var retry time.Duration
	fatal := false
	if he := (*HandshakeError)(nil); errors.As(err, &he) {
		retry = he.RetryAfter
		fatal = he.Status == http.StatusUnauthorized || he.Status == http.StatusForbidden
	}
	l.client.post(func(m *machine, now int64) { m.closed(now, l.n, 0, retry.Milliseconds(), fatal, err) })
}

func (l *line) read(ws *websocket.Conn) error {
	for {
		_, message, err := ws.ReadMessage()
		if err != nil {
			return closeError(err)
		}
		var frames []protocol.Frame
		for f, err := range protocol.ParseFrames(message) {
			if err != nil {
				goodbye(ws, protocol.ClosePolicy, "not the protocol")
				return err
			}
			frames = append(frames, f)
		}
		l.client.post(func(m *machine, now int64) {
			for _, f := range frames {
				m.frame(now, l.n, f)
			}
		})
	}
}

// send queues one request. It never blocks.
func (l *line) send(frame []byte) {
	l.mu.Lock()
	full := len(l.queue) >= lineQueue
	if !full {
		l.queue = append(l.queue, frame)
	}
	l.mu.Unlock()
	if full {
		l.cancel()
		return
	}
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// write sends what is queued, gathered into few messages. When the line's time
// is over it ends the reader, too.
func (l *line) write(ctx context.Context, ws *websocket.Conn) {
	for {
		select {
		case <-ctx.Done():
			ws.NetConn().Close()
			return
		case <-l.wake:
		}
		for {
			message := l.gather()
			if message == nil {
				break
			}
			if write(ws, websocket.TextMessage, message) != nil {
				ws.NetConn().Close()
				return
			}
		}
	}
}

func (l *line) gather() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	var message []byte
	for len(l.queue) > 0 && (message == nil || len(message)+len(l.queue[0]) < lineFrames) {
		if message != nil {
			message = append(message, '\n')
		}
		message = append(message, l.queue[0]...)
		l.queue = l.queue[1:]
	}
	return message
}

// close says goodbye, or gives up connecting. The reader ends on the peer's
// close frame, or a second later.
func (l *line) close(code protocol.CloseCode) {
	l.mu.Lock()
	ws := l.ws
	l.ending = true
	l.mu.Unlock()
	if ws == nil {
		l.cancel()
		return
	}
	if code == protocol.CloseNoLife {
		l.cancel() // nobody is there to answer
		return
	}
	goodbye(ws, code, "")
}
