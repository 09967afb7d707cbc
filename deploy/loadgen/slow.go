package loadgen

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"github.com/parley-chat/parley/deploy/loadgen/crowd"
	"github.com/parley-chat/parley/deploy/loadgen/dialect"
)

const (
	slowRead   = 1 << 10          // bytes a second
	slowBuffer = 4 << 10          // bytes that the system takes for who does not read
	slowStay   = 15 * time.Second // a server closes who takes nothing: each comes anew now and then
	slowPause  = 100 * time.Millisecond
	slowDial   = 10 * time.Second
)

// slowReaders are further members of the rooms who hardly read: every second one nothing at
// all, the others 1 KiB a second. What reaches them counts nowhere.
type slowReaders struct {
	config  crowd.Config
	dialect dialect.Dialect
	leave   context.CancelFunc
	sitting sync.WaitGroup
}

// seat has n of them come, and stay until close.
func seat(ctx context.Context, cfg crowd.Config, n int) (*slowReaders, error) {
	speaks, err := dialect.ByName(cfg.Dialect)
	if err != nil {
		return nil, err
	}
	staying, leave := context.WithCancel(context.WithoutCancel(ctx))
	s := &slowReaders{config: cfg, dialect: speaks, leave: leave}
	for i := range n {
		conn, err := s.come(ctx, i)
		if err != nil {
			s.close()
			return nil, fmt.Errorf("a slow reader: %w", err)
		}
		s.sitting.Go(func() { s.sit(staying, conn, i) })
	}
	return s, nil
}

func (s *slowReaders) close() {
	s.leave()
	s.sitting.Wait()
}

// come connects and joins.
func (s *slowReaders) come(ctx context.Context, i int) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, slowDial)
	defer cancel()
	server := "ws" + strings.TrimPrefix(s.config.URLs[i%len(s.config.URLs)], "http")
	room, user := s.config.Room(i%s.config.Rooms), s.config.Prefix+"slow"+strconv.Itoa(i)
	dialer := websocket.Dialer{NetDialContext: smallBuffer}
	ws, _, err := dialer.DialContext(ctx, server+s.dialect.Path(user, room), nil)
	if err != nil {
		return nil, err
	}
	if hello := s.dialect.AppendHello(nil, user, room, nil); len(hello) > 0 {
		err = ws.WriteMessage(websocket.TextMessage, hello)
	}
	if err != nil {
		return nil, errors.Join(err, ws.Close())
	}
	return ws.NetConn(), nil
}

func smallBuffer(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	if err := conn.(*net.TCPConn).SetReadBuffer(slowBuffer); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

// sit stays, and comes anew when it was there for long or is closed.
func (s *slowReaders) sit(ctx context.Context, conn net.Conn, i int) {
	for conn != nil {
		s.dawdle(ctx, conn, i%2 == 0)
		_ = conn.Close()
		conn = nil
		for conn == nil && pause(ctx, slowPause) == nil {
			conn, _ = s.come(ctx, i)
		}
	}
}

// dawdle reads, if at all, 1 KiB a second, until it was there for long or is closed.
func (s *slowReaders) dawdle(ctx context.Context, conn net.Conn, reads bool) {
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })()
	end := time.Now().Add(slowStay)
	some := make([]byte, slowRead)
	for time.Now().Before(end) && pause(ctx, time.Second) == nil {
		if !reads {
			continue
		}
		if _, err := conn.Read(some); err != nil {
			return
		}
	}
}
