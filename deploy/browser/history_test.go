package browser

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/parley-chat/parley/deploy/cluster"
	"github.com/parley-chat/parley/services/ingress/protocol"
	"github.com/parley-chat/parley/services/ingress/protocol/client"
)

const (
	manyMessages = 10_000
	mostNodes    = 300
)

// fill writes n messages to a room.
func fill(t *testing.T, url, room string, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience(90*time.Second))
	defer cancel()
	c, err := client.Dial(ctx, client.Config{URLs: []string{url}, User: "chronicler"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	r, err := c.Join(ctx, room, client.JoinOptions{OnEvent: func(protocol.Frame) {}})
	if err != nil {
		t.Fatal(err)
	}
	var writers sync.WaitGroup
	var next atomic.Int64
	for range 128 {
		writers.Go(func() {
			for i := next.Add(1); i <= int64(n); i = next.Add(1) {
				text := fmt.Sprintf("entry %d%s", i, []string{"", ", with a few words more", "\nand a second line"}[i%3])
				if _, err := r.Send(ctx, map[string]string{"text": text}); err != nil {
					t.Errorf("message %d: %v", i, err)
					return
				}
			}
		})
	}
	writers.Wait()
}

// view is what the list of messages looks like.
type view struct {
	Nodes       int     // message nodes in the document
	First, Last int     // seq of the first and the last of them
	Top         float64 // how far it is scrolled
	Seq         int     // the first message in view
	At          float64 // and where its upper edge is, from that of the list
}

func (w *window) view() (v view) {
	w.t.Helper()
	text := w.read(`(() => {
		const box = document.querySelector('#messages'), all = [...box.querySelectorAll('.message')];
		const logged = all.filter(m => m.dataset.seq), top = box.getBoundingClientRect().top;
		const seen = logged.find(m => m.getBoundingClientRect().bottom > top);
		return JSON.stringify({ Nodes: all.length, First: +logged[0]?.dataset.seq, Last: +logged.at(-1)?.dataset.seq, Top: box.scrollTop,
			Seq: +seen?.dataset.seq, At: seen?.getBoundingClientRect().top - top });
	})()`)
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		w.t.Fatalf("view %s: %v", text, err)
	}
	if v.Nodes > mostNodes {
		w.t.Fatalf("%d message nodes are in the document, %d are allowed", v.Nodes, mostNodes)
	}
	return v
}

const scroll = `document.querySelector('#messages').scrollTop`

// TestALongRoom: of 10,000 messages few are in the document wherever the reader
// is; he reaches the first and the last, and keeps his place when older ones load.
func TestALongRoom(t *testing.T) {
	c := start(t, cluster.Config{Standalone: true, Env: []string{"PARLEY_RATE=0"}})
	fill(t, c.Edges[0].URL, "long", manyMessages)
	w := open(t, c.Edges[0].URL+"/?user=reader&room=long")
	w.is("the newest message", fmt.Sprintf(`document.querySelector('#timeline [data-seq="%d"]')`, manyMessages))
	for range 8 {
		before := w.view()
		// Near the top, older ones are asked for; what is in view then must not move.
		w.read(scroll + ` = 200; ''`)
		here := w.view()
		w.is("older messages", fmt.Sprintf(`+document.querySelector('#timeline .message').dataset.seq < %d`, before.First))
		at := w.read(fmt.Sprintf(`String(document.querySelector('#timeline [data-seq="%d"]').getBoundingClientRect().top - document.querySelector('#messages').getBoundingClientRect().top)`, here.Seq))
		var now float64
		if _, err := fmt.Sscan(at, &now); err != nil || math.Abs(now-here.At) > 2 {
			t.Fatalf("message %d was at %.1f px and is at %s after older ones came (%v)", here.Seq, here.At, at, err)
		}
		w.view()
	}
	w.read(scroll + ` = 0; ''`)
	// It stands there between two loads only, so it is pressed in the moment that it is seen.
	w.is("the way to the first message", `(() => {
		const way = document.querySelector('#top [data-act="toStart"]');
		way?.click();
		return way;
	})()`)
	w.is("the first message", `document.querySelector('#timeline [data-seq="1"]')`)
	for range 8 {
		before := w.view()
		w.read(scroll + ` = 1e9; ''`)
		w.is("newer messages", fmt.Sprintf(`+[...document.querySelectorAll('#timeline .message')].at(-1).dataset.seq > %d`, before.Last))
		w.view()
	}
	w.read(`document.querySelector('#jump').click(); ''`)
	w.is("the newest message again", fmt.Sprintf(`document.querySelector('#timeline [data-seq="%d"]')`, manyMessages))
	w.say("one more")
	w.is("the own message", shows("reader", "one more"))
	if v := w.view(); v.Last != manyMessages+1 {
		t.Errorf("the last message is %d, want %d", v.Last, manyMessages+1)
	}
}
