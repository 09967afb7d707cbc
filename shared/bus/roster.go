package bus

import (
	"context"
	"slices"
	"time"
)

// roster is the list of a group's members at the broker, and this process's place in it.
// It is used by one goroutine.
type roster struct {
	bus       *Bus
	set       string
	announced time.Duration
	counted   int           // members, with this one, when they were last counted; 0: not yet
	forgotten time.Duration // until then the broker may not know all members
}

func newRoster(b *Bus, set string) *roster {
	return &roster{bus: b, set: set, announced: -b.cfg.LeaseTTL}
}

// count counts all members, tells whether they are as many as before, and announces this one
// when that is due, or the broker has forgotten it. Then it will have forgotten the others, too:
// for as long as they need to say that they are there, there are as many as before, so that
// nobody takes what is theirs.
func (r *roster) count(ctx context.Context) (n int, changed bool, err error) {
	now, ttl, name := r.bus.clock(), r.bus.cfg.LeaseTTL, r.bus.cfg.Name
	var members []string
	err = r.bus.call(ctx, func(ctx context.Context) (err error) {
		members, err = r.bus.backend.Members(ctx, r.set)
		return err
	})
	if err != nil {
		return 0, false, err
	}
	n = len(members)
	here := slices.Contains(members, name)
	if !here || now-r.announced >= ttl/3 {
		err := r.bus.call(ctx, func(ctx context.Context) error {
			_, err := r.bus.backend.Announce(ctx, r.set, name, ttl)
			return err
		})
		if err != nil {
			return 0, false, err
		}
		r.announced = now
	}
	if !here {
		n++
		if r.counted > 0 {
			r.forgotten = now + ttl/2
		}
	}
	if now < r.forgotten {
		n = max(n, r.counted)
	}
	changed = n != r.counted
	r.counted = n
	return n, changed, nil
}

// leave takes this one off the list; should that fail it goes by itself.
func (r *roster) leave(ctx context.Context) {
	_ = r.bus.call(ctx, func(ctx context.Context) error { return r.bus.backend.Withdraw(ctx, r.set, r.bus.cfg.Name) })
}

// call bounds one call of the broker about leases and members. It is made even when ctx has
// ended: leases are released then.
func (b *Bus) call(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), min(callTimeout, b.cfg.LeaseTTL/3))
	defer cancel()
	return do(ctx)
}
