package redistest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// Trouble is a state in which a live server refuses what it will take later.
type Trouble struct {
	Name  string                       // how its refusals begin: "OOM"
	args  []string                     // of a server that can get into it
	ready func(*Server, *redis.Client) // after the start; nil: nothing
	begin func(*Server, *redis.Client) // gets into it
	end   func(*Server, *redis.Client) // gets out of it
}

// Troubles are all that a single server can be made to have.
func Troubles() []Trouble {
	return []Trouble{
		{Name: "OOM", begin: config("maxmemory", "1"), end: config("maxmemory", "0")},
		{Name: "READONLY", begin: nobodysReplica, end: master},
		{Name: "MASTERDOWN", args: []string{"--replica-serve-stale-data", "no"}, begin: nobodysReplica, end: master},
		{Name: "NOREPLICAS", begin: config("min-replicas-to-write", "1"), end: config("min-replicas-to-write", "0")},
		{Name: "CLUSTERDOWN", args: []string{"--cluster-enabled", "yes"}, ready: slots("ADDSLOTSRANGE"), begin: slots("DELSLOTSRANGE"), end: slots("ADDSLOTSRANGE")},
		{Name: "BUSY", args: []string{"--busy-reply-threshold", "10"}, begin: endlessScript, end: do("SCRIPT", "KILL")},
		{Name: "MISCONF", args: []string{"--enable-protected-configs", "yes"}, begin: nowhereToSave, end: somewhereToSave},
		{Name: "LOADING", begin: slowStart, end: config("key-load-delay", "0")},
	}
}

// Start starts a server that can get into the trouble, and is not in it yet.
func (x Trouble) Start(t testing.TB) *Server {
	t.Helper()
	s := Start(t, Options{Args: x.args})
	if x.ready != nil {
		x.ready(s, s.Client())
		s.await("it takes writes", func(err error) bool { return err == nil })
	}
	return s
}

// Begin gets the server into the trouble, and returns when it refuses a write.
func (x Trouble) Begin(s *Server) {
	s.t.Helper()
	x.begin(s, s.Client())
	s.await("it answers "+x.Name, func(err error) bool { return err != nil && strings.HasPrefix(err.Error(), x.Name) })
}

// End gets the server out of the trouble, and returns when it takes writes.
func (x Trouble) End(s *Server) {
	s.t.Helper()
	x.end(s, s.Client())
	s.await("it takes writes", func(err error) bool { return err == nil })
}

// await tries a write and a read until their outcome fits.
func (s *Server) await(what string, fits func(error) bool) {
	s.t.Helper()
	client := redis.NewClient(&redis.Options{Addr: s.Addr, MaxRetries: -1, ContextTimeoutEnabled: true, DisableIdentity: true})
	defer func() { _ = client.Close() }()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := client.Set(ctx, "{redistest}", "x", 0).Err()
		if fits(err) && err != nil {
			return
		}
		// No value is an answer, too: perhaps no write of ours has been taken yet.
		if read := client.Get(ctx, "{redistest}").Err(); read != nil && !errors.Is(read, redis.Nil) {
			err = read
		}
		if fits(err) {
			return
		}
		select {
		case <-ctx.Done():
			s.t.Fatalf("wait until %s: at last a write said %v", what, err)
		case <-tick.C:
		}
	}
}

func do(args ...any) func(*Server, *redis.Client) {
	return func(s *Server, c *redis.Client) {
		s.t.Helper()
		if err := c.Do(context.Background(), args...).Err(); err != nil {
			s.t.Fatalf("%v: %v", args, err)
		}
	}
}

func config(name, value string) func(*Server, *redis.Client) { return do("CONFIG", "SET", name, value) }

func slots(command string) func(*Server, *redis.Client) { return do("CLUSTER", command, 0, 16383) }

// nobodysReplica makes it the replica of a server that is not there.
func nobodysReplica(s *Server, c *redis.Client) { do("REPLICAOF", "127.0.0.1", "1")(s, c) }

func master(s *Server, c *redis.Client) { do("REPLICAOF", "NO", "ONE")(s, c) }

func endlessScript(s *Server, _ *redis.Client) {
	c := redis.NewClient(&redis.Options{Addr: s.Addr, ReadTimeout: -1, MaxRetries: -1, DisableIdentity: true})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = c.Eval(context.Background(), "while true do end", nil).Err() // killed
	}()
	s.t.Cleanup(func() { _ = c.Close(); <-ended })
}

// nowhereToSave has saving fail, as a full disk does, in a folder that is gone.
func nowhereToSave(s *Server, c *redis.Client) {
	s.t.Helper()
	gone := filepath.Join(s.Dir, "gone")
	if err := os.Mkdir(gone, 0o755); err != nil {
		s.t.Fatal(err)
	}
	config("dir", gone)(s, c)
	if err := os.Remove(gone); err != nil {
		s.t.Fatal(err)
	}
	config("save", "3600 1000000")(s, c)
	do("BGSAVE")(s, c)
}

func somewhereToSave(s *Server, c *redis.Client) {
	config("dir", s.Dir)(s, c)
	do("BGSAVE")(s, c)
}

// slowStart restarts it with so much to load that it takes a while.
func slowStart(s *Server, c *redis.Client) {
	s.t.Helper()
	pipe := c.Pipeline()
	for i := range 40_000 {
		pipe.Set(context.Background(), fmt.Sprintf("{redistest}:%d", i), "x", 0)
	}
	if _, err := pipe.Exec(context.Background()); err != nil {
		s.t.Fatal(err)
	}
	s.Kill()
	if err := s.launch("--key-load-delay", "300"); err != nil {
		s.t.Fatalf("start redis-server again: %v", err)
	}
}
