package e2e

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/parley-chat/parley/deploy/cluster"
	"github.com/parley-chat/parley/services/ingress/protocol"
)

// script is what users do and see on every broker.
var script = []struct {
	name string
	play func(*testing.T, *cluster.Cluster)
}{
	{"two edges exchange a thousand messages each in one order", exchangeThousand},
	{"a repeated send is one entry", repeatedSend},
	{"resume brings exactly what was missed", resumeMissed},
	{"ten senders at once are seen in one order by all", tenSenders},
	{"three tabs are one user", threeTabs},
	{"presence finds a user in no room", presenceOfUser},
	{"typing and signals reach the others only", volatile},
	{"history pages", historyPages},
	{"leave ends the stream of a room", leaveEnds},
	{"a resumed session replaces its older life", replaced},
}

func play(t *testing.T, c *cluster.Cluster) {
	for _, s := range script {
		t.Run(s.name, func(t *testing.T) { s.play(t, c) })
	}
}

func TestScript(t *testing.T) {
	onEachBroker(t, func(t *testing.T, on cluster.Config) {
		on.Env = unhurried
		play(t, start(t, on))
	})
}

func TestScriptOnStandalone(t *testing.T) {
	t.Parallel()
	play(t, start(t, cluster.Config{Standalone: true, Env: unhurried}))
}

// unhurried is for tests that send much at once and whose subject is not how long an
// edge waits for an answer: binaries with the race detector are slow on a busy machine.
var unhurried = []string{"PARLEY_REQUEST_TIMEOUT=60s"}

func exchangeThousand(t *testing.T, c *cluster.Cluster) {
	one, two := edges(c)
	room := roomOf(t)
	alice, bob := connect(t, one, "alice", hello{}), connect(t, two, "bob", hello{})
	alice.join(room)
	bob.join(room)
	const each = 1000
	var wg sync.WaitGroup
	for _, u := range []*user{alice, bob} {
		wg.Go(func() { sendAll(u, room, each) })
	}
	wg.Wait()
	for _, u := range []*user{alice, bob} {
		u.awaitSeq(room, 2*each, patience(30*time.Second))
	}
	sameOrder(t, room, []*user{alice, bob}, 2*each)
	ownOrder(t, alice.entries(room), each)
}

// sendAll sends n messages, 32 unanswered at a time, and checks that each is
// accepted.
func sendAll(u *user, room string, n int) {
	const window = 32
	ids := make([]uint64, 0, n)
	for i := range n {
		ids = append(ids, u.post(sendFields(room, fmt.Sprintf("%s-%d", u.name, i), fmt.Sprintf("%d", i))))
		if i >= window {
			expectOK(u, ids[i-window])
		}
	}
	for _, id := range ids[max(0, n-window):] {
		expectOK(u, id)
	}
}

func expectOK(u *user, id uint64) {
	f, err := u.reply(id, patience(60*time.Second))
	if err != nil {
		u.t.Errorf("%v", err)
	} else if f.Type != protocol.TypeOK {
		u.t.Errorf("%s sent and got %s", u.name, f.Raw)
	}
}

// sameOrder checks that all have seq 1 … n, and the same entry under each.
func sameOrder(t *testing.T, room string, users []*user, n int) {
	t.Helper()
	first := users[0].entries(room)
	if len(first) != n {
		t.Fatalf("%s has %d entries, want %d", users[0].name, len(first), n)
	}
	for i, e := range first {
		if e.seq != uint64(i+1) {
			t.Fatalf("entry %d has seq %d", i, e.seq)
		}
	}
	for _, u := range users[1:] {
		same := slices.EqualFunc(first, u.entries(room), func(a, b entry) bool {
			return a.seq == b.seq && a.mid == b.mid && a.body == b.body && a.from == b.from
		})
		if !same {
			t.Fatalf("%s and %s saw different entries", users[0].name, u.name)
		}
	}
}

// ownOrder checks that each sender's messages come in the order they were sent.
func ownOrder(t *testing.T, entries []entry, each int) {
	t.Helper()
	next := map[string]int{}
	for _, e := range entries {
		if want := fmt.Sprintf("%s-%d", e.from, next[e.from]); e.cid != want {
			t.Fatalf("seq %d is %s, want %s", e.seq, e.cid, want)
		}
		next[e.from]++
	}
	for from, n := range next {
		if n != each {
			t.Errorf("%s has %d entries, want %d", from, n, each)
		}
	}
}

func repeatedSend(t *testing.T, c *cluster.Cluster) {
	one, two := edges(c)
	room := roomOf(t)
	here, there := connect(t, one, "alice", hello{}), connect(t, two, "alice", hello{})
	here.join(room)
	there.join(room)

	first := here.must(here.send(room, "c1", "once"), protocol.TypeOK)
	if first.Seq != 1 || first.Dup {
		t.Fatalf("first send: %s", first.Raw)
	}
	for _, again := range []*user{here, there} {
		f := again.must(again.send(room, "c1", "once"), protocol.TypeOK)
		if f.Seq != 1 || !f.Dup || f.TS != first.TS {
			t.Errorf("repeated send: %s, want seq 1, dup and the first's ts", f.Raw)
		}
	}
	if f := there.send(room, "c1", "another text"); f.Code != protocol.Conflict {
		t.Errorf("the same cid with another body: %s, want conflict", f.Raw)
	}

	// Before the first is acknowledged, on both edges at once.
	for i := range 50 {
		cid := fmt.Sprintf("race-%d", i)
		a, b := here.post(sendFields(room, cid, "x")), there.post(sendFields(room, cid, "x"))
		fa, errA := here.reply(a, patience(10*time.Second))
		fb, errB := there.reply(b, patience(10*time.Second))
		if errA != nil || errB != nil || fa.Seq != fb.Seq || fa.Dup == fb.Dup || fa.Seq != uint64(i+2) {
			t.Fatalf("two sends under %s: %s %v and %s %v", cid, fa.Raw, errA, fb.Raw, errB)
		}
	}
	here.awaitSeq(room, 51, patience(10*time.Second))
	there.awaitSeq(room, 51, patience(10*time.Second))
	sameOrder(t, room, []*user{here, there}, 51)
}

func resumeMissed(t *testing.T, c *cluster.Cluster) {
	one, two := edges(c)
	room := roomOf(t)
	alice, bob := connect(t, one, "alice", hello{}), connect(t, one, "bob", hello{})
	alice.join(room)
	bob.join(room)
	empty := room + ".empty"
	bob.join(empty)
	sendAll(alice, room, 10)
	bob.awaitSeq(room, 10, patience(10*time.Second))
	bob.drop()
	for i := range 500 {
		if f := alice.send(room, fmt.Sprintf("missed-%d", i), "m"); f.Type != protocol.TypeOK {
			t.Fatalf("send: %s", f.Raw)
		}
	}
	back := connect(t, two, "bob", hello{resume: bob.welcome.Resume, rooms: bob.cursors()})
	if back.welcome.Session != bob.welcome.Session {
		t.Errorf("the session is %s now, was %s", back.welcome.Session, bob.welcome.Session)
	}
	back.awaitSeq(room, 510, patience(15*time.Second))
	if got := back.entries(room); len(got) != 500 || got[0].seq != 11 {
		t.Fatalf("resumed with %d entries from %d, want exactly the 500 from 11", len(got), got[0].seq)
	}
	back.await("joined of the empty room", patience(10*time.Second), func() bool { return back.room(empty).live })
	alice.join(empty)
	alice.send(room, "live", "live")
	alice.send(empty, "first", "first")
	back.awaitSeq(room, 511, patience(10*time.Second))
	back.awaitSeq(empty, 1, patience(10*time.Second))

	other := connect(t, two, "carol", hello{rooms: map[string]protocol.Cursor{
		room: {Epoch: "no-such-epoch", Seq: 7},
	}})
	other.await("joined with reset", patience(10*time.Second), func() bool { return other.room(room).resets == 1 })
	if got := other.cursor(room); got.Seq != 511 {
		t.Errorf("a cursor of another epoch goes on from %d, want the head 511", got.Seq)
	}
	last := other.must(other.ask(fmt.Sprintf(`"type":"join","room":%q,"last":5`, room)), protocol.TypeJoined)
	if last.After != 506 || last.Seq != 511 {
		t.Errorf("join with last 5: %s", last.Raw)
	}
	other.awaitSeq(room, 511, patience(10*time.Second))
}

func tenSenders(t *testing.T, c *cluster.Cluster) {
	one, two := edges(c)
	room := roomOf(t)
	const n, each = 10, 1000
	users := make([]*user, n)
	for i := range users {
		users[i] = connect(t, []string{one, two}[i%2], fmt.Sprintf("user%d", i), hello{})
		users[i].join(room)
	}
	var wg sync.WaitGroup
	for _, u := range users {
		wg.Go(func() { sendAll(u, room, each) })
	}
	wg.Wait()
	for _, u := range users {
		u.awaitSeq(room, n*each, patience(60*time.Second))
	}
	sameOrder(t, room, users, n*each)
	ownOrder(t, users[0].entries(room), each)
}

func threeTabs(t *testing.T, c *cluster.Cluster) {
	one, two := edges(c)
	room := roomOf(t)
	bobs := []*user{connect(t, one, "bob", hello{}), connect(t, two, "bob2", hello{})}
	for _, b := range bobs {
		b.join(room)
	}
	var tabs []*user
	for _, edge := range []string{one, one, two} {
		tab := connect(t, edge, "alice", hello{})
		tab.join(room)
		tabs = append(tabs, tab)
	}
	for _, b := range bobs {
		awaitPresence(b, room, "alice", 3)
		b.awaitFrame("alice on", patience(5*time.Second), func(f protocol.Frame) bool {
			return f.Type == protocol.TypePresence && f.Room == room && slices.Contains(f.On, "alice")
		})
	}
	tabs[0].leaveCleanly()
	tabs[2].leaveCleanly()
	for _, b := range bobs {
		awaitPresence(b, room, "alice", 1)
	}
	tabs[1].leaveCleanly()
	for _, b := range bobs {
		awaitPresence(b, room, "alice", 0)
		b.awaitFrame("alice off", patience(5*time.Second), func(f protocol.Frame) bool {
			return f.Type == protocol.TypePresence && f.Room == room && slices.Contains(f.Off, "alice")
		})
		b.mu.Lock()
		offs := 0
		for _, f := range b.frames {
			if f.Type == protocol.TypePresence && slices.Contains(f.Off, "alice") {
				offs++
			}
		}
		b.mu.Unlock()
		if offs != 1 {
			t.Errorf("%s was told %d times that alice left, want once: two of three tabs closing is no leaving", b.name, offs)
		}
	}
}

// awaitPresence asks until the room shows the user with so many sessions.
func awaitPresence(u *user, room, name string, sessions int) {
	u.t.Helper()
	poll(u.t, fmt.Sprintf("%s sees %s with %d sessions in %s", u.name, name, sessions, room), patience(15*time.Second), func() (string, bool) {
		f := u.ask(fmt.Sprintf(`"type":"presence","room":%q`, room))
		got := 0
		for _, p := range f.Users {
			if p.User == name {
				got = p.Sessions
			}
		}
		return string(f.Raw), got == sessions
	})
}

// poll asks every 50 ms until it is so.
func poll(t testing.TB, what string, within time.Duration, ask func() (string, bool)) {
	t.Helper()
	deadline := time.After(within)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		got, ok := ask()
		if ok {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within %s: %s; last: %s", within, what, got)
		}
	}
}

func presenceOfUser(t *testing.T, c *cluster.Cluster) {
	one, two := edges(c)
	name := "alice-" + roomOf(t)[max(0, len(roomOf(t))-20):]
	alice, bob := connect(t, one, name, hello{agent: "test/1"}), connect(t, two, "bob", hello{})
	sessions := func(u *user, want int) {
		t.Helper()
		poll(t, fmt.Sprintf("%s sees %d sessions of %s", u.name, want, name), patience(10*time.Second), func() (string, bool) {
			f := u.ask(fmt.Sprintf(`"type":"presence","user":%q`, name))
			return string(f.Raw), f.Count == want
		})
	}
	sessions(bob, 1)
	again := connect(t, two, name, hello{resume: alice.welcome.Resume, agent: "test/2"})
	if again.welcome.Session != alice.welcome.Session {
		t.Errorf("resumed as %s, was %s", again.welcome.Session, alice.welcome.Session)
	}
	if code := alice.closeCode(patience(10 * time.Second)); code != protocol.CloseSuperseded {
		t.Errorf("the older life was closed with %d, want %d", code, protocol.CloseSuperseded)
	}
	sessions(bob, 1)
	poll(t, "alice's own answer names her node", patience(10*time.Second), func() (string, bool) {
		f := again.ask(fmt.Sprintf(`"type":"presence","user":%q`, name))
		return string(f.Raw), len(f.Sessions) == 1 && f.Sessions[0].Node == again.welcome.Node && f.Sessions[0].Agent == "test/2"
	})
	if f := bob.ask(fmt.Sprintf(`"type":"presence","user":%q`, name)); len(f.Sessions) != 0 {
		t.Errorf("bob is shown alice's sessions: %s", f.Raw)
	}
}

func volatile(t *testing.T, c *cluster.Cluster) {
	one, two := edges(c)
	room := roomOf(t)
	alice, bob := connect(t, one, "alice", hello{}), connect(t, two, "bob", hello{})
	if f := alice.ask(fmt.Sprintf(`"type":"typing","room":%q`, room)); f.Code != protocol.Forbidden {
		t.Errorf("typing without having joined: %s", f.Raw)
	}
	alice.join(room)
	bob.join(room)
	alice.must(alice.ask(fmt.Sprintf(`"type":"typing","room":%q`, room)), protocol.TypeOK)
	alice.must(alice.ask(fmt.Sprintf(`"type":"signal","room":%q,"body":{"wave":1}`, room)), protocol.TypeOK)
	is := func(kind string) func(protocol.Frame) bool {
		return func(f protocol.Frame) bool { return f.Type == kind && f.Room == room && f.From == "alice" }
	}
	bob.awaitFrame("typing", patience(5*time.Second), is(protocol.TypeTyping))
	if f := bob.awaitFrame("signal", patience(5*time.Second), is(protocol.TypeSignal)); string(f.Body) != `{"wave":1}` {
		t.Errorf("the signal's body came as %s", f.Body)
	}
	alice.send(room, "after", "after")
	alice.awaitSeq(room, 1, patience(5*time.Second))
	alice.mu.Lock()
	defer alice.mu.Unlock()
	for _, f := range alice.frames {
		if f.Type == protocol.TypeTyping || f.Type == protocol.TypeSignal {
			t.Errorf("alice was sent her own %s", f.Raw)
		}
	}
}

func historyPages(t *testing.T, c *cluster.Cluster) {
	one, two := edges(c)
	room := roomOf(t)
	alice, bob := connect(t, one, "alice", hello{}), connect(t, two, "bob", hello{})
	alice.join(room)
	sendAll(alice, room, 120)
	page := func(fields string) protocol.Frame {
		t.Helper()
		return bob.must(bob.ask(fmt.Sprintf(`"type":"history","room":%q%s`, room, fields)), protocol.TypePage)
	}
	head := uint64(120)
	check := func(what string, f protocol.Frame, from, to uint64, more bool) {
		t.Helper()
		if len(f.Entries) == 0 || f.Entries[0].Seq != from || f.Entries[len(f.Entries)-1].Seq != to || f.More != more || f.Head != head || f.Floor != 1 {
			t.Errorf("%s: got %d entries, more %t, head %d, floor %d; want %d … %d, more %t", what, len(f.Entries), f.More, f.Head, f.Floor, from, to, more)
		}
	}
	for _, how := range []string{"", ", again", ", in the room", ", in the room again"} {
		if how == ", in the room" {
			bob.join(room)
		}
		check("newest"+how, page(""), 71, 120, true)
		check("before"+how, page(`,"before":71,"limit":70`), 1, 70, false)
		check("after"+how, page(`,"after":100`), 101, 120, false)
		check("after, limited"+how, page(`,"after":0,"limit":10`), 1, 10, true)
	}
	// What one has seen acknowledged is in the page that he asks for then, on either edge.
	for range 10 {
		head++
		expectOK(bob, bob.post(sendFields(room, fmt.Sprint("b", head), "x")))
		check("newest, after a send", page(""), head-49, head, true)
	}
	for range 10 {
		head++
		expectOK(alice, alice.post(sendFields(room, fmt.Sprint("a", head), "x")))
	}
	bob.awaitSeq(room, head, patience(10*time.Second))
	check("newest, of what came", page(""), head-49, head, true)
	check("before, with a new head", page(`,"before":71,"limit":70`), 1, 70, false)
}

func leaveEnds(t *testing.T, c *cluster.Cluster) {
	one, two := edges(c)
	room := roomOf(t)
	alice, bob := connect(t, one, "alice", hello{}), connect(t, two, "bob", hello{})
	alice.join(room)
	bob.join(room)
	sendAll(alice, room, 20)
	bob.awaitSeq(room, 20, patience(10*time.Second))
	ids := []uint64{}
	for i := range 20 {
		ids = append(ids, alice.post(sendFields(room, fmt.Sprintf("x%d", i), "x")))
	}
	bob.leave(room)
	for _, id := range ids {
		expectOK(alice, id)
	}
	if f := bob.send(room, "b1", "x"); f.Code != protocol.Forbidden {
		t.Errorf("send after leave: %s", f.Raw)
	}
	since := bob.cursor(room)
	f := bob.must(bob.ask(fmt.Sprintf(`"type":"join","room":%q,"since":{"epoch":%q,"seq":%d}`, room, since.Epoch, since.Seq)), protocol.TypeJoined)
	if f.After != since.Seq {
		t.Errorf("joined again: %s", f.Raw)
	}
	bob.awaitSeq(room, 40, patience(10*time.Second))
}

func replaced(t *testing.T, c *cluster.Cluster) {
	one, two := edges(c)
	room := roomOf(t)
	bob := connect(t, two, "bob", hello{})
	bob.join(room)
	alice := connect(t, one, "alice", hello{})
	alice.join(room)
	awaitPresence(bob, room, "alice", 1)
	sendAll(alice, room, 5)
	alice.awaitSeq(room, 5, patience(5*time.Second))
	next := connect(t, two, "alice", hello{resume: alice.welcome.Resume, rooms: alice.cursors()})
	if code := alice.closeCode(patience(10 * time.Second)); code != protocol.CloseSuperseded {
		t.Errorf("the older life was closed with %d, want %d", code, protocol.CloseSuperseded)
	}
	next.await("joined", patience(5*time.Second), func() bool { return next.room(room).live })
	next.send(room, "more", "more")
	next.awaitSeq(room, 6, patience(5*time.Second))
	awaitPresence(bob, room, "alice", 1)
	bob.mu.Lock()
	defer bob.mu.Unlock()
	for _, f := range bob.frames {
		if f.Type == protocol.TypePresence && slices.Contains(f.Off, "alice") {
			t.Errorf("bob was told that alice left, though her session resumed: %s", f.Raw)
		}
	}
}

// smallBuffer dials with a receive buffer of 4 KiB, set before connecting so that
// the window stays small.
func smallBuffer(ctx context.Context, network, address string) (net.Conn, error) {
	d := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
		var err error
		if cerr := raw.Control(func(fd uintptr) {
			err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096)
		}); cerr != nil {
			return cerr
		}
		return err
	}}
	return d.DialContext(ctx, network, address)
}
