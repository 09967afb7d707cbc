package parley

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/parley-chat/parley/shared/bus"
	"github.com/parley-chat/parley/shared/event"
	"github.com/parley-chat/parley/shared/topic"
)

// trace follows the way of one message by sending a question along it. Nothing is
// recorded per message, so each hop says how things stand now.
type trace struct {
	Message string        `arg:"" optional:"" name:"mid" help:"The message's id, as its frame shows it."`
	Room    string        `required:"" help:"The room that it was sent to."`
	Seq     uint64        `help:"Its seq, instead of the id."`
	Wait    time.Duration `default:"4s" help:"For the answers of all hops; later ones are not given."`
}

// traced is what the hops answered.
type traced struct {
	Room      string              `json:"room"`
	Message   string              `json:"mid,omitempty"`
	Chat      *event.LogFinding   `json:"chat,omitempty"`
	Notifier  *event.RouteFinding `json:"notifier,omitempty"`
	Edges     []edgeFinding       `json:"edges,omitempty"`
	Silent    []string            `json:"silent,omitempty"` // who did not answer in time
	Unknown   []string            `json:"unknown"`          // what can no longer be known
	chatNode  string
	routeNode string
}

type edgeFinding struct {
	Node string `json:"node"`
	event.CursorFinding
}

// Run is kong's.
func (c *trace) Run(ctx context.Context, t *Target, out *output) error {
	if (c.Message == "") == (c.Seq == 0) {
		return misused("give the message's id, or its --seq")
	}
	l, err := t.installed(ctx)
	if err != nil {
		return err
	}
	defer l.Close()
	found, err := c.ask(ctx, l)
	if err != nil {
		return err
	}
	found.conclude()
	if err := out.document(found, found.print); err != nil {
		return err
	}
	if found.Chat == nil || !found.Chat.Found {
		return errFound
	}
	return nil
}

// ask sends the question and gathers the answers.
func (c *trace) ask(ctx context.Context, l *link) (*traced, error) {
	b, err := bus.New(l.Backend, bus.Config{Partitions: l.partitions, Name: l.name, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	defer b.Close()
	id := strings.ToLower(rand.Text())
	answers := findings{made: make(chan struct{}), came: make(chan []event.Finding, 64)}
	reading, stop := context.WithCancel(ctx)
	read := make(chan error, 1)
	go func() {
		options := bus.ReadOptions{TTL: time.Minute, Drop: true, Ready: func() { close(answers.made) }}
		read <- bus.Read(reading, b, topic.Traces(id), topic.Operator, options, answers)
	}()
	defer func() { stop(); <-read }()

	waiting, cancel := context.WithTimeout(ctx, c.Wait)
	defer cancel()
	select {
	case <-answers.made:
	case <-waiting.Done():
		return nil, errors.New("the bus does not take a topic for the answers")
	}
	w := b.Writer(l.name, 0, false)
	defer w.Close()
	question := event.Command{Room: event.RoomID(c.Room), At: time.Now().UnixMilli(),
		Trace: &event.TraceMessage{ID: event.MessageID(c.Message), Seq: c.Seq, ReplyTo: id}}
	if err := bus.Publish(waiting, w, topic.Commands(), question); err != nil {
		return nil, err
	}
	found := &traced{Room: c.Room, Message: c.Message}
	for !found.complete() {
		select {
		case some := <-answers.came:
			for _, f := range some {
				found.add(f)
			}
		case <-waiting.Done():
			return found, nil
		}
	}
	return found, nil
}

// findings is the consumer of the answers' topic.
type findings struct {
	made chan struct{}
	came chan []event.Finding
}

func (f findings) Consume(ctx context.Context, batch []event.Finding) error {
	select {
	case f.came <- batch:
	case <-ctx.Done():
	default: // more than anybody waits for
	}
	return nil
}
func (findings) Missed(context.Context, string) {}
func (findings) Close()                         {}

func (f *traced) add(one event.Finding) {
	switch {
	case one.Logged != nil:
		f.Chat, f.chatNode = one.Logged, one.Node
	case one.Routed != nil:
		f.Notifier, f.routeNode = one.Routed, one.Node
	case one.Read != nil:
		f.Edges = append(f.Edges, edgeFinding{one.Node, *one.Read})
	}
}

// complete tells whether everybody has answered who is known to.
func (f *traced) complete() bool {
	return f.Chat != nil && f.Notifier != nil && len(f.missing()) == 0
}

func (f *traced) missing() (nodes []string) {
	for _, n := range f.Notifier.Nodes {
		if !slices.ContainsFunc(f.Edges, func(e edgeFinding) bool { return e.Node == string(n) }) {
			nodes = append(nodes, string(n))
		}
	}
	return nodes
}

// conclude says what the answers leave open.
func (f *traced) conclude() {
	slices.SortFunc(f.Edges, func(a, b edgeFinding) int { return strings.Compare(a.Node, b.Node) })
	f.Unknown = []string{"who was in the room when it was sent: the notifier knows only who is in it now",
		"whether a client has shown it: an edge knows what it has written to a connection that is still open"}
	switch {
	case f.Chat == nil:
		f.Silent = append(f.Silent, "chat")
	case f.Chat.Error != "":
		f.Unknown = append(f.Unknown, "whether it is in the log: "+f.Chat.Error)
	case !f.Chat.Found && f.Chat.Floor > 1:
		f.Unknown = append(f.Unknown, fmt.Sprintf("whether it was among the entries below %d, which are no longer kept", f.Chat.Floor))
	case f.Chat.Found && f.Chat.Dedupe == "":
		f.Unknown = append(f.Unknown, "what a repeat of its send would get: the room's newest sends are not in memory")
	}
	if f.Notifier == nil {
		f.Silent = append(f.Silent, "notifier")
	} else {
		f.Silent = append(f.Silent, f.missing()...)
	}
	if len(f.Silent) > 0 {
		f.Unknown = append(f.Unknown, "what "+strings.Join(f.Silent, ", ")+" would say: no answer in time (down, busy, or of a version that does not know the question)")
	}
}

func (f *traced) print(w io.Writer) {
	if c := f.Chat; c != nil {
		fmt.Fprintf(w, "%s: %s\n", f.chatNode, logged(c))
	}
	if n := f.Notifier; n != nil {
		fmt.Fprintf(w, "%s: room %s goes to %d edges, %d users\n", f.routeNode, f.Room, len(n.Nodes), n.Users)
	}
	for _, e := range f.Edges {
		fmt.Fprintf(w, "%s: %s\n", e.Node, e.text())
		for _, one := range e.Lagging {
			fmt.Fprintf(w, "  %s (%s) is at %d\n", one.User, one.Session, one.Seq)
		}
	}
	fmt.Fprintln(w, "\nNot to be known any more:")
	for _, u := range f.Unknown {
		fmt.Fprintf(w, "  %s\n", u)
	}
}

func logged(c *event.LogFinding) string {
	if !c.Found {
		return fmt.Sprintf("not in the log (entries %d to %d under epoch %s, %d looked at)", c.Floor, c.Head, c.Epoch, c.Looked)
	}
	repeat := map[string]string{"dup": "; a repeat of it is recognised", "ok": "; a repeat of it would be appended again"}[c.Dedupe]
	return fmt.Sprintf("appended as %d under epoch %s at %s, from %s with cid %s%s", c.Seq, c.Epoch, clock(c.Appended), c.From, c.CID, repeat)
}

func (e edgeFinding) text() string {
	switch {
	case e.Other:
		return fmt.Sprintf("goes by another epoch (%s): it is about to sync", e.Epoch)
	case e.Subscribers == 0:
		return "nobody here is in the room any more"
	}
	return fmt.Sprintf("%d of %d subscribers are past it (ring's head %d)", e.Past, e.Subscribers, e.Head)
}
