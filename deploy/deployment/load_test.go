package deployment

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/parley-chat/parley/services/ingress/protocol"
	"github.com/parley-chat/parley/services/ingress/protocol/client"
)

// load is users of the Go client who chat through one address, each a message every
// now and then, and remember all that they were acknowledged and sent.
type load struct {
	t       testing.TB
	members []*member
	stop    context.CancelFunc
	sending sync.WaitGroup
	acks    atomic.Int64
}

type member struct {
	name, room string
	client     *client.Client
	in         *client.Room
	breaks     atomic.Int64 // how often the line was lost rather than moved
	moves      atomic.Int64

	mu      sync.Mutex
	acked   map[string]uint64 // text → seq
	entries []protocol.Frame
	told    []string // gaps and resets
	changed chan struct{}
}

const (
	loadRooms  = 4
	loadRoomOf = 4 // members
	loadEvery  = 200 * time.Millisecond
)

// underLoad connects the members and has them send until finish.
func underLoad(t testing.TB, url string, token func(user string) func(context.Context) (string, error)) *load {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	l := &load{t: t, stop: stop}
	t.Cleanup(func() {
		stop()
		l.sending.Wait()
		for _, m := range l.members {
			_ = m.client.Close()
		}
	})
	for i := range loadRooms * loadRoomOf {
		m := &member{name: fmt.Sprintf("user%d", i), room: fmt.Sprintf("room%d", i%loadRooms), acked: map[string]uint64{}, changed: make(chan struct{}, 1)}
		if err := m.connect(url, token); err != nil {
			t.Fatalf("%s: %v", m.name, err)
		}
		l.members = append(l.members, m)
	}
	for i, m := range l.members {
		l.sending.Go(func() { l.chat(ctx, m, time.Duration(i)*loadEvery/time.Duration(len(l.members))) })
	}
	return l
}

func (m *member) connect(url string, token func(user string) func(context.Context) (string, error)) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience(30*time.Second))
	defer cancel()
	cfg := client.Config{URLs: []string{url}, Backoff: client.Backoff{Base: 100 * time.Millisecond, Max: time.Second}, Events: 100_000, OnStatus: m.onStatus}
	if token == nil {
		cfg.User = m.name
	} else {
		cfg.Token = token(m.name)
	}
	var err error
	if m.client, err = client.Dial(ctx, cfg); err != nil {
		return err
	}
	m.in, err = m.client.Join(ctx, m.room, client.JoinOptions{OnEvent: m.onEvent})
	return err
}

func (m *member) onStatus(s client.Status) {
	switch s.State {
	case client.Reconnecting:
		m.breaks.Add(1)
	case client.Moved:
		m.moves.Add(1)
	}
}

func (m *member) onEvent(f protocol.Frame) {
	m.mu.Lock()
	switch {
	case f.Entry():
		f.Body = append(json.RawMessage(nil), f.Body...)
		m.entries = append(m.entries, f)
	case f.Type == protocol.TypeGap, f.Type == protocol.TypeReset:
		m.told = append(m.told, string(f.Raw))
	}
	m.mu.Unlock()
	select {
	case m.changed <- struct{}{}:
	default:
	}
}

// chat sends one message after another until ctx ends; each is tried until it is in.
func (l *load) chat(ctx context.Context, m *member, after time.Duration) {
	timer := time.NewTimer(after)
	defer timer.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		text := fmt.Sprintf("%s-%d", m.name, n)
		sending, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience(45*time.Second))
		ack, err := m.in.Send(sending, map[string]string{"text": text})
		cancel()
		if err != nil {
			l.t.Errorf("%s sends: %v", text, err)
			return
		}
		m.mu.Lock()
		m.acked[text] = ack.Seq
		m.mu.Unlock()
		l.acks.Add(1)
		timer.Reset(loadEvery)
	}
}

// more waits until n more messages are acknowledged: what was done before it has had
// its effect on the load.
func (l *load) more(n int64) {
	l.t.Helper()
	deadline := time.After(patience(60 * time.Second))
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for want := l.acks.Load() + n; l.acks.Load() < want; {
		select {
		case <-tick.C:
		case <-deadline:
			l.t.Fatalf("%d of %d further messages were acknowledged", n-(want-l.acks.Load()), n)
		}
	}
}

func (l *load) breaks() (n int64) {
	for _, m := range l.members {
		n += m.breaks.Load()
	}
	return n
}

func (l *load) moves() (n int64) {
	for _, m := range l.members {
		n += m.moves.Load()
	}
	return n
}

// finish ends the sending, waits until everybody has everything, and checks that
// nothing was lost, doubled or seen in another order.
func (l *load) finish() {
	l.t.Helper()
	l.stop()
	l.sending.Wait()
	heads := map[string]uint64{}
	sent := map[string]int{}
	for _, m := range l.members {
		for _, seq := range m.acked {
			heads[m.room] = max(heads[m.room], seq)
			sent[m.room]++
		}
	}
	for _, m := range l.members {
		if err := m.await(heads[m.room]); err != nil {
			l.t.Errorf("%s in %s: %v", m.name, m.room, err)
		}
	}
	if l.t.Failed() {
		return
	}
	logs := map[string][]protocol.Frame{}
	for _, m := range l.members {
		if err := m.check(logs[m.room], sent[m.room]); err != nil {
			l.t.Errorf("%s in %s: %v", m.name, m.room, err)
		}
		logs[m.room] = m.entries
	}
	l.t.Logf("%d messages acknowledged, each delivered once to %d members; %d connections moved, %d were broken", l.acks.Load(), loadRoomOf, l.moves(), l.breaks())
}

func (m *member) await(head uint64) error {
	deadline := time.After(patience(30 * time.Second))
	for {
		m.mu.Lock()
		n := len(m.entries)
		have := n > 0 && m.entries[n-1].Seq >= head
		m.mu.Unlock()
		if have || head == 0 {
			return nil
		}
		select {
		case <-m.changed:
		case <-deadline:
			return fmt.Errorf("has %d entries, the head is %d", n, head)
		}
	}
}

// check holds what the member saw against what it was acknowledged, and against what
// another member of the room saw.
func (m *member) check(other []protocol.Frame, sent int) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.told) > 0 {
		return fmt.Errorf("was told %v", m.told)
	}
	if len(m.entries) != sent {
		return fmt.Errorf("has %d entries, %d were acknowledged", len(m.entries), sent)
	}
	var errs []error
	seqs := map[string]uint64{}
	for i, e := range m.entries {
		var body struct{ Text string }
		if err := json.Unmarshal(e.Body, &body); err != nil {
			return err
		}
		if e.Seq != uint64(i+1) {
			return fmt.Errorf("entry %d has seq %d", i+1, e.Seq)
		}
		if twice := seqs[body.Text]; twice != 0 {
			errs = append(errs, fmt.Errorf("%s is there as %d and as %d", body.Text, twice, e.Seq))
		}
		seqs[body.Text] = e.Seq
		if i < len(other) && other[i].MID != e.MID {
			errs = append(errs, fmt.Errorf("seq %d is %s here and %s for another member", e.Seq, e.MID, other[i].MID))
		}
	}
	for text, seq := range m.acked {
		if seqs[text] != seq {
			errs = append(errs, fmt.Errorf("%s was acknowledged as %d and delivered as %d", text, seq, seqs[text]))
		}
	}
	return errors.Join(errs...)
}
