package store

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/parley-chat/parley/shared/event"
	"github.com/parley-chat/parley/shared/redistest"
)

// Whatever a live Redis refuses for now is unavailable, nothing is written then, and
// the owner goes on where it was when the trouble is over.
func TestTroubles(t *testing.T) {
	for _, x := range redistest.Troubles() {
		t.Run(x.Name, func(t *testing.T) {
			t.Parallel()
			server := x.Start(t)
			e := newRedis(&redis.UniversalOptions{Addrs: []string{server.Addr}, MaxRetries: -1, ContextTimeoutEnabled: true}, "test", Fast)
			t.Cleanup(func() { _ = e.close() })
			s := &Store{e}
			l := open(t, s, 1)
			mustAppend(t, l, write("a", 1, 2))
			epoch := l.Epoch()

			x.Begin(server)
			for what, call := range map[string]func() error{
				"append": func() error { return l.Append(t.Context(), []Write{write("a", 3, 3)}) },
				"settle": func() error { return s.Settle(t.Context(), 8) },
				"open":   func() error { _, err := s.Open(t.Context(), part, 1); return err },
			} {
				if err := call(); !errors.Is(err, ErrUnavailable) {
					t.Errorf("%s: %v, want ErrUnavailable", what, err)
				}
			}
			if _, err := s.Heads(t.Context(), part, []event.RoomID{"a"}); err != nil && !errors.Is(err, ErrUnavailable) {
				t.Errorf("heads: %v", err) // some troubles let it read
			}

			x.End(server)
			mustAppend(t, l, write("a", 3, 3))
			if got := head(t, s, "a").Head; got != 3 || l.Epoch() != epoch {
				t.Errorf("head %d, epoch %s; want 3, %s", got, l.Epoch(), epoch)
			}
			if err := l.Check(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// What no single server can be made to say, and what waiting does not mend.
func TestExplain(t *testing.T) {
	for text, passes := range map[string]bool{
		"TRYAGAIN Multiple keys request during rehashing of slot":  true,
		"MOVED 3999 127.0.0.1:6381":                                true,
		"ASK 3999 127.0.0.1:6381":                                  true,
		"ERR max number of clients reached":                        true,
		"UNKILLABLE Sorry the script already executed write":       true,
		"ERR Error running script: -OOM command not allowed":       true,
		"WRONGTYPE Operation against a key holding the wrong kind": false,
		"NOPERM this user has no permissions":                      false,
		"NOAUTH Authentication required.":                          false,
		"WRONGPASS invalid username-password pair":                 false,
	} {
		err := explain(answer(text))
		if errors.Is(err, ErrUnavailable) != passes || errors.Is(err, errUnknown) {
			t.Errorf("%s: %v", text, err)
		}
	}
	if err := explain(context.DeadlineExceeded); !errors.Is(err, ErrUnavailable) || !errors.Is(err, errUnknown) {
		t.Errorf("without an answer nobody knows: %v", err)
	}
}

type answer string

func (a answer) Error() string { return string(a) }
func (answer) RedisError()     {}

// pair is a store of the durability on a master that has a replica.
func pair(t *testing.T, d Durability) (s *Store, master, replica *redistest.Server) {
	t.Helper()
	master, replica = redistest.Start(t, redistest.Options{}), redistest.Start(t, redistest.Options{})
	follow(t, replica, master)
	return atServer(t, master, d), master, replica
}

func atServer(t *testing.T, server *redistest.Server, d Durability) *Store {
	t.Helper()
	s, err := Open(server.URL, "test", d, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func follow(t *testing.T, replica, master *redistest.Server) {
	t.Helper()
	host, port, _ := strings.Cut(master.Addr, ":")
	client := replica.Client()
	if err := client.ReplicaOf(t.Context(), host, port).Err(); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		info, err := client.Info(t.Context(), "replication").Result()
		if err == nil && field(info, "master_link_status") != "up" {
			err = errors.New("the replica is not linked to its master")
		}
		return err
	})
}

// An append that no replica has is not done, although it is written; once a replica
// has it, it is done, once.
func TestReplicated(t *testing.T) {
	t.Parallel()
	s, _, replica := pair(t, Replicated)
	l := open(t, s, 1)
	mustAppend(t, l, write("a", 1, 2))
	epoch := l.Epoch()

	replica.Pause()
	began := time.Now()
	err := l.Append(t.Context(), []Write{write("a", 3, 3)})
	if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "replicated") {
		t.Fatalf("%v, want ErrUnavailable for want of a replica", err)
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("it took %s to say so", took)
	}
	// A repeat of what was written may not be acknowledged either.
	wantErr(t, l.Append(t.Context(), nil), ErrUnavailable)
	replica.Resume()
	eventually(t, func() error { return l.Append(t.Context(), nil) })
	if got := head(t, s, "a").Head; got != 3 || l.Epoch() != epoch {
		t.Fatalf("head %d, epoch %s; want 3, %s", got, l.Epoch(), epoch)
	}
	mustAppend(t, l, write("a", 4, 4))
}

// What was acknowledged survives the master, whichever moment it is killed in.
func TestReplicatedSurvivesTheMaster(t *testing.T) {
	t.Parallel()
	s, master, replica := pair(t, Replicated)
	l := open(t, s, 1)
	began, acks := make(chan struct{}), make(chan uint64, 1)
	go func() {
		acked := uint64(0)
		for l.Append(t.Context(), []Write{write("a", acked+1, acked+1)}) == nil {
			if acked++; acked == 20 {
				close(began)
			}
		}
		acks <- acked
	}()
	select {
	case <-began:
	case acked := <-acks:
		t.Fatalf("only %d appends went well", acked)
	}
	master.Kill()
	acked := <-acks
	if err := replica.Client().ReplicaOf(t.Context(), "no", "one").Err(); err != nil {
		t.Fatal(err)
	}
	if got := head(t, atServer(t, replica, Fast), "a").Head; got < acked || got > acked+1 {
		t.Fatalf("the promoted replica has %d entries, acknowledged were %d", got, acked)
	}
}

// The reply of a write that is there is lost: it counts when it is confirmed.
func TestLostReplyIsConfirmed(t *testing.T) {
	t.Parallel()
	s, _, replica := pair(t, Replicated)
	f := &faulty{engine: s.engine}
	s.engine = f
	l := open(t, s, 1)
	f.onAppend = unheard
	mustAppend(t, l, write("a", 1, 1))
	replica.Pause()
	f.onAppend = unheard
	wantErr(t, l.Append(t.Context(), []Write{write("a", 2, 2)}), ErrUnavailable)
	replica.Resume()
	eventually(t, func() error { return l.Append(t.Context(), nil) })
	mustAppend(t, l, write("a", 3, 3))
}

func TestFsync(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Options{})
	client := server.Client()
	s := atServer(t, server, Fsync)
	if _, err := s.Verify(t.Context()); err != nil {
		t.Fatal(err)
	}
	l := open(t, s, 1)
	mustAppend(t, l, write("a", 1, 1))
	info, err := client.Info(t.Context(), "server").Result()
	if err != nil {
		t.Fatal(err)
	}
	version := field(info, "redis_version")
	if waitsForDisk(version) {
		t.Logf("WAITAOF was run: this is Redis %s", version)
		return
	}
	t.Logf("WAITAOF was not run, appendfsync always was: this is Redis %s", version)
	set := func(name, value string) {
		t.Helper()
		if err := client.ConfigSet(t.Context(), name, value).Err(); err != nil {
			t.Fatal(err)
		}
	}
	set("appendfsync", "everysec")
	if _, err := s.Verify(t.Context()); !errors.Is(err, ErrDurability) || !strings.Contains(err.Error(), "appendfsync always; this is Redis 7.0") {
		t.Fatalf("%v, want what is allowed and what is there", err)
	}
	// A server that turns out to be weaker while it is in use takes nothing.
	wantErr(t, l.Append(t.Context(), []Write{write("a", 2, 2)}), ErrUnavailable)
	_, err = s.Open(t.Context(), part, 2)
	wantErr(t, err, ErrUnavailable)
	set("appendfsync", "always")
	if err := s.engine.verify(t.Context(), part); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, l, write("a", 2, 2))
}

func TestConcerns(t *testing.T) {
	for _, test := range []struct {
		name string
		args []string
		want []string
	}{
		{name: "as shipped"},
		{"eviction", []string{"--maxmemory-policy", "allkeys-lru"}, []string{"maxmemory-policy is allkeys-lru"}},
		{"leases go", []string{"--maxmemory-policy", "volatile-ttl"}, []string{"maxmemory-policy is volatile-ttl"}},
		{"everysec", []string{"--appendfsync", "everysec"}, []string{"appendfsync is everysec"}},
		{"no AOF", []string{"--appendonly", "no", "--maxmemory-policy", "allkeys-random"}, []string{"maxmemory-policy is allkeys-random", "appendonly is no"}},
		{"settings not told", []string{"--rename-command", "CONFIG", ""}, []string{"Redis does not tell its settings"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := atServer(t, redistest.Start(t, redistest.Options{Args: test.args}), Fast)
			got, err := s.Verify(t.Context())
			if err != nil || len(got) != len(test.want) {
				t.Fatalf("%q, %v; want %q", got, err, test.want)
			}
			for i := range got {
				if !strings.HasPrefix(got[i], test.want[i]) {
					t.Errorf("%q, want %q", got[i], test.want[i])
				}
			}
		})
	}
}

func TestDurabilityOfMemory(t *testing.T) {
	if _, err := Open(Memory, "test", Fsync, nil); !errors.Is(err, ErrDurability) {
		t.Fatalf("%v, want a refusal: memory keeps nothing", err)
	}
}
