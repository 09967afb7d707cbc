// Package browser has real, headless Chromium windows chat through the page.
package browser

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/audits"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/parley-chat/parley/deploy/cluster"
)

var binaries string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "parley-browser-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if err := cluster.Build(context.Background(), dir, true); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	binaries = dir
	return m.Run()
}

func patience(d time.Duration) time.Duration {
	if os.Getenv("CI") != "" {
		return 3 * d
	}
	return d
}

func start(t *testing.T, cfg cluster.Config) *cluster.Cluster {
	t.Helper()
	cfg.Bin, cfg.Dir = binaries, t.TempDir()
	cfg.Env = append([]string{"PARLEY_DRAIN=0s"}, cfg.Env...)
	c, err := cluster.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience(20*time.Second))
		defer cancel()
		if err := c.Stop(ctx); err != nil {
			t.Errorf("stop: %v", err)
		}
		for _, p := range c.Services() {
			faults, err := p.Faults()
			if err != nil || len(faults) > 0 {
				t.Errorf("%s: %v\n%s", p.Name, err, strings.Join(faults, "\n"))
			}
			if t.Failed() {
				t.Logf("end of the log of %s:\n%s", p.Name, p.Tail(2000))
			}
		}
	})
	ctx, cancel := context.WithTimeout(context.Background(), patience(60*time.Second))
	defer cancel()
	if err := c.Start(ctx); err != nil {
		t.Fatal(err)
	}
	return c
}

// window is one browser window with a profile of its own.
type window struct {
	t   *testing.T
	ctx context.Context
}

// open opens a window at the URL. What the page logs as an error, and every
// violation of its content security policy, fails the test.
func open(t *testing.T, url string) *window {
	t.Helper()
	options := append(append([]chromedp.ExecAllocatorOption(nil), chromedp.DefaultExecAllocatorOptions[:]...),
		chromedp.ExecPath(chromium(t)), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true), chromedp.NoFirstRun,
		chromedp.WindowSize(1280, 800))
	ctx, cancelAll := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, cancel := chromedp.NewContext(ctx, chromedp.WithListener(func(event any) {
		switch e := event.(type) {
		case *runtime.EventExceptionThrown:
			t.Errorf("the page at %s threw: %s", url, e.ExceptionDetails.Text)
		case *audits.EventIssueAdded:
			if e.Issue.Code == audits.InspectorIssueCodeContentSecurityPolicyIssue {
				t.Errorf("the page at %s violates its content security policy: %+v", url, e.Issue.Details.ContentSecurityPolicyIssueDetails)
			}
		}
	}))
	t.Cleanup(func() {
		_ = chromedp.Cancel(ctx)
		cancel()
		cancelAll()
	})
	w := &window{t: t, ctx: ctx}
	watch := chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, audits.Enable, cdp.Empty{})
		return err
	})
	if err := chromedp.Do(ctx, watch, chromedp.Navigate(url)); err != nil {
		t.Fatalf("open %s: %v", url, err)
	}
	return w
}

func chromium(t *testing.T) string {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome-stable", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Fatal("no Chromium is installed: `scripts/need` installs one, or names what is missing")
	return ""
}

// is waits until the JavaScript expression is true.
func (w *window) is(what, expression string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, patience(20*time.Second))
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		yes, err := chromedp.Run(ctx, chromedp.Evaluate[bool]("Boolean("+expression+")"))
		if err == nil && yes {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			seeing, cancel := context.WithTimeout(w.ctx, 5*time.Second)
			defer cancel()
			text, readErr := chromedp.Run(seeing, chromedp.Evaluate[string](`document.body.innerText`))
			w.t.Fatalf("%s: never saw %s: %v\nthe page reads:\n%s %v", w.t.Name(), what, err, text, readErr)
		}
	}
}

func (w *window) do(what string, actions ...chromedp.Action[chromedp.Void]) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, patience(20*time.Second))
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		w.t.Fatalf("%s: %v", what, err)
	}
}

func (w *window) say(text string) {
	w.t.Helper()
	w.do("say "+text, chromedp.SendKeys("#message-input", text+kb.Enter))
}

// shows is the expression for: a message of the user with the text stands there.
func shows(from, text string) string {
	return fmt.Sprintf(`[...document.querySelectorAll('#messages .message[data-seq]')].some(m => m.dataset.from === %q && m.textContent.includes(%q))`, from, text)
}

const online = `document.querySelector('#status')?.dataset.state === 'open'`

// TestNameIsAskedFor: the page without a name asks for one and goes on from there.
func TestNameIsAskedFor(t *testing.T) {
	c := start(t, cluster.Config{Standalone: true})
	w := open(t, c.Edges[0].URL+"/")
	w.do("enter a name", chromedp.WaitVisible("#name-input"), chromedp.SendKeys("#name-input", "carol"+kb.Enter))
	w.is("that the line is up", online)
	w.say("first")
	w.is("the own message", shows("carol", "first"))
}
