package parley

import (
	"context"
	"fmt"
	"io"
	"strconv"

	"github.com/parley-chat/parley/shared/bus"
)

// mostLetters are read at once.
const mostLetters = 1000

// deadLetters is for what could not be consumed, which waits for people.
type deadLetters struct {
	List   listLetters   `cmd:"" default:"1" help:"Show what could not be consumed, and why."`
	Replay replayLetters `cmd:"" help:"Publish letters once more to where they were read, and drop them."`
	Drop   dropLetters   `cmd:"" help:"Remove letters."`
}

type listLetters struct{}

// chosen are the letters that a command is for.
type chosen struct {
	IDs []string `arg:"" optional:"" name:"id" help:"Ids, as list shows them."`
	All bool     `help:"All of them."`
}

type (
	replayLetters struct {
		chosen `embed:""`
	}
	dropLetters struct {
		chosen `embed:""`
	}
)

// letter is one dead letter.
type letter struct {
	ID     string `json:"id"`
	At     string `json:"at"`
	Topic  string `json:"topic"`
	Group  string `json:"group"`
	Reason string `json:"reason"`
	Events int    `json:"events"` // 0: not a message of the bus
	Bytes  int    `json:"bytes"`
	stored bus.Stored
}

// Run is kong's.
func (c *listLetters) Run(ctx context.Context, t *Target, out *output) error {
	l, err := t.connect(ctx)
	if err != nil {
		return err
	}
	defer l.Close()
	letters, err := l.letters(ctx, t)
	if err != nil {
		return err
	}
	return out.document(letters, func(w io.Writer) {
		if len(letters) == 0 {
			fmt.Fprintln(w, "no dead letters")
			return
		}
		rows := [][]string{{"ID", "SINCE", "TOPIC", "GROUP", "EVENTS", "BYTES", "REASON"}}
		for _, one := range letters {
			rows = append(rows, []string{one.ID, one.At, one.Topic, one.Group, strconv.Itoa(one.Events), strconv.Itoa(one.Bytes), strconv.Quote(one.Reason)})
		}
		table(w, rows...)
	})
}

// letters reads all of them.
func (l *link) letters(ctx context.Context, t *Target) ([]letter, error) {
	letters := []letter{}
	for behind := ""; ; {
		some, err := ask(ctx, t, func(ctx context.Context) ([]bus.Stored, error) {
			return l.Scan(ctx, bus.DeadLetters, behind, mostLetters)
		})
		if err != nil || len(some) == 0 {
			return letters, err
		}
		for _, s := range some {
			behind = s.Place
			e, _ := s.Envelope() // what is not ours has no events
			letters = append(letters, letter{
				ID: s.Place, At: s.Metadata[bus.MetaDeadAt], Topic: s.Metadata[bus.MetaDeadTopic], Group: s.Metadata[bus.MetaDeadGroup],
				Reason: s.Metadata[bus.MetaDeadReason], Events: e.Count, Bytes: len(s.Payload), stored: s,
			})
		}
	}
}

// Run is kong's.
func (c *replayLetters) Run(ctx context.Context, t *Target, out *output) error {
	return c.each(ctx, t, out, "replayed", func(ctx context.Context, l *link, one letter) error {
		return bus.Replay(ctx, l.Backend, one.stored)
	})
}

// Run is kong's.
func (c *dropLetters) Run(ctx context.Context, t *Target, out *output) error {
	return c.each(ctx, t, out, "dropped", func(context.Context, *link, letter) error { return nil })
}

// fate is what became of one letter.
type fate struct {
	ID    string `json:"id"`
	Done  string `json:"done,omitempty"`
	Error string `json:"error,omitempty"`
}

// each does something with the letters chosen and removes those with which it
// succeeded.
func (c *chosen) each(ctx context.Context, t *Target, out *output, done string, do func(context.Context, *link, letter) error) error {
	if c.All == (len(c.IDs) > 0) {
		return misused("give ids, or --all")
	}
	l, err := t.connect(ctx)
	if err != nil {
		return err
	}
	defer l.Close()
	letters, err := l.letters(ctx, t)
	if err != nil {
		return err
	}
	fates := []fate{}
	if !c.All {
		if letters, fates = pick(letters, c.IDs); len(fates) > 0 {
			done = "left"
		}
	}
	bar := out.progress(len(letters), done)
	for _, one := range letters {
		f := fate{ID: one.ID, Done: done}
		if done != "left" {
			err = do(ctx, l, one)
			if err == nil {
				_, err = ask(ctx, t, func(ctx context.Context) (bool, error) { return l.Remove(ctx, bus.DeadLetters, one.ID) })
			}
		}
		if err != nil {
			f = fate{ID: one.ID, Error: err.Error()}
		}
		fates = append(fates, f)
		_ = bar.Add(1)
	}
	return c.tell(out, fates, done)
}

// pick chooses by id. An id that is not there has nothing done at all.
func pick(letters []letter, ids []string) (picked []letter, missing []fate) {
	byID := map[string]letter{}
	for _, one := range letters {
		byID[one.ID] = one
	}
	for _, id := range ids {
		if one, ok := byID[id]; ok {
			picked = append(picked, one)
		} else {
			missing = append(missing, fate{ID: id, Error: "no such dead letter"})
		}
	}
	return picked, missing
}

func (c *chosen) tell(out *output, fates []fate, done string) error {
	failed := 0
	for _, f := range fates {
		if f.Error != "" {
			failed++
		}
	}
	err := out.document(fates, func(w io.Writer) {
		for _, f := range fates {
			if f.Error != "" {
				fmt.Fprintf(w, "%s: %s\n", f.ID, f.Error)
			}
		}
		fmt.Fprintf(w, "%d %s, %d failed\n", len(fates)-failed, done, failed)
	})
	if err == nil && failed > 0 {
		return errFound
	}
	return err
}
