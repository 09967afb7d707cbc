// Package baseline is the chat server that one writes after the tutorials, to
// compare with: gorilla/websocket and Redis Pub/Sub, two goroutines and a queue
// per client, JSON. It is written as well as that design can be: messages are
// encoded once and prepared once for all sockets, buffers of writes are pooled,
// pings are sent, slow clients are cut off, and a process subscribes to a room once
// for all its members. Durable, it appends each message to a stream in the same
// pipeline before it publishes it, and acknowledges when Redis has both.
package baseline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	"github.com/redis/go-redis/v9"
)

const (
	queueLength = 256              // messages that may wait for a client
	maxFrame    = 64 << 10         // bytes of a client's frame
	pingEvery   = 25 * time.Second // and the answer must come within pongWait
	pongWait    = 35 * time.Second
	writeWait   = 10 * time.Second
	keep        = 10_000 // entries of a room's stream
)

// Config is the server's settings.
type Config struct {
	Listen  string
	Redis   string // redis://host:port/db
	Durable bool
	Logger  *slog.Logger
}

// Server is the server. Run runs it once.
type Server struct {
	cfg      Config
	redis    *redis.Client
	hub      *hub
	upgrader websocket.Upgrader

	mu      sync.Mutex
	clients map[*client]struct{}
	ended   bool
	wg      sync.WaitGroup // clients' goroutines
}

// New prepares a server; it does not wait for Redis.
func New(cfg Config) (*Server, error) {
	options, err := redis.ParseURL(cfg.Redis)
	if err != nil {
		return nil, fmt.Errorf("redis %q: %w", cfg.Redis, err)
	}
	rdb := redis.NewClient(options)
	return &Server{
		cfg: cfg, redis: rdb, hub: newHub(rdb), clients: map[*client]struct{}{},
		upgrader: websocket.Upgrader{ReadBufferSize: 1024, WriteBufferSize: 1024, WriteBufferPool: &sync.Pool{}},
	}, nil
}

// Run listens until ctx ends, then closes all connections and waits for them.
func (s *Server) Run(ctx context.Context) error {
	listener, err := net.Listen("tcp", s.cfg.Listen)
	if err != nil {
		return err
	}
	return s.Serve(ctx, listener)
}

// Serve is Run on a listener of the caller's.
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ws", s.connect)
	mux.HandleFunc("GET /readyz", s.ready)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	var running sync.WaitGroup
	failed := make(chan error, 1)
	running.Go(func() { failed <- server.Serve(listener) })
	receiving, cancel := context.WithCancel(context.Background())
	running.Go(func() { s.hub.run(receiving) })
	var result error
	select {
	case <-ctx.Done():
	case result = <-failed:
	}
	_ = server.Close()
	s.closeAll()
	s.wg.Wait()
	cancel()
	running.Wait()
	return errors.Join(result, s.hub.close(), s.redis.Close())
}

func (s *Server) ready(w http.ResponseWriter, r *http.Request) {
	if err := s.redis.Ping(r.Context()).Err(); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	}
}

func (s *Server) closeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	for c := range s.clients {
		_ = c.conn.Close()
	}
}

// add takes a client in, unless the server ends.
func (s *Server) add(c *client) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return false
	}
	s.clients[c] = struct{}{}
	s.wg.Add(2)
	return true
}

func (s *Server) remove(c *client) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.clients, c)
}
