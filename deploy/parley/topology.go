package parley

import (
	"context"
	"fmt"
	"io"
	"strconv"

	"github.com/parley-chat/parley/shared/bus"
	"github.com/parley-chat/parley/shared/event"
	"github.com/parley-chat/parley/shared/topic"
)

// topology shows who is there and who owns what.
type topology struct{}

// layout is what topology found.
type layout struct {
	Partitions []partition `json:"partitions"`
	Nodes      []node      `json:"nodes"`
	Chats      []string    `json:"chats"`
	Notifiers  []string    `json:"notifiers"`
	Letters    int         `json:"deadLetters"` // 1000: that many at least
}

type partition struct {
	Number   int   `json:"number"`
	Chat     owner `json:"chat"`
	Notifier owner `json:"notifier"`
}

// owner is who has a partition's lease, and what it has not acknowledged.
type owner struct {
	Process    string `json:"process,omitempty"` // empty: nobody
	Generation uint64 `json:"generation,omitempty"`
	Messages   int64  `json:"messages"` // unread
	Bytes      int64  `json:"bytes"`
}

type node struct {
	Name     string `json:"name"`
	Messages int64  `json:"messages"`
	Bytes    int64  `json:"bytes"`
}

// Run is kong's.
func (c *topology) Run(ctx context.Context, t *Target, out *output) error {
	l, err := t.installed(ctx)
	if err != nil {
		return err
	}
	defer l.Close()
	found, err := l.layout(ctx, t, out)
	if err != nil {
		return err
	}
	return out.document(found, found.print)
}

func (l *link) layout(ctx context.Context, t *Target, out *output) (f layout, err error) {
	members := func(set string) ([]string, error) {
		return ask(ctx, t, func(ctx context.Context) ([]string, error) { return l.Members(ctx, set) })
	}
	if f.Chats, err = members(bus.MemberSet(topic.Commands().Name, topic.Chat)); err != nil {
		return f, err
	}
	if f.Notifiers, err = members(bus.MemberSet(topic.Events().Name, topic.Notifier)); err != nil {
		return f, err
	}
	bar := out.progress(l.partitions, "partitions")
	for number := range l.partitions {
		p := partition{Number: number}
		if p.Chat, err = l.owner(ctx, t, topic.Commands().Name, topic.Chat, number); err != nil {
			return f, err
		}
		if p.Notifier, err = l.owner(ctx, t, topic.Events().Name, topic.Notifier, number); err != nil {
			return f, err
		}
		f.Partitions = append(f.Partitions, p)
		_ = bar.Add(1)
	}
	nodes, err := members(topic.Nodes)
	if err != nil {
		return f, err
	}
	for _, name := range nodes {
		d, err := l.depth(ctx, t, topic.Deliveries(event.NodeID(name)).Name, topic.Edge)
		if err != nil {
			return f, err
		}
		f.Nodes = append(f.Nodes, node{name, d.Messages, d.Bytes})
	}
	letters, err := ask(ctx, t, func(ctx context.Context) ([]bus.Stored, error) {
		return l.Scan(ctx, bus.DeadLetters, "", mostLetters)
	})
	f.Letters = len(letters)
	return f, err
}

func (l *link) owner(ctx context.Context, t *Target, name, group string, number int) (o owner, err error) {
	d, err := l.depth(ctx, t, bus.PartitionTopic(name, number), group)
	if err != nil {
		return o, err
	}
	ctx, cancel := context.WithTimeout(ctx, t.Timeout)
	defer cancel()
	o.Messages, o.Bytes = d.Messages, d.Bytes
	o.Process, o.Generation, err = l.Holder(ctx, bus.LeaseName(name, group, number))
	return o, err
}

func (l *link) depth(ctx context.Context, t *Target, name, group string) (bus.Depth, error) {
	return ask(ctx, t, func(ctx context.Context) (bus.Depth, error) { return l.Depth(ctx, name, group) })
}

func (f layout) print(w io.Writer) {
	rows := [][]string{{"PARTITION", "CHAT", "UNREAD COMMANDS", "NOTIFIER", "UNREAD EVENTS"}}
	for _, p := range f.Partitions {
		rows = append(rows, []string{strconv.Itoa(p.Number), p.Chat.name(), p.Chat.unread(), p.Notifier.name(), p.Notifier.unread()})
	}
	table(w, rows...)
	rows = [][]string{{"EDGE", "UNREAD DELIVERIES"}}
	for _, n := range f.Nodes {
		rows = append(rows, []string{n.Name, fmt.Sprintf("%d (%s)", n.Messages, size(n.Bytes))})
	}
	fmt.Fprintln(w)
	table(w, rows...)
	fmt.Fprintf(w, "\n%d chats, %d notifiers, %d edges, %d dead letters\n", len(f.Chats), len(f.Notifiers), len(f.Nodes), f.Letters)
}

func (o owner) name() string {
	if o.Process == "" {
		return "nobody"
	}
	return o.Process
}

func (o owner) unread() string { return fmt.Sprintf("%d (%s)", o.Messages, size(o.Bytes)) }
