package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/parley-chat/parley/deploy/cluster"
	"github.com/parley-chat/parley/deploy/parley"
	"github.com/parley-chat/parley/services/ingress/protocol"
	"github.com/parley-chat/parley/shared/bus"
	"github.com/parley-chat/parley/shared/bus/backend"
)

// operator is somebody at the command line.
type operator struct {
	t       *testing.T
	brokers []string
}

// does runs the command line, wants its exit code, and returns what it printed.
func (o operator) does(code int, args ...string) string {
	o.t.Helper()
	var out, errs bytes.Buffer
	ctx, cancel := context.WithTimeout(o.t.Context(), patience(60*time.Second))
	defer cancel()
	args = append(args, append(o.brokers, "--timeout=30s")...)
	if got := parley.Run(ctx, args, &out, &errs); got != code {
		o.t.Errorf("parley %s: exit code %d, want %d\n%s%s", strings.Join(args, " "), got, code, out.String(), errs.String())
	}
	return out.String() + errs.String()
}

// finds is does with --json, read into what.
func (o operator) finds(code int, what any, args ...string) {
	o.t.Helper()
	if err := json.Unmarshal([]byte(o.does(code, append(args, "--json")...)), what); err != nil {
		o.t.Fatalf("parley %v --json: %v", args, err)
	}
}

func TestOperator(t *testing.T) {
	onEachBroker(t, func(t *testing.T, on cluster.Config) {
		each := 2
		if on.NATS {
			each = 1 // the doctor advises a second
		}
		on.Ingress, on.Chat, on.Notifiers, on.Env = each, each, each, unhurried
		operate(t, start(t, on), each)
	})
}

// operate does with a running cluster what operators do.
func operate(t *testing.T, c *cluster.Cluster, edgesThere int) {
	o := operator{t, []string{"--bus=" + c.BusURL, "--store=" + c.RedisURL}}
	one, two := edges(c)
	room := roomOf(t)
	alice, bob := connect(t, one, "alice", hello{}), connect(t, two, "bob", hello{})
	alice.join(room)
	bob.join(room)
	alice.send(room, "c1", "secret words")
	for _, u := range []*user{alice, bob} {
		u.awaitSeq(room, 1, patience(10*time.Second))
	}
	o.seesTopology(edgesThere)
	o.seesDoctor(c, edgesThere)
	o.traces(room, alice.entries(room)[0].mid, edgesThere)
	o.tails(room, alice)
	o.buries(c)
	o.measures(c)
}

// shares tells of a kind of service how many partitions each process owns.
func (o operator) shares(kind string) map[string]int {
	o.t.Helper()
	var found struct {
		Partitions []struct{ Chat, Notifier struct{ Process string } }
	}
	o.finds(parley.ExitOK, &found, "topology")
	owned := map[string]int{}
	for _, p := range found.Partitions {
		switch kind {
		case "chat":
			owned[p.Chat.Process]++
		case "notifier":
			owned[p.Notifier.Process]++
		}
	}
	return owned
}

// even tells whether so many processes own all partitions, each as many as the others.
func even(shares map[string]int, processes int) bool {
	for _, n := range shares {
		if n != 8/processes {
			return false
		}
	}
	return shares[""] == 0 && len(shares) == processes
}

func (o operator) seesTopology(each int) {
	for _, kind := range []string{"chat", "notifier"} {
		poll(o.t, "every partition has its "+kind, patience(20*time.Second), func() (string, bool) {
			shares := o.shares(kind)
			for process := range shares {
				if !strings.HasPrefix(process, kind+"-") {
					return fmt.Sprint(shares), false
				}
			}
			return fmt.Sprint(shares), even(shares, each)
		})
	}
	var found struct {
		Nodes []struct{ Name string }
		Chats []string
	}
	if o.finds(parley.ExitOK, &found, "topology"); len(found.Nodes) != each || len(found.Chats) != each {
		o.t.Errorf("topology finds %+v", found)
	}
	if text := o.does(parley.ExitOK, "topology"); !strings.Contains(text, "PARTITION") || !strings.Contains(text, "ingress-1-") {
		o.t.Errorf("topology prints %s", text)
	}
}

func (o operator) seesDoctor(c *cluster.Cluster, edgesThere int) {
	healthy := o.does(parley.ExitOK, "doctor")
	for _, words := range []string{"noeviction", "appendonly, appendfsync always", "latency", "clock", "lag: ", "leases of chat"} {
		if !strings.Contains(healthy, words) {
			o.t.Errorf("doctor does not tell %q:\n%s", words, healthy)
		}
	}
	if single := strings.Contains(healthy, "run a second"); single != (edgesThere == 1) {
		o.t.Errorf("doctor on %d of each:\n%s", edgesThere, healthy)
	}
	redisCommand(o.t, c.RedisURL, "CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
	var ill []struct{ Level, About, Found, Change string }
	o.finds(parley.ExitFailure, &ill, "doctor")
	said := false
	for _, check := range ill {
		said = said || check.Level == "fail" && strings.Contains(check.About, "eviction") && strings.Contains(check.Change, "noeviction")
	}
	if !said {
		o.t.Errorf("doctor does not tell to change the policy: %+v", ill)
	}
	redisCommand(o.t, c.RedisURL, "CONFIG", "SET", "maxmemory-policy", "noeviction")
}

func (o operator) traces(room, mid string, edgesThere int) {
	type found struct {
		Chat struct {
			Found             bool
			Seq               uint64
			From, CID, Dedupe string
		}
		Notifier struct {
			Nodes []string
			Users int
		}
		Edges []struct {
			Node              string
			Subscribers, Past int
		}
		Silent  []string
		Unknown []string
	}
	// A cursor moves when the socket's writer has taken the entry, a moment after it is
	// seen. A partition may have moved since the start; its new owner has no room in memory.
	poll(o.t, "all are past the message", patience(20*time.Second), func() (string, bool) {
		var f found
		o.finds(parley.ExitOK, &f, "trace", mid, "--room="+room, "--wait=4s")
		past := 0
		for _, e := range f.Edges {
			past += e.Past
		}
		return fmt.Sprintf("%+v", f), f.Chat.Found && f.Chat.Seq == 1 && f.Chat.From == "alice" && f.Chat.CID == "c1" && f.Chat.Dedupe != "ok" &&
			f.Notifier.Users == 2 && len(f.Notifier.Nodes) == edgesThere && len(f.Edges) == edgesThere && past == 2 && len(f.Silent) == 0 && len(f.Unknown) > 0
	})
	if text := o.does(parley.ExitOK, "trace", "--seq=1", "--room="+room); !strings.Contains(text, "appended as 1") || !strings.Contains(text, "are past it") {
		o.t.Errorf("trace prints %s", text)
	}
	if text := o.does(parley.ExitFailure, "trace", "no-such-mid", "--room="+room); !strings.Contains(text, "not in the log") {
		o.t.Errorf("trace of nothing prints %s", text)
	}
}

// TestDoctorWhileReplicasShare: a partition that moves to a replica that came is free for
// a moment, which is no illness.
func TestDoctorWhileReplicasShare(t *testing.T) {
	t.Parallel()
	c := start(t, cluster.Config{Ingress: 1, Chat: 1, Notifiers: 1, Env: unhurried})
	o := operator{t, []string{"--bus=" + c.BusURL, "--store=" + c.RedisURL}}
	ctx, cancel := context.WithTimeout(t.Context(), patience(30*time.Second))
	defer cancel()
	for _, kind := range []string{"chat", "notifier"} {
		p, err := c.Add(kind)
		if err == nil {
			err = p.Launch()
		}
		if err != nil {
			t.Fatal(err)
		}
		for !even(o.shares(kind), 2) {
			o.does(parley.ExitOK, "doctor")
			if ctx.Err() != nil || t.Failed() {
				t.Fatalf("while the second %s came, or it never shared", kind)
			}
		}
		if err := p.WaitUp(ctx); err != nil {
			t.Fatal(err)
		}
	}
}

// tails looks at the bus while alice sends. Topics are read side by side, in no order
// between them, so each kind is waited for by itself.
func (o operator) tails(room string, alice *user) {
	seen := make(chan string, 1)
	go func() {
		defer close(seen)
		for _, kind := range []string{"post", "posted"} {
			seen <- o.does(parley.ExitOK, "tail", "--room="+room, "--topic=commands", "--topic=events", "--kind="+kind, "--count=1", "--json")
		}
	}()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	var lines []string
	for i := 0; ; i++ {
		select {
		case line, more := <-seen:
			if more {
				lines = append(lines, line)
				continue
			}
			text := strings.Join(lines, "")
			for _, words := range []string{`"topic":"commands-`, `"kind":"post"`, `"topic":"events-`, `"kind":"posted"`, `"user":"alice"`, ` bytes"`} {
				if !strings.Contains(text, words) {
					o.t.Errorf("tail lacks %s:\n%s", words, text)
				}
			}
			if strings.Contains(text, "secret words") {
				o.t.Errorf("tail shows what people wrote:\n%s", text)
			}
			return
		case <-tick.C:
			alice.send(room, fmt.Sprint("tail", i), "secret words")
		}
	}
}

// buries has chat meet something that it cannot read.
func (o operator) buries(c *cluster.Cluster) {
	ctx, cancel := context.WithTimeout(o.t.Context(), patience(30*time.Second))
	defer cancel()
	broker, err := backend.Open(ctx, c.BusURL, backend.Options{Prefix: "parley", Name: "wrong"})
	if err != nil {
		o.t.Fatal(err)
	}
	defer broker.Close()
	b, err := bus.New(broker, bus.Config{Partitions: 8, Name: "wrong-1"})
	if err != nil {
		o.t.Fatal(err)
	}
	defer b.Close()
	w := b.Writer("wrong-1", 0, false)
	defer w.Close()
	if text := o.does(parley.ExitOK, "dead-letters"); !strings.Contains(text, "no dead letters") {
		o.t.Errorf("before anything went wrong: %s", text)
	}
	if err := bus.Publish(ctx, w, bus.Topic[int]{Name: "commands-03", Groups: []string{"chat"}}, 1); err != nil {
		o.t.Fatal(err)
	}
	first := o.letter("")
	o.does(parley.ExitFailure, "dead-letters", "drop", "no-such-id")
	o.does(parley.ExitUsage, "dead-letters", "drop")
	if text := o.does(parley.ExitOK, "dead-letters", "replay", first); !strings.Contains(text, "1 replayed, 0 failed") {
		o.t.Errorf("replay prints %s", text)
	}
	o.letter(first) // it cannot be read this time either
	var fates []struct{ Done, Error string }
	o.finds(parley.ExitOK, &fates, "dead-letters", "drop", "--all")
	if len(fates) != 1 || fates[0].Done != "dropped" {
		o.t.Errorf("dropped: %+v", fates)
	}
	var left []any
	if o.finds(parley.ExitOK, &left, "dead-letters", "list"); len(left) != 0 {
		o.t.Errorf("left: %v", left)
	}
}

// letter waits for a dead letter that is another than the one known.
func (o operator) letter(known string) (id string) {
	poll(o.t, "a dead letter", patience(20*time.Second), func() (string, bool) {
		var letters []struct {
			ID, Topic, Group, Reason string
			Events                   int
		}
		o.finds(parley.ExitOK, &letters, "dead-letters", "list")
		if len(letters) != 1 || letters[0].ID == known {
			return fmt.Sprintf("%+v", letters), false
		}
		l := letters[0]
		id = l.ID
		return fmt.Sprintf("%+v", l), l.Topic == "commands-03" && l.Group == "chat" && strings.Contains(l.Reason, "decode") && l.Events == 1
	})
	return id
}

func (o operator) measures(c *cluster.Cluster) {
	one, two := edges(c)
	var result struct{ Connections, Acked int64 }
	o.finds(parley.ExitOK, &result, "bench", "--url="+one+","+two, "--rooms=2", "--members=2", "--rate=20", "--warmup=200ms", "--measure=1s", "--processes=2")
	if result.Connections != 4 || result.Acked == 0 {
		o.t.Errorf("bench: %+v", result)
	}
}

// TestTokenOpensTheDoor: an edge takes what parley token makes.
func TestTokenOpensTheDoor(t *testing.T) {
	t.Parallel()
	secret := strings.Repeat("k", 32)
	c := start(t, cluster.Config{Standalone: true, Env: []string{"PARLEY_AUTH=jwt", "PARLEY_JWT_SECRET=" + secret}})
	o := operator{t: t}
	made := strings.TrimSpace(o.does(parley.ExitOK, "token", "alice", "--ttl=1h", "--secret="+secret))
	alice := connect(t, c.Edges[0].URL, "alice", hello{token: made})
	if alice.welcome.User != "alice" {
		t.Errorf("welcome: %s", alice.welcome.Raw)
	}
	if text := o.does(parley.ExitUsage, "token", "alice", "--secret=short"); !strings.Contains(text, "at least 32") {
		t.Errorf("with a short secret: %s", text)
	}
	other := strings.TrimSpace(o.does(parley.ExitOK, "token", "alice", "--secret="+strings.Repeat("x", 32)))
	if _, err := tryConnect(t, c.Edges[0].URL, "alice", hello{token: other}); err == nil || !strings.Contains(err.Error(), string(protocol.Unauthorized)) {
		t.Errorf("a token of another secret: %v", err)
	}
}
