package registry

import (
	"context"
	"reflect"
	"testing"
	"time"

	"github.com/parley-chat/parley/shared/event"
	"github.com/parley-chat/parley/shared/redistest"

	"github.com/parley-chat/parley/services/notifier/internal/presence"
)

// both is what every registry can do.
type both interface {
	Replace(context.Context, Owner, []presence.User) error
	Count(context.Context, Owner, map[event.NodeID]int) error
	Find(context.Context, int, []event.UserID) ([][]presence.Session, error)
	Nodes(context.Context, int) (map[event.NodeID]int, error)
	Close() error
}

func TestMemory(t *testing.T) {
	suite(t, func(*testing.T) both { return NewMemory(time.Now) })
}

func TestRedis(t *testing.T) {
	server := redistest.Start(t, redistest.Options{})
	suite(t, func(t *testing.T) both {
		server.Flush()
		r, err := NewRedis(server.URL, "test", nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		})
		return r
	})
}

func row(user event.UserID, session event.SessionID, life event.Life) presence.Session {
	return presence.Session{SessionRow: event.SessionRow{
		Who:   event.Who{Node: "edge-1", Session: session, Life: life, User: user},
		Agent: "test", Since: 5, Rooms: []event.RoomID{"r1", "r2"},
	}}
}

func suite(t *testing.T, open func(*testing.T) both) {
	ctx := context.Background()
	owner := Owner{Partition: 3, Generation: 10}
	check := func(t *testing.T, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	write := func(t *testing.T, r both, o Owner, users ...presence.User) {
		t.Helper()
		check(t, r.Replace(ctx, o, users))
	}
	want := func(t *testing.T, r both, user event.UserID, want ...presence.Session) {
		t.Helper()
		found, err := r.Find(ctx, 3, []event.UserID{"nobody", user})
		check(t, err)
		if len(found[0]) != 0 || !reflect.DeepEqual(found[1], want) {
			t.Fatalf("found %+v, want nobody and %+v", found, want)
		}
	}

	t.Run("replaces all of a user", func(t *testing.T) {
		r := open(t)
		write(t, r, owner,
			presence.User{ID: "ann {x}", Sessions: []presence.Session{row("ann {x}", "s1", 1), row("ann {x}", "s2", 1)}},
			presence.User{ID: "bob", Sessions: []presence.Session{row("bob", "s3", 1)}})
		want(t, r, "ann {x}", row("ann {x}", "s1", 1), row("ann {x}", "s2", 1))
		write(t, r, owner, presence.User{ID: "ann {x}", Sessions: []presence.Session{row("ann {x}", "s2", 2)}})
		want(t, r, "ann {x}", row("ann {x}", "s2", 2))
		write(t, r, owner, presence.User{ID: "ann {x}"})
		want(t, r, "ann {x}")
		want(t, r, "bob", row("bob", "s3", 1))
	})
	t.Run("ignores an owner of before", func(t *testing.T) {
		r := open(t)
		write(t, r, Owner{3, 1_763_765_123_456}, presence.User{ID: "ann"})
		write(t, r, Owner{3, 1_763_765_123_455}, presence.User{ID: "ann", Sessions: []presence.Session{row("ann", "s1", 1)}})
		want(t, r, "ann")
		check(t, r.Count(ctx, Owner{3, 2}, map[event.NodeID]int{"a": 2}))
		check(t, r.Count(ctx, Owner{3, 1}, map[event.NodeID]int{"a": 1}))
		counts, err := r.Nodes(ctx, 3)
		check(t, err)
		if !reflect.DeepEqual(counts, map[event.NodeID]int{"a": 2}) {
			t.Errorf("counts %v", counts)
		}
	})
	t.Run("a hold that is over counts no more", func(t *testing.T) {
		r := open(t)
		held, over := row("ann", "s1", 1), row("ann", "s2", 1)
		held.Until, over.Until = time.Now().Add(time.Hour).UnixMilli(), time.Now().UnixMilli()-1
		write(t, r, owner, presence.User{ID: "ann", Sessions: []presence.Session{held, over}})
		want(t, r, "ann", held)
	})
	t.Run("partitions are apart", func(t *testing.T) {
		r := open(t)
		write(t, r, Owner{4, 1}, presence.User{ID: "ann", Sessions: []presence.Session{row("ann", "s1", 1)}})
		want(t, r, "ann")
	})
}

func TestMemoryForgets(t *testing.T) {
	now := time.Now()
	m := NewMemory(func() time.Time { return now })
	ann := presence.User{ID: "ann", Sessions: []presence.Session{row("ann", "s1", 1)}}
	_ = m.Replace(context.Background(), Owner{}, []presence.User{ann})
	now = now.Add(TTL)
	if found, _ := m.Find(context.Background(), 0, []event.UserID{"ann"}); len(found[0]) != 0 {
		t.Errorf("found %v after the TTL", found)
	}
	_ = m.Replace(context.Background(), Owner{}, nil)
	if len(m.users) != 0 {
		t.Errorf("%d users are kept", len(m.users))
	}
}

func TestRedisKeysExpireAndErrorsTell(t *testing.T) {
	server := redistest.Start(t, redistest.Options{})
	ctx := context.Background()
	r, err := NewRedis(server.URL, "test", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ann := presence.User{ID: "ann", Sessions: []presence.Session{row("ann", "s1", 1)}}
	if err := r.Replace(ctx, Owner{3, 1}, []presence.User{ann}); err != nil {
		t.Fatal(err)
	}
	if err := r.Count(ctx, Owner{3, 1}, map[event.NodeID]int{"a": 1}); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"test:{p03}:user:ann", "test:{p03}:nodes"} {
		if ttl := server.Client().PTTL(ctx, key).Val(); ttl <= 0 || ttl > TTL {
			t.Errorf("%s expires in %v", key, ttl)
		}
	}
	server.Kill()
	if err := r.Replace(ctx, Owner{3, 1}, []presence.User{ann}); err == nil {
		t.Error("no error from a dead server")
	}
	if _, err := r.Find(ctx, 3, []event.UserID{"ann"}); err == nil {
		t.Error("no error from a dead server")
	}
	if _, err := NewRedis("http://x", "test", nil); err == nil {
		t.Error("http:// was taken for Redis")
	}
}
