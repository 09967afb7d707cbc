package parley

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/parley-chat/parley/shared/bus"
	"github.com/parley-chat/parley/shared/redisclient"
)

// doctor looks at everything that has to be right, and says what to change.
type doctor struct {
	HighWater int64 `default:"67108864" help:"Unread bytes above which a topic's writers are refused."`
}

// The levels of a finding.
const (
	ok   = "ok"
	warn = "warn" // it works, and could be better or is about to fail
	fail = "fail" // something is wrong now, or will lose messages
)

// check is what doctor found about one thing.
type check struct {
	Level  string `json:"level"`
	About  string `json:"about"`
	Found  string `json:"found"`
	Change string `json:"change,omitempty"` // what to do, unless it is ok
}

// report is all of them, in the order they were made.
type report []check

func (r *report) add(level, about, found, change string) {
	if level == ok {
		change = ""
	}
	*r = append(*r, check{level, about, found, change})
}

func (r report) failed() bool {
	for _, c := range r {
		if c.Level == fail {
			return true
		}
	}
	return false
}

// Run is kong's.
func (c *doctor) Run(ctx context.Context, t *Target, out *output) error {
	var r report
	c.servers(ctx, t, &r)
	if err := c.bus(ctx, t, out, &r); err != nil {
		return err
	}
	err := out.document(r, func(w io.Writer) {
		for _, one := range r {
			fmt.Fprintf(w, "%-4s  %s: %s\n", one.Level, one.About, one.Found)
			if one.Change != "" {
				fmt.Fprintf(w, "      → %s\n", one.Change)
			}
		}
	})
	if err == nil && r.failed() {
		return errFound
	}
	return err
}

// servers looks at each Redis that is used, once.
func (c *doctor) servers(ctx context.Context, t *Target, r *report) {
	seen := map[string]bool{}
	for _, one := range []struct{ about, url string }{{"store", t.storeURL()}, {"bus", t.Bus}} {
		if !redisclient.Is(one.url) || seen[one.url] {
			continue
		}
		seen[one.url] = true
		if err := examine(ctx, t, one.url, r); err != nil {
			r.add(fail, "Redis of the "+one.about, err.Error(), "see that it runs and that the address, user and password are right")
		}
	}
}

// bus looks at leases, edges and lag.
func (c *doctor) bus(ctx context.Context, t *Target, out *output, r *report) error {
	began := time.Now()
	l, err := t.connect(ctx)
	var usage *usageError
	if errors.As(err, &usage) {
		return err
	}
	if err != nil {
		r.add(fail, "bus", err.Error(), "see that it runs and that the address, user and password are right")
		return nil
	}
	defer l.Close()
	r.add(ok, "bus", fmt.Sprintf("answers (%s, connecting included)", time.Since(began).Round(time.Millisecond)), "")
	if l.partitions == 0 {
		r.add(warn, "partitions", "no service has ever started here", "start chat, notifier and ingress with this bus and prefix")
		return nil
	}
	f, err := l.settledLayout(ctx, t, out)
	if err != nil {
		r.add(fail, "bus", err.Error(), "the broker stopped answering while it was looked at; try again")
		return nil
	}
	c.leases(f, r)
	c.lag(f, r)
	return nil
}

// settledLayout is layout, looked at again while a partition is nobody's: replicas that
// share anew, after one came or went, leave each that moves free for a moment.
func (l *link) settledLayout(ctx context.Context, t *Target, out *output) (layout, error) {
	const within, every = 3 * time.Second, 200 * time.Millisecond
	settled := time.NewTimer(within)
	defer settled.Stop()
	for {
		f, err := l.layout(ctx, t, out)
		if err != nil || !f.free() {
			return f, err
		}
		select {
		case <-time.After(every):
		case <-settled.C:
			return f, nil
		case <-ctx.Done():
			return f, ctx.Err()
		}
	}
}

// free tells whether nobody owns some partition of a group that has members.
func (f layout) free() bool {
	return slices.ContainsFunc(f.Partitions, func(p partition) bool {
		return p.Chat.Process == "" && len(f.Chats) > 0 || p.Notifier.Process == "" && len(f.Notifiers) > 0
	})
}

func (c *doctor) leases(f layout, r *report) {
	for _, group := range []struct {
		name    string
		members []string
		owner   func(partition) owner
	}{
		{"chat", f.Chats, func(p partition) owner { return p.Chat }},
		{"notifier", f.Notifiers, func(p partition) owner { return p.Notifier }},
	} {
		var free []string
		for _, p := range f.Partitions {
			if group.owner(p).Process == "" {
				free = append(free, fmt.Sprint(p.Number))
			}
		}
		about := "leases of " + group.name
		switch n := len(group.members); {
		case n == 0:
			r.add(fail, about, "no "+group.name+" runs", "start one")
		case len(free) > 0:
			r.add(fail, about, "nobody owns partition "+strings.Join(free, ", "), "wait 10 s after a crash; if it stays, look at the logs of the "+group.name+"s for \"partition\"")
		case n == 1:
			r.add(warn, about, "one process owns all", "run a second "+group.name+": when the only one ends, everything waits")
		default:
			r.add(ok, about, fmt.Sprintf("%d processes own %d partitions", n, len(f.Partitions)), "")
		}
	}
	switch n := len(f.Nodes); n {
	case 0:
		r.add(fail, "edges", "none is there", "start an ingress")
	case 1:
		r.add(warn, "edges", "there is one", "run a second ingress behind the balancer: when the only one ends, nobody is connected")
	default:
		r.add(ok, "edges", fmt.Sprintf("there are %d", n), "")
	}
}

func (c *doctor) lag(f layout, r *report) {
	var most int64
	where, change := "", ""
	look := func(bytes int64, name, advice string) {
		if bytes > most {
			most, where, change = bytes, name, advice
		}
	}
	for _, p := range f.Partitions {
		look(p.Chat.Bytes, bus.PartitionTopic("commands", p.Number), "more chats, or a faster disk for the store")
		look(p.Notifier.Bytes, bus.PartitionTopic("events", p.Number), "more notifiers")
	}
	for _, n := range f.Nodes {
		look(n.Bytes, "deliveries-"+n.Name, "more edges, or see what holds this one up")
	}
	found := "nothing is unread"
	if most > 0 {
		found = fmt.Sprintf("most is unread on %s: %s of %s", where, size(most), size(c.HighWater))
	}
	switch {
	case most > c.HighWater:
		r.add(fail, "lag", found+"; its writers are refused", change)
	case most > c.HighWater/4:
		r.add(warn, "lag", found, change)
	default:
		r.add(ok, "lag", found, "")
	}
	if f.Letters > 0 {
		r.add(warn, "dead letters", fmt.Sprintf("there are %d", f.Letters), "parley dead-letters list shows why; then replay or drop them")
	} else {
		r.add(ok, "dead letters", "there are none", "")
	}
}
