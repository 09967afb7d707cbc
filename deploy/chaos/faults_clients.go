package chaos

import (
	"context"
	"errors"
	"fmt"
	"time"
)

func halfOpen(ctx context.Context, w *world) (string, after, error) {
	gone := w.some(10)
	var end []func()
	for _, u := range gone {
		end = append(end, u.vanish())
	}
	err := sleep(ctx, w.last(8*time.Second, 8*time.Second, 40*time.Second))
	for _, f := range end {
		f()
	}
	return fmt.Sprintf("%d clients", len(gone)), nil, err
}

func slowReaders(ctx context.Context, w *world) (string, after, error) {
	slow := w.some(5)
	var end []func()
	for _, u := range slow {
		end = append(end, u.stall())
	}
	err := w.gluttons(ctx)
	err = errors.Join(err, sleep(ctx, w.last(4*time.Second, 4*time.Second, 30*time.Second)))
	for _, f := range end {
		f()
	}
	return fmt.Sprintf("%d clients", len(slow)), nil, err
}

// some is that many of a hundred users, two at least.
func (w *world) some(percent int) []*user {
	all := w.load.all()
	w.rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all[:min(max(2, len(all)*percent/100), len(all))]
}

// allDropped is the storm of clients that come back after all lines broke at once.
func allDropped(ctx context.Context, w *world) (string, after, error) {
	n := 300
	if w.cfg.Full {
		n = 1000 // ten times as many are a test of their own: see Storm
	}
	leave, err := w.load.Crowd(ctx, n, w.load.rooms...)
	defer leave()
	if err != nil {
		return "", nil, err
	}
	watch := w.allow(stormTime)
	n = w.load.DropAll()
	watch.took("I10", fmt.Sprintf("%d clients whose lines broke at once are back in their rooms", n), w.load.Back(ctx, watch.bound+time.Second))
	return fmt.Sprintf("%d clients", n), nil, nil
}

func hotRoom(ctx context.Context, w *world) (string, after, error) {
	n := 300
	if w.cfg.Full {
		n = 3000
	}
	leave, err := w.load.Crowd(ctx, n, w.load.rooms[0])
	defer leave()
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("%s with %d more members", w.load.rooms[0], n), nil, sleep(ctx, 5*time.Second)
}

func repeated(ctx context.Context, w *world) (string, after, error) {
	w.load.repeats.Store(true)
	defer w.load.repeats.Store(false)
	return "every sender with two sessions", nil, sleep(ctx, w.last(6*time.Second, 4*time.Second, 20*time.Second))
}
