package e2e

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/parley-chat/parley/deploy/cluster"
	"github.com/parley-chat/parley/services/ingress/protocol"
)

// sender is a user who never gives up: a send without an answer is sent again
// under its cid, on the other edge when the line broke.
type sender struct {
	t     testing.TB
	edges []string
	at    int
	name  string
	room  string
	u     *user
	acked map[string]uint64 // cid → seq
	every chan struct{}     // gets one token after each acknowledgement, if there is room
}

func newSender(t testing.TB, edges []string, at int, name, room string) *sender {
	s := &sender{t: t, edges: edges, at: at, name: name, room: room, acked: map[string]uint64{}, every: make(chan struct{}, 1)}
	s.u = connect(t, edges[at], name, hello{})
	s.u.join(room)
	return s
}

// run sends n messages, eight unanswered at a time, until all are acknowledged.
func (s *sender) run(ctx context.Context, n int) error {
	for first := 0; first < n; first += 8 {
		waiting := map[string]bool{}
		for i := first; i < min(first+8, n); i++ {
			waiting[fmt.Sprintf("%s-%d", s.name, i)] = true
		}
		for len(waiting) > 0 {
			if ctx.Err() != nil {
				return fmt.Errorf("%s has %d of %d acknowledged, waits for %v: %w", s.name, len(s.acked), n, waiting, context.Cause(ctx))
			}
			s.try(ctx, waiting)
		}
	}
	return nil
}

// try sends what waits, in order, and takes the answers.
func (s *sender) try(ctx context.Context, waiting map[string]bool) {
	ids := map[string]uint64{}
	for i := range 100000 { // in the order of their numbers
		if len(ids) == len(waiting) {
			break
		}
		cid := fmt.Sprintf("%s-%d", s.name, s.base(waiting)+i)
		if waiting[cid] {
			ids[cid] = s.u.post(sendFields(s.room, cid, cid))
		}
	}
	for cid, id := range ids {
		f, err := s.u.reply(id, patience(12*time.Second))
		if err != nil {
			s.reconnect(ctx)
			return
		}
		if f.Type == protocol.TypeOK {
			if was, ok := s.acked[cid]; ok && was != f.Seq {
				s.t.Errorf("%s was acknowledged as %d and as %d", cid, was, f.Seq)
			}
			s.acked[cid] = f.Seq
			delete(waiting, cid)
			select {
			case s.every <- struct{}{}:
			default:
			}
		} else if f.Code != protocol.Unavailable {
			s.t.Errorf("%s was answered %s", cid, f.Raw)
			delete(waiting, cid)
		}
	}
}

func (s *sender) base(waiting map[string]bool) int {
	lowest := 1 << 30
	for cid := range waiting {
		var n int
		if _, err := fmt.Sscanf(cid[len(s.name):], "-%d", &n); err == nil {
			lowest = min(lowest, n)
		}
	}
	return lowest
}

// reconnect resumes on the other edge, trying until ctx ends.
func (s *sender) reconnect(ctx context.Context) {
	s.u.drop()
	h := hello{resume: s.u.welcome.Resume, rooms: s.u.cursors()}
	for ctx.Err() == nil {
		s.at = (s.at + 1) % len(s.edges)
		next, err := tryConnect(s.t, s.edges[s.at], s.name, h)
		if err != nil {
			select {
			case <-time.After(100 * time.Millisecond):
			case <-ctx.Done():
			}
			continue
		}
		if next.awaitErr("joined", patience(15*time.Second), func() bool { return next.room(s.room).live }) == nil {
			next.mu.Lock()
			s.u.mu.Lock()
			next.room(s.room).entries = append(append([]entry(nil), s.u.room(s.room).entries...), next.room(s.room).entries...)
			next.room(s.room).resets += s.u.room(s.room).resets
			s.u.mu.Unlock()
			next.mu.Unlock()
			s.u = next
			return
		}
		h.rooms = map[string]protocol.Cursor{s.room: s.u.cursor(s.room)}
		next.drop()
	}
}

// underFire has four senders on two edges send n messages in all while the fault
// happens, and checks that every acknowledged message is there, none twice, and
// that all have the same.
func underFire(t *testing.T, c *cluster.Cluster, n int, fault func(ctx context.Context)) {
	room := roomOf(t)
	one, two := edges(c)
	ctx, cancel := context.WithTimeoutCause(context.Background(), patience(2*time.Minute), fmt.Errorf("delivery did not go on"))
	defer cancel()
	senders := make([]*sender, 4)
	for i := range senders {
		senders[i] = newSender(t, []string{one, two}, i%2, fmt.Sprintf("s%d", i), room)
	}
	var acked atomic.Int64
	var wg sync.WaitGroup
	for _, s := range senders {
		wg.Go(func() {
			if err := s.run(ctx, n/len(senders)); err != nil {
				t.Error(err)
			}
			acked.Add(int64(len(s.acked)))
		})
	}
	<-senders[0].every
	fault(ctx)
	wg.Wait()
	if t.Failed() {
		return
	}
	if int(acked.Load()) != n {
		t.Fatalf("%d acknowledged, want %d", acked.Load(), n)
	}
	users := make([]*user, len(senders))
	for i, s := range senders {
		s.u.awaitErrThen(room, uint64(n), s, ctx)
		users[i] = s.u
	}
	sameOrder(t, room, users, n)
	ownOrder(t, users[0].entries(room), n/len(senders))
	seqs := map[string]uint64{}
	for _, e := range users[0].entries(room) {
		seqs[e.cid] = e.seq
	}
	for _, s := range senders {
		for cid, seq := range s.acked {
			if seqs[cid] != seq {
				t.Errorf("%s was acknowledged as %d and delivered as %d", cid, seq, seqs[cid])
			}
		}
	}
}

// awaitErrThen waits for the entry, resuming as often as the line breaks.
func (u *user) awaitErrThen(room string, seq uint64, s *sender, ctx context.Context) {
	for s.u.awaitErr(fmt.Sprintf("entry %d", seq), patience(20*time.Second), func() bool { return s.u.room(room).cursor >= seq }) != nil {
		if ctx.Err() != nil {
			s.t.Fatalf("%s never got entry %d: %s", s.name, seq, s.u.summary())
		}
		s.reconnect(ctx)
	}
}

func TestKilledServiceLosesNothing(t *testing.T) {
	onEachBroker(t, func(t *testing.T, on cluster.Config) {
		c := start(t, on)
		for _, victim := range []*cluster.Process{c.Chats[0], c.Notifiers[0], c.Edges[0]} {
			t.Run(victim.Kind, func(t *testing.T) {
				underFire(t, c, 3000, func(ctx context.Context) {
					victim.Kill()
					delivers(t, c, victim, 15*time.Second)
				})
				restart(t, victim)
			})
		}
	})
}

// delivers checks that a fresh pair of users is served within the bound, on the
// edges that live.
func delivers(t *testing.T, c *cluster.Cluster, dead *cluster.Process, within time.Duration) {
	t.Helper()
	edge := c.Edges[1].URL
	if dead == c.Edges[1] {
		edge = c.Edges[0].URL
	}
	began := time.Now()
	for p := range 16 { // rooms of many partitions: some were the victim's
		room := fmt.Sprintf("%s.canary%d", roomOf(t), p)
		u := connect(t, edge, "canary", hello{})
		for {
			left := patience(within) - time.Since(began)
			if left <= 0 {
				t.Errorf("no delivery in %s within %s of the fault", room, within)
				return
			}
			if ok := tryDeliver(u, room, left); ok {
				break
			}
		}
		u.drop()
	}
}

func tryDeliver(u *user, room string, within time.Duration) bool {
	join, err := u.reply(u.post(fmt.Sprintf(`"type":"join","room":%q`, room)), within)
	if err != nil || join.Type != protocol.TypeJoined {
		return false
	}
	sent, err := u.reply(u.post(sendFields(room, "canary", "canary")), within)
	if err != nil || sent.Type != protocol.TypeOK {
		return false
	}
	return u.awaitErr("the canary", within, func() bool { return u.room(room).cursor >= sent.Seq }) == nil
}

func restart(t *testing.T, p *cluster.Process) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience(30*time.Second))
	defer cancel()
	if err := p.Start(ctx); err != nil {
		t.Fatal(err)
	}
}

func TestRedisKilledAndRestartedLosesNothing(t *testing.T) {
	t.Parallel()
	c := start(t, cluster.Config{})
	pids := map[string]int{}
	for _, p := range c.Services() {
		pids[p.Name] = p.PID()
	}
	servers, within := []*cluster.Process{c.Redis}, 15*time.Second
	if len(c.Nodes) > 0 {
		servers, within = c.Nodes, 30*time.Second // they have to find each other again
	}
	underFire(t, c, 3000, func(context.Context) {
		for _, server := range servers {
			server.Kill()
		}
		for _, server := range servers {
			restart(t, server)
		}
		delivers(t, c, nil, within)
	})
	for _, p := range c.Services() {
		if !p.Running() || p.PID() != pids[p.Name] {
			t.Errorf("%s ended", p.Name)
		}
	}
}

// TestFailoverOfOneMasterLosesNothing: one of three masters of a Redis Cluster is
// killed, its replica takes over, and later it comes back as the replica.
func TestFailoverOfOneMasterLosesNothing(t *testing.T) {
	t.Parallel()
	c := start(t, cluster.Config{RedisCluster: true, NodeTimeout: 3 * time.Second})
	underFire(t, c, 3000, func(context.Context) {
		c.Nodes[0].Kill()
		delivers(t, c, nil, 30*time.Second)
		restart(t, c.Nodes[0])
	})
}

func TestFlushedRedisIsToldToEveryClient(t *testing.T) {
	t.Parallel()
	c := start(t, cluster.Config{})
	one, two := edges(c)
	busy, quiet := roomOf(t)+".busy", roomOf(t)+".quiet"
	users := []*user{connect(t, one, "alice", hello{}), connect(t, two, "bob", hello{}), connect(t, two, "carol", hello{})}
	for _, u := range users {
		u.join(busy)
		u.join(quiet)
	}
	sendAll(users[0], busy, 20)
	sendAll(users[1], quiet, 20)
	for _, u := range users {
		u.awaitSeq(busy, 20, patience(10*time.Second))
		u.awaitSeq(quiet, 20, patience(10*time.Second))
	}
	redisCommand(t, c.RedisURL, "FLUSHALL")
	began := time.Now()
	for _, u := range users {
		for _, room := range []string{busy, quiet} {
			u.await("reset in "+room, patience(15*time.Second)-time.Since(began), func() bool { return u.room(room).resets > 0 })
		}
	}
	poll(t, "sending goes on", patience(15*time.Second), func() (string, bool) {
		f := users[0].send(quiet, "after", "after")
		return string(f.Raw), f.Type == protocol.TypeOK
	})
	for _, u := range users {
		u.await("the message after the flush", patience(10*time.Second), func() bool {
			es := u.room(quiet).entries
			return len(es) > 0 && es[len(es)-1].cid == "after"
		})
	}
	for _, u := range users {
		for _, room := range []string{busy, quiet} {
			u.mu.Lock()
			if n := u.room(room).resets; n != 1 {
				t.Errorf("%s was told %d resets in %s, want one", u.name, n, room)
			}
			u.mu.Unlock()
		}
	}
}

func TestKilledEdgeTakesItsSessionsOff(t *testing.T) {
	onEachBroker(t, func(t *testing.T, on cluster.Config) {
		on.Ingress, on.Chat, on.Notifiers, on.Env = 3, 1, 2, unhurried
		c := start(t, on)
		room := roomOf(t)
		watchers := []*user{connect(t, c.Edges[1].URL, "bob", hello{}), connect(t, c.Edges[2].URL, "carol", hello{})}
		for _, w := range watchers {
			w.join(room)
		}
		for i := range 5 {
			connect(t, c.Edges[0].URL, fmt.Sprintf("alice%d", i), hello{}).join(room)
		}
		stays := connect(t, c.Edges[1].URL, "alice0", hello{}) // a second session of alice0, elsewhere
		stays.join(room)
		awaitPresence(watchers[0], room, "alice0", 2)
		awaitPresence(watchers[1], room, "alice4", 1)
		c.Edges[0].Kill()
		killed := time.Now()
		for _, w := range watchers {
			poll(t, w.name+" sees none of the dead edge", patience(15*time.Second)-time.Since(killed), func() (string, bool) {
				f := w.ask(fmt.Sprintf(`"type":"presence","room":%q`, room))
				return string(f.Raw), f.Type == protocol.TypePresence && len(f.Users) == 3 // bob, carol, and alice0 elsewhere
			})
			w.await("all of the dead edge told off", patience(15*time.Second), func() bool { return toldOff(w, room, 4) })
			awaitPresence(w, room, "alice0", 1)
			poll(t, "presence of the user", patience(15*time.Second), func() (string, bool) {
				f := w.ask(`"type":"presence","user":"alice1"`)
				return string(f.Raw), f.Count == 0
			})
		}
	})
}

// toldOff tells whether the user was told that alice1 … aliceN left; or was told to ask
// (a change that names nobody), because the room's notifier became another one meanwhile.
func toldOff(w *user, room string, n int) bool {
	off := map[string]bool{}
	for _, f := range w.frames {
		if f.Type != protocol.TypePresence || f.Room != room {
			continue
		}
		if len(f.On)+len(f.Off)+f.Count == 0 {
			return true
		}
		for _, name := range f.Off {
			off[name] = true
		}
	}
	for i := 1; i <= n; i++ {
		if !off[fmt.Sprintf("alice%d", i)] {
			return false
		}
	}
	return true
}
