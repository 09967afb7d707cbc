package e2e

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parley-chat/parley/deploy/cluster"
	"github.com/parley-chat/parley/services/ingress/protocol"
)

// TestThreeThousandClientsGetEveryMessageOfTheirRooms: 60 rooms of 50 on two edges.
func TestThreeThousandClientsGetEveryMessageOfTheirRooms(t *testing.T) {
	const rooms, members, each = 60, 50, 10
	c := start(t, cluster.Config{Env: unhurried})
	users := make([]*user, rooms*members)
	inParallel(len(users), 24, func(i int) {
		u, err := tryConnect(t, c.Edges[i%2].URL, fmt.Sprintf("u%d", i), hello{})
		if err != nil {
			t.Errorf("user %d: %v", i, err)
			return
		}
		if f, err := u.reply(u.post(fmt.Sprintf(`"type":"join","room":"room%d"`, i/members)), patience(20*time.Second)); err != nil || f.Type != protocol.TypeJoined {
			t.Errorf("user %d: %s %v", i, f.Raw, err)
		}
		users[i] = u
	})
	if t.Failed() {
		t.FailNow()
	}
	inParallel(rooms, 24, func(i int) { sendAll(users[i*members], fmt.Sprintf("room%d", i), each) })
	inParallel(len(users), 24, func(i int) {
		room := fmt.Sprintf("room%d", i/members)
		if err := users[i].awaitErr("all of "+room, patience(30*time.Second), func() bool { return users[i].room(room).cursor >= each }); err != nil {
			t.Error(err)
		} else if got := len(users[i].entries(room)); got != each {
			t.Errorf("user %d has %d entries, want %d", i, got, each)
		}
	})
	inParallel(len(users), 64, func(i int) { users[i].drop() })
}

func inParallel(n, width int, fn func(i int)) {
	slots := make(chan struct{}, width)
	var wg sync.WaitGroup
	for i := range n {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			fn(i)
		})
	}
	wg.Wait()
}

// TestSlowReadersCostANumber: 50 readers stop while 20,000 messages of 1 KiB pass.
// Those who stop for 8 s stay and get all; those who stop for 20 s are closed with
// 4001, resume, and get all. Meanwhile the edge holds next to nothing for them.
func TestSlowReadersCostANumber(t *testing.T) {
	const readers, messages, sendBuffer = 50, 20_000, 64 << 10
	c := start(t, cluster.Config{Ingress: 2, Chat: 1, Notifiers: 1, Env: append([]string{"PARLEY_RETENTION_COUNT=30000"}, unhurried...)})
	slowEdge, senderEdge := c.Edges[0], c.Edges[1]
	room := roomOf(t)
	slow := make([]*user, readers)
	for i := range slow {
		u := dialRaw(t, slowEdge.URL, smallBuffer)
		u.name = fmt.Sprintf("slow%d", i)
		u.nextID = 2
		if err := u.write(fmt.Sprintf(`{"type":"hello","id":1,"user":%q}`+"\n"+`{"type":"join","id":2,"room":%q}`, u.name, room)); err != nil {
			t.Fatal(err)
		}
		slow[i] = u
	}
	watcher := connect(t, senderEdge.URL, "watcher", hello{})
	watcher.join(room)
	awaitPresence(watcher, room, "slow49", 1)
	before := heap(t, slowEdge)
	sender := connect(t, senderEdge.URL, "sender", hello{})
	sender.join(room)
	stopped := time.Now() // nobody of slow reads until resumed
	sent := make(chan struct{})
	var pause sync.Mutex // held: nothing is on its way
	go func() {
		defer close(sent)
		const window = 64
		text := strings.Repeat("x", 1000)
		for i := 0; i < messages; {
			pause.Lock()
			var ids []uint64
			for ; len(ids) < window && i < messages; i++ {
				ids = append(ids, sender.post(sendFields(room, fmt.Sprintf("m%d", i), text)))
			}
			for _, id := range ids {
				expectOK(sender, id)
			}
			pause.Unlock()
		}
	}()

	patient, late := slow[:readers/2], slow[readers/2:]
	waitUntil(stopped.Add(7 * time.Second))
	if queued, n := sendQueues(t, slowEdge); n > 0 {
		t.Logf("after 7 s: %d sockets hold %d bytes at most in the send buffer", n, queued)
		if queued > 2*sendBuffer { // Linux doubles the setting, for its own bookkeeping
			t.Errorf("a socket holds %d bytes in the kernel, its setting is %d", queued, sendBuffer)
		}
	}
	// What is on its way is no reader's. Reading the bus, the edge may still hold it a moment later.
	pause.Lock()
	grown := heap(t, slowEdge) - before
	for grown > readers*64<<10 && time.Since(stopped) < 8500*time.Millisecond {
		grown = min(grown, heap(t, slowEdge)-before)
	}
	pause.Unlock()
	t.Logf("after 7 s: the edge's heap grew by %d KiB, %d KiB a reader", grown>>10, grown>>10/readers)
	if grown > readers*64<<10 {
		t.Errorf("the edge's heap grew by %d KiB for %d readers, want at most 64 KiB each", grown>>10, readers)
	}
	waitUntil(stopped.Add(8 * time.Second))
	for _, u := range patient {
		go u.read()
	}
	waitUntil(stopped.Add(20 * time.Second))
	for _, u := range late {
		go u.read()
	}
	for _, u := range late {
		if code := u.closeCode(patience(20 * time.Second)); code != protocol.CloseSlow {
			t.Errorf("%s was closed with %d, want %d", u.name, code, protocol.CloseSlow)
		}
	}
	<-sent
	inParallel(len(late), 8, func(i int) {
		u := late[i]
		back, err := tryConnect(t, slowEdge.URL, u.name, hello{rooms: map[string]protocol.Cursor{room: u.cursor(room)}})
		if err != nil {
			t.Error(err)
			return
		}
		complete(t, back, room, messages)
	})
	inParallel(len(patient), 8, func(i int) { complete(t, patient[i], room, messages) })
}

// complete checks that the user, from wherever it began, has all up to n; that they
// came in order was checked as they came.
func complete(t *testing.T, u *user, room string, n uint64) {
	if err := u.awaitErr("all messages", patience(60*time.Second), func() bool { return u.room(room).cursor >= n }); err != nil {
		t.Error(err)
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if r := u.room(room); r.resets+len(r.gaps) > 0 {
		t.Errorf("%s was told %d resets and gaps %v, though all is kept", u.name, r.resets, r.gaps)
	}
}

// waitUntil is the subject of its caller: readers that stop for so long.
func waitUntil(at time.Time) { <-time.After(time.Until(at)) }

// heap is what the process holds after a collection.
func heap(t *testing.T, p *cluster.Process) int64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience(20*time.Second))
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.Admin+"/debug/pprof/heap?gc=1&debug=1", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() {
		if value, ok := strings.CutPrefix(lines.Text(), "# HeapAlloc = "); ok {
			n, err := strconv.ParseInt(value, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("no HeapAlloc in the heap profile of %s", p.Name)
	return 0
}

// sendQueues reads how many bytes the kernel holds for the fullest of the edge's
// client sockets, and how many sockets hold any. Linux only; elsewhere 0.
func sendQueues(t *testing.T, edge *cluster.Process) (most int64, sockets int) {
	t.Helper()
	port, err := strconv.Atoi(edge.URL[strings.LastIndexByte(edge.URL, ':')+1:])
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		raw, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(raw)) {
			fields := strings.Fields(line)
			if len(fields) < 5 || !strings.HasSuffix(fields[1], fmt.Sprintf(":%04X", port)) {
				continue
			}
			tx, _, _ := strings.Cut(fields[4], ":")
			if n, err := strconv.ParseInt(tx, 16, 64); err == nil && n > 0 {
				most = max(most, n)
				sockets++
			}
		}
	}
	return most, sockets
}

// TestCursorOlderThanRetentionIsToldTheGap: what is not kept is named, the rest comes.
func TestCursorOlderThanRetentionIsToldTheGap(t *testing.T) {
	c := start(t, cluster.Config{Env: append([]string{"PARLEY_RETENTION_COUNT=1000"}, unhurried...)})
	one, two := edges(c)
	room := roomOf(t)
	alice, bob := connect(t, one, "alice", hello{}), connect(t, two, "bob", hello{})
	alice.join(room)
	bob.join(room)
	sendAll(alice, room, 10)
	bob.awaitSeq(room, 10, patience(10*time.Second))
	bob.drop()
	for i := range 2000 {
		id := alice.post(sendFields(room, fmt.Sprintf("later-%d", i), "x"))
		if i%64 == 63 || i == 1999 {
			expectOK(alice, id)
		}
	}
	alice.awaitSeq(room, 2010, patience(20*time.Second))
	back := connect(t, two, "bob", hello{rooms: bob.cursors()})
	back.awaitSeq(room, 2010, patience(20*time.Second))
	back.mu.Lock()
	defer back.mu.Unlock()
	r := back.room(room)
	if len(r.gaps) != 1 || r.gaps[0] != (protocol.Range{From: 11, To: 1010}) || len(r.entries) != 1000 || r.resets != 0 {
		t.Errorf("resumed with gaps %v, %d entries, %d resets; want the gap 11 … 1010 and 1000 entries", r.gaps, len(r.entries), r.resets)
	}
}
