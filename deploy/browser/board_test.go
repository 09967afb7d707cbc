package browser

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/parley-chat/parley/deploy/cluster"
	"github.com/parley-chat/parley/services/ingress/protocol"
	"github.com/parley-chat/parley/services/ingress/protocol/client"
)

// within is how soon the board shows what has changed.
const within = 2 * time.Second

// connectionsOf is the expression for: the board says that the edge has n connections.
func connectionsOf(edge string, n int) string {
	return fmt.Sprintf(`document.querySelector('[data-edge=%q]')?.dataset.connections === %q`, edge, strconv.Itoa(n))
}

const threeEdges = `document.querySelectorAll('#edges li[data-state="well"]').length === 3`

// soon is is, for what must be true after a time that counts.
func (w *window) soon(since time.Time, what, expression string) {
	w.t.Helper()
	w.is(what, expression)
	if took := time.Since(since); took > patience(within) {
		w.t.Errorf("the board took %s to show %s, %s are allowed", took.Round(time.Millisecond), what, patience(within))
	}
}

// enter puts a text into a field, in the place of what is there, and presses enter.
func (w *window) enter(field, text string) {
	w.t.Helper()
	w.read(fmt.Sprintf(`document.querySelector(%q).value = ''`, field))
	w.do("enter "+text, chromedp.SendKeys(field, text+kb.Enter))
}

func dial(t *testing.T, url, user string) *client.Client {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience(20*time.Second))
	defer cancel()
	c, err := client.Dial(ctx, client.Config{URLs: []string{url}, User: user})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// TestBoard: three edges' connections change on the board as they come and go; it
// shows traffic, latency, leases and who is online, and a board that opens later
// has what was before.
func TestBoard(t *testing.T) {
	c := start(t, cluster.Config{Ingress: 3, Chat: 1, Notifiers: 1, Env: []string{"PARLEY_RATE=0"}})
	board := open(t, c.Edges[0].URL+"/status")
	board.is("three edges", threeEdges)
	board.is("its own connection", connectionsOf("ingress-1", 1))

	people := make([][]*client.Client, len(c.Edges))
	for i, edge := range c.Edges {
		for n := range i + 1 {
			people[i] = append(people[i], dial(t, edge.URL, fmt.Sprintf("user-%d-%d", i+1, n+1)))
		}
		own := 0
		if i == 0 {
			own = 1
		}
		board.soon(time.Now(), "who came to "+edge.Name, connectionsOf(edge.Name, i+1+own))
	}
	board.is("the total", `document.querySelector('#connections').textContent === '7'`)
	for i, edge := range c.Edges[1:] {
		people[i+1][0].Close()
		board.soon(time.Now(), "who left "+edge.Name, connectionsOf(edge.Name, i+1))
	}

	talk(t, people[0][0], people[2][1], 40)
	board.is("messages", `parseFloat(document.querySelector('#messages').textContent) > 0`)
	board.is("deliveries", `parseFloat(document.querySelector('#deliveries').textContent) > 0`)
	board.is("latency", `/\d/.test(document.querySelector('#p50').textContent) && /\d/.test(document.querySelector('#p99').textContent)`)
	board.is("a lease for every partition", `document.querySelectorAll('#partitions tr').length === 8 && !document.querySelector('#partitions .none')`)
	board.is("the lag of every partition's topics", `[...document.querySelectorAll('#partitions .n')].every(td => /\d/.test(td.textContent))`)
	board.is("the lag of every edge's topic", `[...document.querySelectorAll('#lag th')].filter(th => th.textContent.startsWith('deliveries-ingress-')).length === 3`)
	board.is("that the broker answers", `/bus answers 5 of 5/.test(document.querySelector('#brokers').textContent)`)
	board.enter("#room-input", "harbour")
	board.is("who is online, and where", `document.querySelector('[data-user="user-1-1"] .where')?.textContent.includes('ingress-1') && document.querySelector('[data-user="user-3-2"] .where')?.textContent.includes('ingress-3')`)

	c.Edges[2].Kill()
	board.is("that an edge is silent", `document.querySelector('[data-edge="ingress-3"]').dataset.state === 'silent'`)
	board.is("that who was there is gone", `document.querySelector('[data-user="user-1-1"]') && !document.querySelector('[data-user="user-3-2"]')`)

	// What is kept ends where the partition changes hands, which a busy machine may bring about: so a little more to be kept.
	talk(t, dial(t, c.Edges[0].URL, "late-1"), dial(t, c.Edges[1].URL, "late-2"), 5)
	later := open(t, c.Edges[1].URL+"/status")
	later.is("that two edges are well", `document.querySelectorAll('#edges li[data-state="well"]').length === 2`)
	later.is("what was before it came", `document.querySelectorAll('#messages-plot path.line').length > 0 && document.querySelectorAll('#latency-plot path.p99').length > 0`)
	accessible(t, board)
}

// talk has two people send to a room in turn.
func talk(t *testing.T, a, b *client.Client, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience(30*time.Second))
	defer cancel()
	var both sync.WaitGroup
	for _, c := range []*client.Client{a, b} {
		r := enter(ctx, t, c, "harbour")
		both.Go(func() {
			for i := range n {
				if _, err := r.Send(ctx, map[string]string{"text": fmt.Sprint("message ", i)}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	both.Wait()
}

const secretOfTests = "a secret of thirty-two bytes and more"

// token is a JWT for the user.
func token(user string) string {
	enc := base64.RawURLEncoding.EncodeToString
	head := enc([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + enc(fmt.Appendf(nil, `{"sub":%q,"exp":%d}`, user, time.Now().Add(time.Hour).Unix()))
	mac := hmac.New(sha256.New, []byte(secretOfTests))
	mac.Write([]byte(head))
	return head + "." + enc(mac.Sum(nil))
}

// TestBoardIsForOperators: who has no admin token cannot join ~status, and is not
// shown the board.
func TestBoardIsForOperators(t *testing.T) {
	c := start(t, cluster.Config{Standalone: true, Env: []string{"PARLEY_AUTH=jwt", "PARLEY_JWT_SECRET=" + secretOfTests, "PARLEY_ADMIN_TOKEN=open-sesame"}})
	url := c.Edges[0].URL
	ctx, cancel := context.WithTimeout(t.Context(), patience(20*time.Second))
	defer cancel()
	user, err := client.Connect(ctx, url, client.ConnConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer user.Cut()
	for _, said := range []struct {
		request protocol.Request
		answer  string
		code    protocol.Code
	}{
		{protocol.Request{Type: "hello", ID: 1, Token: token("mallory")}, "welcome", ""},
		{protocol.Request{Type: "join", ID: 2, Room: "~status"}, "error", protocol.Forbidden},
		{protocol.Request{Type: "history", ID: 3, Room: "~status"}, "error", protocol.Forbidden},
		{protocol.Request{Type: "presence", ID: 4, Room: "~status"}, "error", protocol.Forbidden},
		{protocol.Request{Type: "send", ID: 5, Room: "~status", CID: "c", Body: []byte("1")}, "error", protocol.Forbidden},
	} {
		if err := user.Send(said.request); err != nil {
			t.Fatal(err)
		}
		f, err := user.Receive(ctx)
		if err != nil || f.ID != said.request.ID || f.Type != said.answer || f.Code != said.code {
			t.Fatalf("%s ~status: got %s (%v), want %s %s", said.request.Type, f.Raw, err, said.answer, said.code)
		}
	}

	w := open(t, url+"/status")
	w.is("that a token is asked for", `!document.querySelector('#gate').hidden && document.querySelector('#board').hidden`)
	w.enter("#token-input", "open-barley")
	w.is("the refusal", `/said no/.test(document.querySelector('#token-error').textContent) && document.querySelector('#board').hidden`)
	accessible(t, w)
	w.enter("#token-input", "open-sesame")
	w.is("the board", `document.querySelectorAll('#edges li[data-state="well"]').length === 1`)
	w.do("reload", chromedp.Reload())
	w.is("the board again", `document.querySelectorAll('#edges li[data-state="well"]').length === 1`)
}
