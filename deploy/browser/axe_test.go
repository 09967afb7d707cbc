package browser

import (
	"context"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/parley-chat/parley/deploy/cluster"
)

// axe is the source of axe-core, which package-lock.json pins.
func axe(t *testing.T) string {
	t.Helper()
	const path = "node_modules/axe-core/axe.min.js"
	if _, err := os.Stat(path); err != nil {
		if out, err := exec.CommandContext(t.Context(), "npm", "ci", "--no-audit", "--no-fund").CombinedOutput(); err != nil {
			t.Fatalf("npm ci: %v\n%s", err, out)
		}
	}
	source, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(source)
}

// look has the window seen at a width and in a colour scheme, light or dark.
func (w *window) look(width, height int64, scheme string) {
	w.t.Helper()
	w.do("emulate", chromedp.EmulateViewport(width, height), chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
			{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"},
		}})
		return err
	}))
}

// violations are those of impact serious and critical that axe-core finds.
func (w *window) violations() string {
	w.t.Helper()
	return w.read(`axe.run(document, { resultTypes: ['violations'], preload: false }).then(({ violations }) => violations
		.filter(v => v.impact === 'serious' || v.impact === 'critical')
		.map(v => v.impact + ' ' + v.id + ': ' + v.help + '\n  ' + v.nodes.slice(0, 5).map(n => n.target + ' ' + n.any.map(c => c.message).join('; ')).join('\n  ')).join('\n'))`)
}

// accessible has axe-core look at the window in both widths and both schemes.
func accessible(t *testing.T, w *window) {
	t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, patience(20*time.Second))
	defer cancel()
	if _, err := chromedp.Run(ctx, chromedp.Evaluate[any](axe(t)+";0")); err != nil {
		t.Fatal(err)
	}
	for _, width := range []int64{360, 1280} {
		for _, scheme := range []string{"light", "dark"} {
			w.look(width, 800, scheme)
			if found := w.violations(); found != "" {
				t.Errorf("%d pixels, %s:\n%s", width, scheme, found)
			}
		}
	}
}

// TestAccessibility has axe-core look at the page in its states.
func TestAccessibility(t *testing.T) {
	c := start(t, cluster.Config{Standalone: true, Env: []string{"PARLEY_RATE=0"}})
	url := c.Edges[0].URL
	fill(t, url, "general", 40)
	for _, state := range []struct {
		name, path string
		ready      string
		act        func(w *window)
	}{
		{"coming in", "/", `!document.querySelector('#welcome').hidden`, nil},
		{"a full room", "/?user=alice&room=general", online + ` && document.querySelectorAll('#timeline .message').length > 20`, func(w *window) {
			w.say("with a link: https://parley.example")
			w.is("the own message", shows("alice", "with a link"))
		}},
		{"an empty room", "/?user=alice&room=empty", online, nil},
		{"a lost line", "/?user=alice&room=general", online, func(w *window) {
			w.line(false)
			w.is("that the line is down", `document.querySelector('#status').dataset.state === 'reconnecting'`)
			w.say("not yet sent")
			w.is("that it waits", `document.querySelector('#pending [data-state="waiting"]')`)
		}},
	} {
		t.Run(state.name, func(t *testing.T) {
			w := open(t, url+state.path)
			w.is("the page", state.ready)
			if state.act != nil {
				state.act(w)
			}
			accessible(t, w)
			if state.name != "a full room" {
				return
			}
			w.look(360, 800, "light")
			for _, drawer := range []string{"rooms", "people"} {
				w.read(`document.querySelector('#open-` + drawer + `').click(); ''`)
				w.is("the drawer", `document.querySelector('.open')`)
				if found := w.violations(); found != "" {
					t.Errorf("with the drawer %s open:\n%s", drawer, found)
				}
				w.read(`document.querySelector('#close-` + drawer + `').click(); ''`)
			}
		})
	}
}
