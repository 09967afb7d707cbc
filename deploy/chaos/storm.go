package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/parley-chat/parley/deploy/cluster"
	"github.com/parley-chat/parley/deploy/loadgen"
)

// Storm is what came of all lines breaking at once: with a crowd so large that only
// cheap clients can be it, so they count and write no history.
type Storm struct {
	Commit, Command string
	Clients, Edges  int
	Connected       int           // who were back in their rooms
	Retried         int           // connections that were refused and tried again
	Back            time.Duration // until the last of them was
	Missed          int64         // deliveries of what was said while they were away
	Missing         int64         // of those, never made
	Repeated        int64
	Skipped         int64
}

const (
	stormFile  = "storm.json"
	stormRooms = 100
)

// Err tells what was not as promised; nil: nothing.
func (s *Storm) Err() error {
	var errs []error
	if s.Connected < s.Clients {
		errs = append(errs, fmt.Errorf("%d of %d clients came back", s.Connected, s.Clients))
	}
	if s.Back > stormTime {
		errs = append(errs, fmt.Errorf("the last client was back after %s, allowed are %s", s.Back, stormTime))
	}
	if s.Missing+s.Repeated+s.Skipped > 0 {
		errs = append(errs, fmt.Errorf("of %d entries that were missed %d were not delivered; %d came twice, %d were passed over", s.Missed, s.Missing, s.Repeated, s.Skipped))
	}
	return errors.Join(errs...)
}

// Save writes it where ReadCampaign finds it.
func (s *Storm) Save(dir string) error { return writeJSON(dir, stormFile, s) }

// RunStorm has so many clients on two edges lose their lines at once, has something
// said in every room meanwhile, and measures until everybody has resumed and has
// what was missed.
func RunStorm(ctx context.Context, cfg Config, clients int) (s *Storm, err error) {
	cfg = cfg.withDefaults()
	scenario, err := loadgen.Preset("D", false)
	if err != nil {
		return nil, err
	}
	scenario.Rooms = stormRooms
	scenario.Members = max(clients/stormRooms, 1)
	dir := filepath.Join(cfg.Dir, "storm")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	c, err := cluster.New(cluster.Config{
		Bin: cfg.Bin, Dir: dir, NATS: cfg.NATS, Ingress: 2, Chat: 2, Notifiers: 2, Env: slices.Clone(settings),
	})
	if err != nil {
		return nil, err
	}
	defer func() {
		stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		err = errors.Join(err, c.Stop(stopping))
	}()
	starting, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := c.Start(starting); err != nil {
		return nil, err
	}
	target := loadgen.Target{Processes: func() map[string]int { return nil }}
	for _, e := range c.Edges {
		target.URLs = append(target.URLs, e.URL)
	}
	ctx, cancelLoad := context.WithTimeout(ctx, 10*time.Minute)
	defer cancelLoad()
	r, err := loadgen.Run(ctx, loadgen.Options{Target: target, Scenario: scenario})
	if err != nil {
		return nil, fmt.Errorf("storm of %d clients: %w", scenario.Rooms*scenario.Members, err)
	}
	return &Storm{
		Commit: cfg.Commit, Command: cfg.Command, Clients: scenario.Rooms * scenario.Members, Edges: len(c.Edges),
		Connected: r.Resumption.Connections, Retried: int(r.Resumption.Retried), Back: time.Duration(r.Resumption.Seconds * float64(time.Second)),
		Missed: r.Expected, Missing: r.Missing, Repeated: r.Repeated, Skipped: r.Skipped,
	}, nil
}
