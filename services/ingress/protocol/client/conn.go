package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	"github.com/parley-chat/parley/services/ingress/protocol"
)

// Conn is one WebSocket to an edge without any policy: it says hello only when
// told to, answers no ping frame, never reconnects. It is for tests and tools;
// applications use Client. One goroutine may send while another receives.
type Conn struct {
	ws       *websocket.Conn
	writing  sync.Mutex // guards the write side of ws, which allows one writer
	frames   chan protocol.Frame
	err      error // why the reader ended; set before frames is closed
	stop     chan struct{}
	stopOnce sync.Once
	read     sync.WaitGroup
}

// ConnConfig says how to open a WebSocket. The zero value will do.
type ConnConfig struct {
	Header http.Header // of the upgrade request, such as Origin or Authorization
	// Dialer replaces the whole way to the server: net dial function, TLS,
	// proxy, buffers, timeout, subprotocols. Nil: parley.v1, 10 s, small buffers.
	Dialer *websocket.Dialer
}

// CloseError is how a connection ended. Code is 1006 when the line broke
// without a close frame.
type CloseError struct {
	Code   protocol.CloseCode
	Reason string
	Err    error
}

// Error names code and reason.
func (e *CloseError) Error() string {
	s := fmt.Sprintf("connection closed: %d %s", int(e.Code), e.Code)
	if e.Reason != "" {
		s += " (" + e.Reason + ")"
	}
	return s
}

// Unwrap returns what the WebSocket said.
func (e *CloseError) Unwrap() error { return e.Err }

// HandshakeError is an upgrade that the server answered with something else.
type HandshakeError struct {
	URL        string
	Status     int           // HTTP
	RetryAfter time.Duration // 0: not said
}

// Error names the address and the HTTP status.
func (e *HandshakeError) Error() string {
	return fmt.Sprintf("connect to %s: HTTP %d %s instead of a WebSocket", e.URL, e.Status, http.StatusText(e.Status))
}

// Connect opens a WebSocket. The address is ws, wss, http or https; without a
// path it gets /ws. ctx bounds the handshake only.
func Connect(ctx context.Context, address string, cfg ConnConfig) (*Conn, error) {
	ws, err := open(ctx, address, cfg)
	if err != nil {
		return nil, err
	}
	c := &Conn{ws: ws, frames: make(chan protocol.Frame), stop: make(chan struct{})}
	c.read.Go(c.pump)
	return c, nil
}

func open(ctx context.Context, address string, cfg ConnConfig) (*websocket.Conn, error) {
	address, err := normalize(address)
	if err != nil {
		return nil, err
	}
	dialer := cfg.Dialer
	if dialer == nil {
		dialer = &websocket.Dialer{
			Proxy: http.ProxyFromEnvironment, HandshakeTimeout: 10 * time.Second,
			ReadBufferSize: 2048, WriteBufferSize: 2048, Subprotocols: []string{protocol.Subprotocol},
		}
	}
	ws, response, err := dialer.DialContext(ctx, address, cfg.Header)
	if errors.Is(err, websocket.ErrBadHandshake) && response != nil {
		after, _ := strconv.Atoi(response.Header.Get("Retry-After"))
		return nil, &HandshakeError{URL: address, Status: response.StatusCode, RetryAfter: time.Duration(max(after, 0)) * time.Second}
	}
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", address, err)
	}
	return ws, nil
}

// normalize makes a WebSocket address of what people and servers call one.
func normalize(address string) (string, error) {
	u, err := url.Parse(address)
	if err != nil {
		return "", fmt.Errorf("address %q: %w", address, err)
	}
	switch u.Scheme {
	case "ws", "wss":
	case "http":
		u.Scheme = "ws"
	case "https":
		u.Scheme = "wss"
	default:
		return "", fmt.Errorf("address %q: want ws://, wss://, http:// or https://", address)
	}
	if u.Host == "" {
		return "", fmt.Errorf("address %q names no host", address)
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = protocol.Path
	}
	return u.String(), nil
}

// pump reads one message ahead of Receive, so that a Receive given up leaves
// the connection whole and nobody who does not receive gathers anything.
func (c *Conn) pump() {
	defer close(c.frames)
	for {
		_, message, err := c.ws.ReadMessage()
		if err != nil {
			c.err = closeError(err)
			return
		}
		for f, err := range protocol.ParseFrames(message) {
			if err != nil {
				c.err = err
				return
			}
			select {
			case c.frames <- f:
			case <-c.stop:
				c.err = &CloseError{Code: protocol.CloseNormal, Reason: "closed here"}
				return
			}
		}
	}
}

func closeError(err error) *CloseError {
	var ce *websocket.CloseError
	if errors.As(err, &ce) {
		return &CloseError{Code: protocol.CloseCode(ce.Code), Reason: ce.Text, Err: err}
	}
	return &CloseError{Code: protocol.CloseAbnormal, Reason: err.Error(), Err: err}
}

// Receive returns the next object from the server, in order; objects batched
// in one WebSocket message come one by one. At the end of the connection it
// returns a *CloseError, each time.
func (c *Conn) Receive(ctx context.Context) (protocol.Frame, error) {
	select {
	case f, ok := <-c.frames:
		if !ok {
			return protocol.Frame{}, c.err
		}
		return f, nil
	case <-ctx.Done():
		return protocol.Frame{}, fmt.Errorf("receive: %w", ctx.Err())
	}
}

// Send sends requests as one text message.
func (c *Conn) Send(requests ...protocol.Request) error {
	var message []byte
	for i := range requests {
		if i > 0 {
			message = append(message, '\n')
		}
		var err error
		if message, err = protocol.AppendRequest(message, &requests[i]); err != nil {
			return err
		}
	}
	return c.SendMessage(websocket.TextMessage, message)
}

// SendText sends text as it is.
func (c *Conn) SendText(text string) error {
	return c.SendMessage(websocket.TextMessage, []byte(text))
}

// SendMessage sends a message of any kind: text 1, binary 2, ping 9, pong 10.
// A write that makes no progress for 10 s ends the connection.
func (c *Conn) SendMessage(kind int, data []byte) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	return write(c.ws, kind, data)
}

const writeWithin = 10 * time.Second

func write(ws *websocket.Conn, kind int, data []byte) error {
	deadline := time.Now().Add(writeWithin)
	if kind == websocket.PingMessage || kind == websocket.PongMessage {
		return ws.WriteControl(kind, data, deadline)
	}
	if err := ws.SetWriteDeadline(deadline); err != nil {
		return err
	}
	return ws.WriteMessage(kind, data)
}

// Close sends a close frame, waits up to a second for the answer, and ends the
// connection. It may be called at any time, and again.
func (c *Conn) Close(code protocol.CloseCode, reason string) error {
	err := goodbye(c.ws, code, reason)
	c.end()
	return err
}

// Cut ends the connection without a close frame, as a broken line does.
func (c *Conn) Cut() {
	c.ws.NetConn().Close()
	c.end()
}

func (c *Conn) end() {
	c.stopOnce.Do(func() { close(c.stop) })
	c.read.Wait()
	c.ws.Close()
}

// goodbye leaves the reader a second to see the peer's close frame.
func goodbye(ws *websocket.Conn, code protocol.CloseCode, reason string) error {
	deadline := time.Now().Add(time.Second)
	err := ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(int(code), reason), deadline)
	ws.SetReadDeadline(deadline)
	return err
}
