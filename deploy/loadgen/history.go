package loadgen

import (
	"context"
	"errors"

	"github.com/parley-chat/parley/deploy/loadgen/crowd"
)

// warming is how many messages make a room warm: in the memory of chat and edges.
const warming = 5

// runHistory fills the rooms, restarts the services so that nothing is in memory,
// has every second room's members come back and send a little, and then has them
// ask for pages of all rooms in turn.
func runHistory(ctx context.Context, o Options, p *progress) (r Report, err error) {
	cfg := o.Scenario.crowd(o.Target)
	if err := fill(ctx, o, cfg, p); err != nil {
		return r, err
	}
	if o.Target.Restart != nil {
		stop := p.show("restarting the services", nil)
		err := o.Target.Restart(ctx)
		stop()
		if err != nil {
			return r, err
		}
	}
	cfg.Every = 2
	s, err := open(ctx, o, cfg)
	if err != nil {
		return r, err
	}
	defer func() { err = closing(err, s) }()
	s.progress = p
	if err := s.Connect(ctx); err != nil {
		return r, err
	}
	if err := s.settle(ctx, "warming half of the rooms", int64((cfg.Rooms+1)/2*warming), 64); err != nil {
		return r, err
	}
	if err := s.pause(ctx, "settling", o.Scenario.Settle); err != nil {
		return r, err
	}
	r, err = s.Load(ctx, o.Scenario.load())
	if err == nil && o.Target.Restart == nil {
		r.Warnings = append(r.Warnings, "the services were not restarted after the rooms were filled: rooms counted as cold may be warm")
	}
	return r, err
}

func fill(ctx context.Context, o Options, cfg crowd.Config, p *progress) (err error) {
	s, err := open(ctx, o, cfg)
	if err != nil {
		return err
	}
	defer func() { err = closing(err, s) }()
	s.progress = p
	if !s.fleet.resumes() {
		return errors.New("this server has no history to ask for")
	}
	if err := s.Connect(ctx); err != nil {
		return err
	}
	return s.settle(ctx, "filling the rooms", int64(cfg.Rooms)*crowd.PageEntries, 256)
}
