package browser

import (
	"strings"
	"syscall"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/parley-chat/parley/deploy/cluster"
)

// TestStory is what two people go through whose windows are on two edges behind
// one address. The steps build on each other.
func TestStory(t *testing.T) {
	c := start(t, cluster.Config{Ingress: 2, Chat: 1, Notifiers: 1, Env: []string{"PARLEY_DRAIN=5s"}})
	door := behind(t, c)
	alice := open(t, door.URL+"/?user=alice&room=general")
	alice.is("that the line is up", online)
	bob := open(t, door.URL+"/?user=bob&room=general")
	bob.is("that the line is up", online)
	if alice.node() == bob.node() {
		t.Fatalf("both windows are on %s", alice.node())
	}
	for _, step := range []struct {
		name string
		run  func(t *testing.T, c *cluster.Cluster, door *front, alice, bob *window)
	}{
		{"chat", chat},
		{"markup stays text", markup},
		{"one is offline for a while", offline},
		{"a reload with a message that was never sent", reloadUnsent},
		{"a reload with a message that was never answered", reloadUnanswered},
		{"the edge drains", drain},
		{"the edge is killed", kill},
	} {
		if !t.Run(step.name, func(t *testing.T) { step.run(t, c, door, alice.in(t), bob.in(t)) }) {
			return
		}
	}
	sameOnce(t, alice, bob)
}

// in has failures told to a part of the test.
func (w *window) in(t *testing.T) *window { return &window{t: t, ctx: w.ctx} }

// sameOnce: both windows show the same messages in the same order, none twice.
func sameOnce(t *testing.T, alice, bob *window) {
	t.Helper()
	a, b := alice.messages(), bob.messages()
	if a != b {
		t.Errorf("the windows differ:\n%s\n--\n%s", a, b)
	}
	seen := map[string]bool{}
	for _, text := range strings.Split(a, "\n") {
		if seen[text] {
			t.Errorf("%q stands there twice:\n%s", text, a)
		}
		seen[text] = true
	}
}

func chat(t *testing.T, _ *cluster.Cluster, _ *front, alice, bob *window) {
	alice.say("hello from edge one")
	bob.is("alice's message", shows("alice", "hello from edge one"))
	alice.is("an empty field", `document.querySelector('#message-input').value === ''`)
	alice.do("two lines", chromedp.SendKeys("#message-input", "two"), chromedp.KeyEvent(kb.Enter, chromedp.KeyModifiers(chromedp.ModifierShift)), chromedp.SendKeys("#message-input", "lines"+kb.Enter))
	bob.is("both lines", shows("alice", "two\nlines"))
	bob.say("and back from edge two")
	alice.is("bob's message", shows("bob", "and back from edge two"))
	alice.is("bob among the members", `document.querySelector('#members').textContent.includes('bob')`)
	alice.is("how many connections there are", `/\b2\b/.test(document.querySelector('#connections').textContent)`)
}

func markup(t *testing.T, _ *cluster.Cluster, _ *front, alice, bob *window) {
	nasty := `<img src=x onerror=window.hacked=1> javascript:window.hacked=1 [x](javascript:window.hacked=1)`
	alice.say(nasty)
	bob.is("markup as text", shows("alice", nasty))
	bob.is("that nothing ran", `window.hacked === undefined && !document.querySelector('#messages img') && ![...document.querySelectorAll('#messages a')].some(a => a.protocol === 'javascript:')`)
	alice.say("see https://parley.example/docs")
	bob.is("a safe link", `[...document.querySelectorAll('#messages a')].some(a => a.href === 'https://parley.example/docs' && a.rel.includes('noopener'))`)
}

func offline(t *testing.T, _ *cluster.Cluster, _ *front, alice, bob *window) {
	alice.line(false)
	alice.is("that the page says so", `document.querySelector('#status').dataset.state !== 'open' && /offline/i.test(document.querySelector('#status').textContent)`)
	alice.say("tunnel one")
	bob.say("meanwhile one")
	alice.say("tunnel two")
	bob.say("meanwhile two")
	alice.is("that both wait", `document.querySelectorAll('#pending [data-state="waiting"]').length === 2`)
	bob.is("the own ones", shows("bob", "meanwhile two"))
	alice.line(true)
	alice.is("that the line is up", online)
	for _, w := range []*window{alice, bob} {
		w.is("all four", shows("alice", "tunnel two")+"&&"+shows("alice", "tunnel one")+"&&"+shows("bob", "meanwhile one")+"&&"+shows("bob", "meanwhile two"))
	}
	alice.is("that nothing waits any more", `document.querySelectorAll('#pending li').length === 0`)
	sameOnce(t, alice, bob)
	if text := alice.messages(); strings.Index(text, "tunnel one") > strings.Index(text, "tunnel two") {
		t.Errorf("the tunnel turned the order round:\n%s", text)
	}
}

// reloadUnsent: the page can be loaded and the socket cannot, before and after.
func reloadUnsent(t *testing.T, c *cluster.Cluster, door *front, alice, bob *window) {
	door.shut.Store(true)
	alice.line(false) // ends the socket
	alice.is("that the line is down", `document.querySelector('#status').dataset.state !== 'open'`)
	alice.line(true)
	alice.say("kept over a reload")
	alice.is("that it waits", `document.querySelectorAll('#pending [data-state="waiting"]').length === 1`)
	alice.read(stored(1))
	alice.do("reload", chromedp.Reload())
	door.shut.Store(false)
	bob.is("the message", shows("alice", "kept over a reload"))
	alice.is("the message, and nothing that waits", shows("alice", "kept over a reload")+` && document.querySelectorAll('#pending li').length === 0`)
	sameOnce(t, alice, bob)
}

// reloadUnanswered: chat stands still when the message is sent and when the page
// comes back; then it finds the message twice, and writes it once.
func reloadUnanswered(t *testing.T, c *cluster.Cluster, _ *front, alice, bob *window) {
	if err := c.Chats[0].Pause(); err != nil {
		t.Fatal(err)
	}
	alice.say("sent into the silence")
	alice.is("that it is being sent", `document.querySelectorAll('#pending [data-state="sending"]').length === 1`)
	alice.read(stored(1))
	alice.do("reload", chromedp.Reload())
	alice.is("that the line is up", online)
	if err := c.Chats[0].Resume(); err != nil {
		t.Fatal(err)
	}
	for _, w := range []*window{alice, bob} {
		w.is("the message", shows("alice", "sent into the silence"))
	}
	alice.is("that nothing waits any more", `document.querySelectorAll('#pending li').length === 0`)
	sameOnce(t, alice, bob)
}

func drain(t *testing.T, c *cluster.Cluster, _ *front, alice, bob *window) {
	before := alice.node()
	edge := edgeOf(t, c, before)
	alice.watchStates()
	if err := edge.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	alice.is("another server", online+` && document.querySelector('#status').title !== "Server `+before+`"`)
	alice.is("that the page says so", `/moved/i.test(document.querySelector('#status').textContent)`)
	<-edge.Done()
	alice.say("still here after the drain")
	for _, w := range []*window{alice, bob} {
		w.is("alice's message", shows("alice", "still here after the drain"))
	}
	if states := alice.read(`window.states.join(' ')`); strings.Contains(states, "reconnecting") || strings.Contains(states, "connecting") || strings.Contains(states, "closed") {
		t.Errorf("the page showed a disconnection: %s", states)
	}
	sameOnce(t, alice, bob)
	if err := edge.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func kill(t *testing.T, c *cluster.Cluster, _ *front, alice, bob *window) {
	before := alice.node()
	alice.watchStates()
	edgeOf(t, c, before).Kill()
	alice.is("another server", online+` && document.querySelector('#status').title !== "Server `+before+`"`)
	if states := alice.read(`window.states.join(' ')`); !strings.Contains(states, "reconnecting") {
		t.Errorf("the page never said that the line was down: %s", states)
	}
	alice.say("back on the other edge")
	bob.is("that the line is up", online)
	bob.is("alice's message", shows("alice", "back on the other edge"))
	bob.say("so am I")
	for _, w := range []*window{alice, bob} {
		w.is("bob's message", shows("bob", "so am I"))
	}
}
