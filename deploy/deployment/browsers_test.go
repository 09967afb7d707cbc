package deployment

import (
	"context"
	"fmt"
	"os/exec"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// window is a browser window with the page open, in a profile of its own.
type window struct {
	t    *testing.T
	ctx  context.Context
	user string
}

// browsers open the page through the balancer, for two people in one room.
func browsers(t *testing.T, url string) (alice, bob *window) {
	t.Helper()
	return openPage(t, url, "alice"), openPage(t, url, "bob")
}

func openPage(t *testing.T, url, user string) *window {
	t.Helper()
	var chromium string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome-stable", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			chromium = path
			break
		}
	}
	if chromium == "" {
		t.Fatal("no Chromium is installed: `scripts/need` installs one, or names what is missing")
	}
	options := append(append([]chromedp.ExecAllocatorOption(nil), chromedp.DefaultExecAllocatorOptions[:]...),
		chromedp.ExecPath(chromium), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-component-update", true), chromedp.NoFirstRun)
	ctx, cancelAll := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, cancel := chromedp.NewContext(ctx)
	t.Cleanup(func() {
		_ = chromedp.Cancel(ctx)
		cancel()
		cancelAll()
	})
	w := &window{t: t, ctx: ctx, user: user}
	if err := chromedp.Do(ctx, chromedp.Navigate(url+"/?room=browsers&user="+user)); err != nil {
		t.Fatalf("open %s: %v", url, err)
	}
	w.shows("that the line is up", `document.querySelector('#status')?.dataset.state === 'open'`)
	return w
}

// tell has one say something, and waits until both windows show it once.
func (w *window) tell(other *window, text string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, patience(30*time.Second))
	defer cancel()
	if err := chromedp.Do(ctx, chromedp.SendKeys("#message-input", text+kb.Enter)); err != nil {
		w.t.Fatalf("%s says %s: %v", w.user, text, err)
	}
	once := fmt.Sprintf(`[...document.querySelectorAll('#messages .message[data-seq]')].filter(m => m.dataset.from === %q && m.textContent.includes(%q)).length === 1`, w.user, text)
	w.shows("the own message", once)
	other.shows("the other's message", once)
}

// shows waits until the JavaScript expression is true.
func (w *window) shows(what, expression string) {
	w.t.Helper()
	eventually(w.t, w.user+" sees "+what, 30*time.Second, func() error {
		ctx, cancel := context.WithTimeout(w.ctx, patience(10*time.Second))
		defer cancel()
		yes, err := chromedp.Run(ctx, chromedp.Evaluate[bool]("Boolean("+expression+")"))
		if err == nil && !yes {
			err = fmt.Errorf("%s is not so", expression)
		}
		return err
	})
}
