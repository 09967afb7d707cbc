package parley

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/parley-chat/parley/shared/bus"
	"github.com/parley-chat/parley/shared/event"
	"github.com/parley-chat/parley/shared/topic"
)

// tail shows the traffic as it passes. It is no group: nothing waits for it, and on
// a bus so busy that a topic is trimmed within tailEvery it misses some.
type tail struct {
	Topics []string `name:"topic" help:"Only these: commands, events, deliveries, dead-letters. Default: the first three."`
	Room   string   `help:"Only what concerns this room."`
	User   string   `help:"Only what this user caused."`
	Kind   []string `help:"Only these kinds, such as post, posted, joined."`
	From   string   `enum:"new,start" default:"new" help:"Where to begin: new, or start for what has not been trimmed yet."`
	Count  int      `help:"End after so many events; 0: go on."`
	Bodies bool     `help:"Show what people wrote, too."`
	Idle   bool     `help:"Show the repeats of quiet writers and batches that cannot be decoded, too."`
}

const (
	tailEvery  = 100 * time.Millisecond
	tailBatch  = 100
	nodesEvery = time.Second
)

// Run is kong's.
func (c *tail) Run(ctx context.Context, t *Target, out *output) error {
	if len(c.Topics) == 0 {
		c.Topics = []string{topic.Commands().Name, topic.Events().Name, "deliveries"}
	}
	for _, name := range c.Topics {
		if !slices.Contains([]string{topic.Commands().Name, topic.Events().Name, "deliveries", bus.DeadLetters}, name) {
			return misused("--topic %s: want commands, events, deliveries or dead-letters", name)
		}
	}
	l, err := t.installed(ctx)
	if err != nil {
		return err
	}
	defer l.Close()
	f := &follower{tail: c, link: l, target: t, out: out, at: map[string]string{}}
	err = f.follow(ctx)
	if errors.Is(err, errEnough) || ctx.Err() != nil {
		return nil
	}
	return err
}

var errEnough = errors.New("so many events were asked for")

// follower is one run of tail.
type follower struct {
	*tail
	link   *link
	target *Target
	out    *output
	at     map[string]string // topic → place behind which it goes on
	shown  int
	looked time.Time // at the nodes
	begun  bool
}

func (f *follower) follow(ctx context.Context) error {
	tick := time.NewTicker(tailEvery)
	defer tick.Stop()
	for {
		if err := f.findTopics(ctx); err != nil {
			return err
		}
		f.begun = true
		for _, name := range f.names() {
			if err := f.read(ctx, name); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// findTopics notes the topics to read; of edges also those that come later.
func (f *follower) findTopics(ctx context.Context) error {
	if time.Since(f.looked) < nodesEvery {
		return nil
	}
	f.looked = time.Now()
	for _, name := range f.Topics {
		switch name {
		case bus.DeadLetters:
			if err := f.note(ctx, name); err != nil {
				return err
			}
		case "deliveries":
			nodes, err := ask(ctx, f.target, func(ctx context.Context) ([]string, error) { return f.link.Members(ctx, topic.Nodes) })
			if err != nil {
				return err
			}
			for _, n := range nodes {
				if err := f.note(ctx, topic.Deliveries(event.NodeID(n)).Name); err != nil {
					return err
				}
			}
		default:
			for p := range f.link.partitions {
				if err := f.note(ctx, bus.PartitionTopic(name, p)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// note begins to read a topic: one that was there before at its end, or start.
func (f *follower) note(ctx context.Context, name string) error {
	if _, known := f.at[name]; known {
		return nil
	}
	f.at[name] = ""
	if f.From == "start" || f.begun {
		return nil
	}
	place, err := ask(ctx, f.target, func(ctx context.Context) (string, error) { return f.link.Newest(ctx, name) })
	f.at[name] = place
	return err
}

func (f *follower) names() []string {
	names := make([]string, 0, len(f.at))
	for name := range f.at {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (f *follower) read(ctx context.Context, name string) error {
	for {
		found, err := ask(ctx, f.target, func(ctx context.Context) ([]bus.Stored, error) {
			return f.link.Scan(ctx, name, f.at[name], tailBatch)
		})
		if err != nil {
			return err
		}
		for _, s := range found {
			f.at[name] = s.Place
			if err := f.show(s); err != nil {
				return err
			}
		}
		if len(found) < tailBatch {
			return nil
		}
	}
}

// seen is one event on the bus.
type seen struct {
	Topic  string          `json:"topic"`
	Place  string          `json:"place"`
	At     string          `json:"at"`
	Writer string          `json:"writer"`
	Number uint64          `json:"number"`
	Kind   string          `json:"kind"`
	Room   string          `json:"room,omitempty"`
	User   string          `json:"user,omitempty"`
	Event  json.RawMessage `json:"event,omitempty"`
}

func (f *follower) show(s bus.Stored) error {
	origin := s.Topic
	if dead := s.Metadata[bus.MetaDeadTopic]; dead != "" {
		origin = dead
	}
	e, err := s.Envelope()
	head := seen{Topic: s.Topic, Place: s.Place, At: clock(s.At.UnixMilli()), Writer: e.Scope, Number: e.Number}
	var events []part
	if err == nil {
		events, err = decode(origin, s)
	}
	switch {
	case err != nil && f.Idle:
		head.Kind = "not to be decoded: " + err.Error()
		return f.print(head)
	case err == nil && e.Count == 0 && f.Idle:
		head.Kind = "repeat"
		return f.print(head)
	}
	for _, one := range events {
		if !f.wanted(one) {
			continue
		}
		line := head
		line.Kind, line.Room, line.User, line.Event = one.kind, one.room, one.user, one.json(f.Bodies)
		if err := f.print(line); err != nil {
			return err
		}
	}
	return nil
}

func (f *follower) print(line seen) error {
	text := fmt.Sprintf("%s %s %s#%d %s", line.At, line.Topic, line.Writer, line.Number, line.Kind)
	for _, more := range []string{line.Room, line.User, string(line.Event)} {
		if more != "" {
			text += " " + more
		}
	}
	if err := f.out.line(line, text); err != nil {
		return err
	}
	if f.shown++; f.Count > 0 && f.shown >= f.Count {
		return errEnough
	}
	return nil
}

func (c *tail) wanted(p part) bool {
	return (c.Room == "" || c.Room == p.room) && (c.User == "" || c.User == p.user) &&
		(len(c.Kind) == 0 || slices.Contains(c.Kind, p.kind))
}
