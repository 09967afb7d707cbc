package store

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/parley-chat/parley/shared/event"
	"github.com/parley-chat/parley/shared/redistest"
)

var everysec = redistest.Options{Args: []string{"--appendfsync", "everysec"}}

func TestRestartUnderItsOwner(t *testing.T) {
	e, server := redisPlace(t, redistest.Options{})
	s := &Store{e}
	l := open(t, s, 1)
	mustAppend(t, l, write("a", 1, 2))
	epoch, generation, run := l.Epoch(), l.Generation(), l.record.run
	server.Restart()
	eventually(t, func() error { return l.Check(t.Context()) })
	if l.Epoch() != epoch || l.Generation() != generation || l.record.run == run {
		t.Fatalf("epoch %s, generation %d, run %s: it has everything, and the server is another life", l.Epoch(), l.Generation(), l.record.run)
	}
	mustAppend(t, l, write("a", 3, 3))
	// The owner saw the restart through, so its successor has nothing to fear.
	if next := open(t, s, 2); next.Epoch() != epoch || !next.Sure() {
		t.Fatalf("the next owner has %+v", next.record)
	}
}

// The server was restarted while nobody had the partition: whether something was
// lost depends on what it promises.
func TestRestartBetweenOwners(t *testing.T) {
	tests := []struct {
		name       string
		o          redistest.Options
		keep, sure bool
	}{
		{"appendfsync always", redistest.Options{}, true, false},
		{"appendfsync everysec", everysec, false, true},
		{"settings not told", redistest.Options{Args: []string{"--rename-command", "CONFIG", ""}}, false, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			e, server := redisPlace(t, test.o)
			s := &Store{e}
			l := open(t, s, 1)
			if err := l.Told(t.Context()); err != nil {
				t.Fatal(err)
			}
			mustAppend(t, l, write("a", 1, 2))
			server.Restart()
			var next *Log
			eventually(t, func() (err error) { next, err = s.Open(t.Context(), part, 2); return err })
			if kept := next.Epoch() == l.Epoch(); kept != test.keep || next.Sure() != test.sure || next.Untold() == test.keep {
				t.Fatalf("kept the epoch %t, record %+v; want %+v", kept, next.record, test)
			}
		})
	}
}

func TestPromotedReplicaIsNotTrusted(t *testing.T) {
	e, master := redisPlace(t, redistest.Options{})
	s := &Store{e}
	l := open(t, s, 1)
	mustAppend(t, l, write("a", 1, 2))

	replica := redistest.Start(t, redistest.Options{})
	client := replica.Client()
	host, port, _ := strings.Cut(master.Addr, ":")
	if err := client.ReplicaOf(t.Context(), host, port).Err(); err != nil {
		t.Fatal(err)
	}
	e2 := newRedis(&redis.UniversalOptions{Addrs: []string{replica.Addr}, MaxRetries: -1}, "test", Fast)
	defer e2.close()
	s2 := &Store{e2}
	eventually(t, func() error {
		if heads, err := s2.Heads(t.Context(), part, []event.RoomID{"a"}); err != nil || heads[0].Head != 2 {
			return errors.Join(errors.New("not replicated yet"), err)
		}
		return nil
	})
	if err := client.ReplicaOf(t.Context(), "no", "one").Err(); err != nil {
		t.Fatal(err)
	}
	if next := open(t, s2, 2); next.Epoch() == l.Epoch() {
		t.Fatal("a new owner trusts a promoted replica, which may lack what its master had")
	}
}

func TestUnavailable(t *testing.T) {
	e, server := redisPlace(t, redistest.Options{Args: []string{"--maxmemory-policy", "noeviction"}})
	s := &Store{e}
	client := server.Client()
	l := open(t, s, 1)
	mustAppend(t, l, write("a", 1, 2))
	epoch := l.Epoch()

	set := func(name, value string) {
		t.Helper()
		if err := client.ConfigSet(t.Context(), name, value).Err(); err != nil {
			t.Fatal(err)
		}
	}
	set("maxmemory", "1")
	wantErr(t, l.Append(t.Context(), []Write{write("a", 3, 5)}), ErrUnavailable)
	set("maxmemory", "0")
	if got := head(t, s, "a").Head; got != 2 {
		t.Fatalf("head %d after an append refused for want of memory, want 2", got)
	}
	mustAppend(t, l, write("a", 3, 3))

	server.Pause()
	wantErr(t, l.Append(t.Context(), []Write{write("a", 4, 5)}), ErrUnavailable)
	server.Resume()
	eventually(t, func() error { return l.Check(t.Context()) })
	at := head(t, s, "a").Head // 3 or 5: the paused server may have had the script already
	mustAppend(t, l, write("a", at+1, at+1))

	server.Kill()
	wantErr(t, l.Append(t.Context(), []Write{write("a", at+2, at+2)}), ErrUnavailable)
	server.Run()
	eventually(t, func() error { return l.Append(t.Context(), []Write{write("a", at+2, at+2)}) })
	if got := head(t, s, "a").Head; got != at+2 || l.Epoch() != epoch {
		t.Fatalf("head %d, epoch %s; want %d, %s", got, l.Epoch(), at+2, epoch)
	}
}

// A key of another type in the way of one log is an error of its own, and nothing
// of the batch is written.
func TestWrongTypeIsNotUnavailable(t *testing.T) {
	e, server := redisPlace(t, redistest.Options{})
	s := &Store{e}
	l := open(t, s, 1)
	if err := server.Client().Set(t.Context(), e.log(part, "b"), "x", 0).Err(); err != nil {
		t.Fatal(err)
	}
	err := l.Append(t.Context(), []Write{write("a", 1, 1), write("b", 1, 1)})
	if err == nil || errors.Is(err, ErrUnavailable) || errors.Is(err, ErrLost) {
		t.Fatalf("got %v", err)
	}
	if got := head(t, s, "a").Head; got != 0 {
		t.Fatalf("head %d, want 0", got)
	}
	mustAppend(t, l, write("a", 1, 1))
}

func eventually(t *testing.T, try func() error) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		<-tick.C
	}
}
