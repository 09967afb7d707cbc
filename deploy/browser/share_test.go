package browser

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/parley-chat/parley/deploy/cluster"
	"github.com/parley-chat/parley/services/ingress/protocol"
	"github.com/parley-chat/parley/services/ingress/protocol/client"
)

// tab opens another tab in the window's browser, with a client in it that shares
// its socket, in the room general.
func (w *window) tab(t *testing.T, url string) *window {
	t.Helper()
	ctx, cancel := chromedp.NewContext(w.ctx)
	t.Cleanup(cancel)
	tab := &window{t: t, ctx: ctx}
	if err := chromedp.Do(ctx, chromedp.Navigate(url)); err != nil {
		t.Fatal(err)
	}
	tab.read(`(async () => {
		const { connect } = await import("/client.js");
		window.got = [];
		window.acks = 0;
		window.parley = connect("/ws", { user: "alice", shareSocket: true });
		window.room = parley.room("general");
		room.on("message", (m) => got.push(m.body.text));
		await parley.join("general");
		return "";
	})()`)
	return tab
}

// post has the tab send n messages and not wait.
func (w *window) post(name string, n int) {
	w.t.Helper()
	w.read(fmt.Sprintf(`(() => { for (let i = 0; i < %d; i++) room.send({ text: %q + i }).then(() => window.acks++); return ''; })()`, n, name+" "))
}

func connectionsAt(t *testing.T, p *cluster.Process) string {
	t.Helper()
	res, err := http.Get(p.Admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "\nparley_ingress_connections ")
	value, _, _ := strings.Cut(rest, "\n")
	return value
}

// TestOneSocketForAllTabs: two tabs are one connection and one session; when the
// tab that has the socket is closed, the other goes on, and nothing is lost.
func TestOneSocketForAllTabs(t *testing.T) {
	c := start(t, cluster.Config{Standalone: true, Env: []string{"PARLEY_RATE=0"}})
	edge := c.Edges[0]
	w := open(t, edge.URL+"/") // asks for a name, and connects to nothing
	leader, other := w.tab(t, edge.URL+"/"), w.tab(t, edge.URL+"/")
	if a, b := leader.read(`parley.status.session`), other.read(`parley.status.session`); a != b || a == "" {
		t.Errorf("the tabs are sessions %s and %s", a, b)
	}
	if n := connectionsAt(t, edge); n != "1" {
		t.Errorf("two tabs are %s connections", n)
	}
	if n := other.read(`parley.presence().then(({ count }) => String(count))`); n != "1" {
		t.Errorf("two tabs are %s sessions", n)
	}
	leader.post("leader", 5)
	other.post("other", 5)
	for _, tab := range []*window{leader, other} {
		tab.is("ten messages, five of them acknowledged", `got.length === 10 && acks === 5`)
	}
	if a, b := leader.read(`got.join()`), other.read(`got.join()`); a != b {
		t.Errorf("the tabs differ: %s and %s", a, b)
	}
	late := w.tab(t, edge.URL+"/")
	late.read(`room.history().then((page) => { window.past = page.entries.length; return ''; })`)
	late.is("the history", `past === 10`)
	late.read(`parley.join("general", { last: 4 }).then(() => '')`)
	late.is("the last four", `got.length === 4`)
	late.read(`parley.close(); ''`)

	// Somebody else goes on, while the leader can reach nobody any more, has something to say, and is closed.
	ctx, cancel := context.WithTimeout(t.Context(), patience(40*time.Second))
	defer cancel()
	bob, err := client.Dial(ctx, client.Config{URLs: []string{edge.URL}, User: "bob"})
	if err != nil {
		t.Fatal(err)
	}
	defer bob.Close()
	room, err := bob.Join(ctx, "general", client.JoinOptions{OnEvent: func(protocol.Frame) {}})
	if err != nil {
		t.Fatal(err)
	}
	bobSays := func(from, n int) {
		for i := range n {
			if _, err := room.Send(ctx, map[string]string{"text": fmt.Sprint("bob ", from+i)}); err != nil {
				t.Error(err)
				return
			}
		}
	}
	bobSays(0, 20)
	leader.line(false)
	leader.is("that the line is down", `parley.status.state === 'reconnecting' || parley.status.state === 'connecting'`)
	leader.post("kept", 3)
	leader.read(stored(3))
	bobSays(20, 20)
	other.post("meanwhile", 10)
	if err := chromedp.Cancel(leader.ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(other.read(`JSON.stringify({ status: parley.status, acks, got: got.length, last: got.slice(-30) })`))
		}
	})
	bobSays(40, 20)
	other.is("everything", `got.length === 83 && acks === 15`)
	texts := strings.Split(other.read(`got.join('\n')`), "\n")
	for _, said := range []struct {
		name string
		n    int
	}{{"leader", 5}, {"other", 5}, {"kept", 3}, {"meanwhile", 10}, {"bob", 60}} {
		next := 0
		for _, text := range texts {
			if strings.HasPrefix(text, said.name+" ") {
				if want := fmt.Sprint(said.name, " ", next); text != want {
					t.Errorf("got %q where %q was next", text, want)
				}
				next++
			}
		}
		if next != said.n {
			t.Errorf("%d messages of %s, want %d", next, said.name, said.n)
		}
	}
	if n := other.read(`parley.presence().then(({ count }) => String(count))`); n != "1" {
		t.Errorf("one tab is %s sessions", n)
	}
}

// stored waits until n messages are in the browser's storage.
func stored(n int) string {
	return fmt.Sprintf(`(async () => {
		const name = "parley " + new URL("/ws", location).href.replace(/^http/, "ws");
		const db = await new Promise((done) => { indexedDB.open(name).onsuccess = (e) => done(e.target.result); });
		const count = () => new Promise((done) => { db.transaction("outbox").objectStore("outbox").count().onsuccess = (e) => done(e.target.result); });
		while (await count() < %d) await new Promise((done) => setTimeout(done, 20));
		db.close();
		return "";
	})()`, n)
}
