package browser

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"image/png"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/parley-chat/parley/deploy/cluster"
	"github.com/parley-chat/parley/services/ingress/protocol"
	"github.com/parley-chat/parley/services/ingress/protocol/client"
)

var (
	pictures = flag.String("pictures", "", "take the page's and the board's pictures for the documentation into this folder")
	boardFor = flag.Duration("board", 100*time.Second, "how long the board in the pictures has watched")
)

// TestPictures takes the pictures of the documentation; `make pictures` calls it.
func TestPictures(t *testing.T) {
	if *pictures == "" {
		t.Skip("only by make pictures")
	}
	c := start(t, cluster.Config{Standalone: true})
	url := c.Edges[0].URL
	w := open(t, url+"/?user=Mina&room=harbour")
	w.is("that the line is up", online)
	for _, room := range []string{"night-shift", "lighthouse"} {
		w.do("join", chromedp.SendKeys("#room-input", room+kb.Enter))
		w.is("the room", fmt.Sprintf(`document.querySelector('#room-name').textContent === '#%s'`, room))
	}
	w.read(`document.querySelector('[data-room="harbour"] .open').click(); ''`)
	people := converse(t, url, func() { w.say("On my way. Ten minutes, with coffee.") })
	w.is("the conversation", shows("Ada", "You are a treasure"))
	w.is("what is unread", `document.querySelector('[data-room="night-shift"] .badge').textContent === '2'`)
	w.is("who is here", `document.querySelectorAll('#members li').length === 4`)
	if err := people["Tomás"].Typing(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.is("that somebody types", `document.querySelector('#typing').textContent !== ''`)
	w.shoot("room")
	w.read(`document.querySelector('[data-room="lighthouse"] .open').click(); ''`)
	w.is("the empty room", `document.querySelector('#room-name').textContent === '#lighthouse' && document.querySelector('#top').textContent.includes('quiet')`)
	w.shoot("empty")
	w.read(`document.querySelector('[data-room="harbour"] .open').click(); ''`)
	w.line(false)
	w.is("that the line is down", `document.querySelector('#status').dataset.state === 'reconnecting'`)
	w.say("Stuck behind the crane, two minutes more.")
	w.is("that it waits", `document.querySelector('#pending [data-state="waiting"]')`)
	w.shoot("offline")
}

// TestBoardPictures takes those of the status board: three edges under a little load.
func TestBoardPictures(t *testing.T) {
	if *pictures == "" {
		t.Skip("only by make pictures")
	}
	c := start(t, cluster.Config{Ingress: 3, Chat: 2, Notifiers: 2, Env: []string{"PARLEY_RATE=0"}})
	board := open(t, c.Edges[0].URL+"/status")
	board.is("three edges", threeEdges)
	board.enter("#room-input", "harbour")
	ctx, cancel := context.WithCancel(t.Context())
	var crowd sync.WaitGroup
	for i := range 42 { // who comes one after the other, writes now and then, and may go
		name := []string{"Ada", "Mina", "Tomás", "zoë"}[i%4]
		if i >= 4 {
			name = fmt.Sprintf("guest-%02d", i)
		}
		crowd.Go(func() { visit(ctx, t, c.Edges[[]int{0, 1, 1, 2, 2, 2}[i%6]].URL, name, i) })
	}
	select {
	case <-ctx.Done():
	case <-time.After(*boardFor):
	}
	board.is("a picture's worth", `document.querySelectorAll('#people li').length === 4 && document.querySelectorAll('#latency-plot path.p99').length > 0`)
	board.read(`scrollTo(0, 0); ''`)
	board.shootAt("board", [][2]int64{{360, 740}, {1280, 1300}})
	cancel()
	crowd.Wait()
}

// visit is one user of the board's picture.
func visit(ctx context.Context, t *testing.T, url, name string, i int) {
	pause := func(d time.Duration) bool {
		select {
		case <-ctx.Done():
			return false
		case <-time.After(d):
			return true
		}
	}
	if i >= 4 && !pause(time.Duration(i)*(*boardFor)/70) {
		return
	}
	c, err := client.Dial(ctx, client.Config{URLs: []string{url}, User: name})
	if err != nil {
		if ctx.Err() == nil {
			t.Error(err)
		}
		return
	}
	defer c.Close()
	room := "harbour"
	if i >= 4 {
		room = fmt.Sprintf("berth-%d", i%7)
	}
	r, err := c.Join(ctx, room, client.JoinOptions{OnEvent: func(protocol.Frame) {}})
	for n := 0; err == nil; n++ {
		_, err = r.Send(ctx, map[string]string{"text": "all is well"})
		if err == nil && !pause(time.Duration(300+170*((i*7+n*3)%11))*time.Millisecond) {
			return
		}
	}
	if ctx.Err() == nil {
		t.Errorf("%s: %v", name, err)
	}
}

// converse has a few people talk, so that a picture shows what a room is for.
func converse(t *testing.T, url string, reply func()) map[string]*client.Room {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience(30*time.Second))
	defer cancel()
	harbour := map[string]*client.Room{}
	clients := map[string]*client.Client{}
	for _, name := range []string{"Ada", "Tomás", "zoë"} {
		c, err := client.Dial(ctx, client.Config{URLs: []string{url}, User: name})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		clients[name] = c
		harbour[name] = enter(ctx, t, c, "harbour")
	}
	say := func(r *client.Room, text string) {
		if _, err := r.Send(ctx, map[string]string{"text": text}); err != nil {
			t.Fatal(err)
		}
	}
	say(harbour["Ada"], "Morning! The Brise is early: she'll be at the pilot station by six.")
	say(harbour["Tomás"], "Saw her lights. Wind is 18 knots from the west, that should do.")
	say(harbour["Tomás"], "Forecast: https://weather.example/harbour")
	say(harbour["zoë"], "Tug two is ready.\nTug one needs another quarter of an hour.")
	say(harbour["Ada"], "No hurry. Mina, can you take her lines at berth 4?")
	reply()
	say(harbour["Ada"], "You are a treasure ☕")
	night := enter(ctx, t, clients["zoë"], "night-shift")
	say(night, "All quiet.")
	say(night, "Handing over: keys are in the drawer.")
	return harbour
}

func enter(ctx context.Context, t *testing.T, c *client.Client, room string) *client.Room {
	t.Helper()
	r, err := c.Join(ctx, room, client.JoinOptions{OnEvent: func(protocol.Frame) {}})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// shoot takes the window at both widths in both schemes.
func (w *window) shoot(name string) {
	w.t.Helper()
	w.shootAt(name, [][2]int64{{360, 740}, {1280, 800}})
}

func (w *window) shootAt(name string, sizes [][2]int64) {
	w.t.Helper()
	for _, size := range sizes {
		for _, scheme := range []string{"light", "dark"} {
			w.look(size[0], size[1], scheme)
			w.read(`document.activeElement?.blur(); document.querySelector('#jump:not([hidden])')?.click();
				new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(() => done(''), 400))))`)
			ctx, cancel := context.WithTimeout(w.ctx, patience(20*time.Second))
			raw, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
			cancel()
			if err != nil {
				w.t.Fatal(err)
			}
			file := fmt.Sprintf("%s-%d-%s.png", name, size[0], scheme)
			if err := keep(filepath.Join(*pictures, file), raw); err != nil {
				w.t.Fatal(err)
			}
		}
	}
}

// keep writes a picture as small as PNG allows.
func keep(path string, raw []byte) error {
	img, err := png.Decode(bytes.NewReader(raw))
	if err != nil {
		return err
	}
	var small bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&small, img); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if small.Len() < len(raw) {
		raw = small.Bytes()
	}
	return os.WriteFile(path, raw, 0o644)
}
