package chaos

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// goneTime is until nothing is left of clients that are gone.
const goneTime = 30 * time.Second

// saidAfter is when whoever watches a run is told what it waits for.
const saidAfter = 10 * time.Second

// lookForRemains waits until nothing is left of the load, and tells what is.
func (w *world) lookForRemains(ctx context.Context, poisoned bool) {
	looks := []struct {
		code string
		look func(context.Context) (string, error)
	}{
		{"I11", w.goroutinesLeft}, {"I11", w.pendingLeft}, {"I11", w.keysLeft}, {"I11", w.topicsLeft},
		{"I12", func(ctx context.Context) (string, error) { return w.deadLetters(ctx, poisoned) }},
	}
	for _, l := range looks {
		w.rec.Write(Line{Kind: Looked, Code: l.code, Text: w.untilNothing(ctx, l.look)})
	}
}

// untilNothing looks until nothing is found, or it takes too long.
func (w *world) untilNothing(ctx context.Context, look func(context.Context) (string, error)) string {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(w.cfg.Patience)*goneTime)
	defer cancel()
	last, began, said := "", time.Now(), false
	for {
		if last != "" && !said && time.Since(began) > saidAfter {
			said = true
			w.cfg.Logf("still there: %s", last)
		}
		found, err := look(ctx)
		switch {
		case err == nil && found == "":
			return ""
		case err == nil:
			last = found
		case last == "":
			last = err.Error()
		}
		if sleep(ctx, 250*time.Millisecond) != nil {
			return last
		}
	}
}

// goroutinesLeft allows for what comes and goes in an idle service.
func (w *world) goroutinesLeft(ctx context.Context) (string, error) {
	for _, p := range w.Services() {
		n, err := goroutines(ctx, p)
		if err != nil {
			return "", err
		}
		if was := w.before[p.Kind]; n > was+was/2+50 {
			return fmt.Sprintf("%s has %d goroutines, before the load it had %d", p.Name, n, was), nil
		}
	}
	return "", nil
}

// scan goes through all keys with the prefix.
func (w *world) scan(ctx context.Context, do func(key string) (string, error)) (string, error) {
	keys := w.redis.Scan(ctx, 0, "parley:*", 500).Iterator()
	for keys.Next(ctx) {
		if found, err := do(keys.Val()); err != nil || found != "" {
			return found, err
		}
	}
	return "", keys.Err()
}

// mostPending is what an idle reader may have: heartbeats that are under way.
const mostPending = 20

func (w *world) pendingLeft(ctx context.Context) (string, error) {
	return w.scan(ctx, func(key string) (string, error) {
		if !strings.Contains(key, ":commands-") && !strings.Contains(key, ":events-") && !strings.Contains(key, ":deliveries-") {
			return "", nil
		}
		groups, err := w.redis.XInfoGroups(ctx, key).Result()
		if err != nil { // gone meanwhile, or no stream
			return "", nil
		}
		for _, g := range groups {
			if g.Pending > mostPending {
				return fmt.Sprintf("%s of %s has %d pending entries", g.Name, key, g.Pending), nil
			}
		}
		return "", nil
	})
}

// lasting are the keys that stay on purpose; all others must expire.
var lasting = []string{":log:", ":w", ":epoch", ":age", ":commands-", ":events-", ":generation:", ":settled:", ":set:", ":partitions", ":dead-letters"}

func (w *world) keysLeft(ctx context.Context) (string, error) {
	topics := 0
	found, err := w.scan(ctx, func(key string) (string, error) {
		if strings.Contains(key, ":deliveries-") && !strings.Contains(key, ":strangers:") {
			topics++
		}
		for _, part := range lasting {
			if strings.Contains(key, part) {
				return "", nil
			}
		}
		ttl, err := w.redis.PTTL(ctx, key).Result()
		if err == nil && ttl == -1 {
			return key + " stays for ever", nil
		}
		return "", err
	})
	if found == "" && err == nil && topics > len(w.Edges) {
		found = fmt.Sprintf("%d topics of edges, and %d edges", topics, len(w.Edges))
	}
	return found, err
}

func (w *world) deadLetters(ctx context.Context, poisoned bool) (string, error) {
	if poisoned {
		return "", nil
	}
	if w.cfg.NATS {
		return w.lettersOnNATS(ctx)
	}
	return w.scan(ctx, func(key string) (string, error) {
		if !strings.Contains(key, ":dead-letters") {
			return "", nil
		}
		letters, err := w.redis.XRevRangeN(ctx, key, "+", "-", 1).Result()
		if err != nil && !errors.Is(err, redis.Nil) || len(letters) == 0 {
			return "", nil // another kind of key
		}
		return fmt.Sprintf("a dead letter: %.300v", letters[0].Values), nil
	})
}

// lookIntoLogs looks for panics and data races in what the services wrote.
func (w *world) lookIntoLogs() {
	for _, p := range w.Services() {
		text := ""
		if found, err := p.Faults(); err != nil {
			text = err.Error()
		} else if len(found) > 0 {
			text = p.Name + " wrote: " + found[0]
		}
		w.rec.Write(Line{Kind: Looked, Code: "I12", Text: text})
	}
}
