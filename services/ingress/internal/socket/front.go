package socket

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	"golang.org/x/net/http/httpguts"
)

const (
	// headBytes is the longest head of a request that a Front reads itself; longer ones are the
	// http.Server's.
	headBytes = 4 << 10
	// lingering is how long a refused client has to read why before its connection is reset, if it
	// sends more than its request.
	lingering = 500 * time.Millisecond
	// hurry is what clients that have not asked for anything have left when the Front closes.
	hurry = 500 * time.Millisecond
)

// Front stands between a listener and an http.Server, whose listener it is. A connection that
// begins with a WebSocket handshake for the path is upgraded here: without the HTTP server's
// goroutines, buffers that an upgrade takes from its pools for good, contexts and routing, which
// make a quarter of what a new connection costs. All others, and whatever is not plainly such a handshake,
// are handed on with every byte that was read.
//
// Run accepts until Close; Accept is the http.Server's, and State is to be its ConnState. Safe for
// concurrent use.
type Front struct {
	server  *Server
	inner   net.Listener
	path    string
	timeout time.Duration // for a request's head
	limit   int           // connections that are no WebSockets (yet); 0: any number

	others chan net.Conn
	errs   chan error
	done   chan struct{}

	mu     sync.Mutex
	closed bool
	open   int
	asked  map[net.Conn]struct{} // that are awaited to say what they want
}

// Front returns a front before the listener, which is closed with it.
func (s *Server) Front(inner net.Listener, path string, timeout time.Duration, limit int) *Front {
	return &Front{
		server: s, inner: inner, path: path, timeout: timeout, limit: limit,
		others: make(chan net.Conn), errs: make(chan error), done: make(chan struct{}),
		asked: make(map[net.Conn]struct{}),
	}
}

// Run accepts connections until the listener closes, and returns when those that were accepted are
// upgraded, handed on, or closed.
func (f *Front) Run() {
	var greeting sync.WaitGroup
	defer greeting.Wait()
	for {
		conn, err := f.inner.Accept()
		switch {
		case err == nil && f.enter(conn):
			greeting.Go(func() { f.greet(conn) })
		case err == nil:
			_ = conn.Close()
		case !f.failed(err):
			return
		}
	}
}

// failed passes the error on to the http.Server, which waits a while before it accepts again if
// the error may pass, and tells whether it is worth to go on.
func (f *Front) failed(err error) bool {
	select {
	case f.errs <- err:
	case <-f.done:
	}
	return !errors.Is(err, net.ErrClosed)
}

// Accept returns the next connection that begins with anything else than a handshake.
func (f *Front) Accept() (net.Conn, error) {
	select {
	case conn := <-f.others:
		return conn, nil
	case err := <-f.errs:
		return nil, err
	case <-f.done:
		return nil, net.ErrClosed
	}
}

// Addr is the listener's.
func (f *Front) Addr() net.Addr { return f.inner.Addr() }

// Close closes the listener. Who has not asked for anything yet has little time left to do it.
func (f *Front) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil
	}
	f.closed = true
	close(f.done)
	for conn := range f.asked {
		_ = conn.SetReadDeadline(time.Now().Add(hurry))
	}
	return f.inner.Close()
}

// State counts the connections that were handed on.
func (f *Front) State(_ net.Conn, state http.ConnState) {
	if state == http.StateHijacked || state == http.StateClosed {
		f.left()
	}
}

// enter lets a connection in, or says that there are too many that say nothing: those never get to the gate.
func (f *Front) enter(conn net.Conn) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed || f.limit > 0 && f.open >= f.limit {
		return false
	}
	f.open++
	f.asked[conn] = struct{}{}
	_ = conn.SetReadDeadline(time.Now().Add(f.timeout))
	return true
}

// heard says that the connection has told what it wants.
func (f *Front) heard(conn net.Conn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.asked, conn)
	_ = conn.SetReadDeadline(time.Time{})
}

func (f *Front) left() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.open--
}

// head is what a request's head is read through.
type head struct {
	in, text *bufio.Reader
	bytes    bytes.Reader
	out      *bufio.Writer
}

var heads = sync.Pool{New: func() any {
	return &head{in: bufio.NewReaderSize(nil, headBytes), text: bufio.NewReaderSize(nil, headBytes), out: bufio.NewWriterSize(nil, headBytes)}
}}

// release leaves no connection behind.
func (h *head) release() {
	h.in.Reset(nil)
	h.text.Reset(nil)
	h.out.Reset(nil)
	h.bytes.Reset(nil)
	heads.Put(h)
}

// greet sees what a connection wants.
func (f *Front) greet(conn net.Conn) {
	h := heads.Get().(*head)
	defer h.release()
	h.in.Reset(conn)
	r, err := f.handshake(h)
	f.heard(conn)
	switch {
	case err != nil:
		_ = conn.Close()
	case r == nil:
		read, _ := h.in.Peek(h.in.Buffered())
		f.handOn(&begun{Conn: conn, read: bytes.Clone(read)})
		return
	default:
		h.out.Reset(conn)
		r.RemoteAddr = conn.RemoteAddr().String()
		a := &answer{conn: conn, head: h}
		f.server.ServeHTTP(a, r)
		a.end()
	}
	f.left()
}

func (f *Front) handOn(conn net.Conn) {
	select {
	case f.others <- conn:
	case <-f.done:
		_ = conn.Close()
		f.left()
	}
}

// handshake reads a request's head. Nil means that it is not a handshake as they usually are, and
// that nothing is taken from h.in; an error that nothing came.
func (f *Front) handshake(h *head) (*http.Request, error) {
	for {
		read, _ := h.in.Peek(h.in.Buffered())
		if !f.begins(read) {
			return nil, nil
		}
		if end := bytes.Index(read, []byte("\r\n\r\n")); end >= 0 {
			return f.parse(h, read[:end+4]), nil
		}
		switch _, err := h.in.Peek(len(read) + 1); {
		case errors.Is(err, bufio.ErrBufferFull):
			return nil, nil
		case err != nil:
			return nil, err
		}
	}
}

// begins tells whether a head of which so much is read may be a request for the path.
func (f *Front) begins(read []byte) bool {
	const method = "GET "
	n := len(method) + len(f.path)
	want := method + f.path
	if len(read) <= n {
		return want[:len(read)] == string(read)
	}
	return want == string(read[:n]) && (read[n] == ' ' || read[n] == '?')
}

// parse reads the whole head of a request, unless it is for the http.Server.
func (f *Front) parse(h *head, text []byte) *http.Request {
	h.bytes.Reset(text)
	h.text.Reset(&h.bytes)
	r, err := http.ReadRequest(h.text)
	switch {
	case err != nil, !r.ProtoAtLeast(1, 1), r.Host == "", r.URL.Path != f.path, r.ContentLength != 0, !websocket.IsWebSocketUpgrade(r), !valid(r.Header):
		return nil
	}
	_, _ = h.in.Discard(len(text))
	return r
}

// valid is what an http.Server demands of headers beyond what is looked at as they are read.
func valid(header http.Header) bool {
	for name, values := range header {
		if !httpguts.ValidHeaderFieldName(name) || slices.ContainsFunc(values, func(v string) bool { return !httpguts.ValidHeaderFieldValue(v) }) {
			return false
		}
	}
	return true
}

// begun is a connection of which something was read.
type begun struct {
	net.Conn
	read []byte
}

func (b *begun) Read(into []byte) (int, error) {
	if len(b.read) == 0 {
		return b.Conn.Read(into)
	}
	n := copy(into, b.read)
	b.read = b.read[n:]
	return n, nil
}

// bare is the connection itself, to be written to and closed.
func bare(conn net.Conn) net.Conn {
	if b, ok := conn.(*begun); ok {
		return b.Conn
	}
	return conn
}

// answer is what a handshake is answered through: an upgrade, which takes the connection over, or a
// refusal.
type answer struct {
	conn   net.Conn
	head   *head
	taken  bool
	header http.Header
	status int
	body   bytes.Buffer
}

var _ http.Hijacker = (*answer)(nil)

// Header is the refusal's.
func (a *answer) Header() http.Header {
	if a.header == nil {
		a.header = make(http.Header)
	}
	return a.header
}

// WriteHeader sets the refusal's status.
func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
}

// Write adds to the refusal's text.
func (a *answer) Write(text []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(text)
}

// Hijack gives the connection away. What comes with it is of use until the handshake is served.
func (a *answer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	a.taken = true
	return a.conn, &bufio.ReadWriter{Reader: a.head.in, Writer: a.head.out}, nil
}

// end sends the refusal, if it is one, and closes the connection.
func (a *answer) end() {
	if a.taken {
		return
	}
	defer func() { _ = a.conn.Close() }()
	a.Header().Set("Date", time.Now().UTC().Format(http.TimeFormat))
	response := http.Response{
		StatusCode: a.status, ProtoMajor: 1, ProtoMinor: 1, Header: a.header,
		Body: io.NopCloser(&a.body), ContentLength: int64(a.body.Len()), Close: true,
	}
	_ = a.conn.SetDeadline(time.Now().Add(lingering))
	if response.Write(a.head.out) != nil || a.head.out.Flush() != nil {
		return
	}
	if half, ok := a.conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
		_, _ = io.CopyN(io.Discard, a.conn, 64<<10)
	}
}
