package natsbus

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/parley-chat/parley/shared/bus"
)

// lease is the value of a lease's key. It stays when it is released, because its
// generation counts on.
type lease struct {
	generation uint64
	ttl        time.Duration
	holder     string // empty: released
}

func (l lease) String() string {
	return fmt.Sprint(l.generation, " ", l.ttl.Milliseconds(), " ", l.holder)
}

// parseLease reads a value; one that is none is a free lease of generation 0.
func parseLease(value string) lease {
	fields := strings.SplitN(value, " ", 3)
	if len(fields) != 3 {
		return lease{}
	}
	generation, err1 := strconv.ParseUint(fields[0], 10, 64)
	ms, err2 := strconv.ParseUint(fields[1], 10, 40)
	if err1 != nil || err2 != nil {
		return lease{}
	}
	return lease{generation, time.Duration(ms) * time.Millisecond, fields[2]}
}

// Lease implements [bus.Backend]. The generation is also higher than any that this
// process has seen of the lease.
func (b *Backend) Lease(ctx context.Context, name, holder string, ttl time.Duration) (l bus.Lease, err error) {
	if ttl < time.Millisecond || holder == "" {
		return bus.Lease{}, fmt.Errorf("lease %s for %q, %v: want a holder and 1 ms at least", name, holder, ttl)
	}
	err = b.state.do(ctx, func(ctx context.Context, o *opened) error {
		// Another may write between our reading and writing; also an earlier call of ours
		// whose reply did not come in time.
		for range 5 {
			var done bool
			if l, done, err = b.tryLease(ctx, o, name, holder, ttl); done || err != nil {
				return err
			}
		}
		return fmt.Errorf("%w: its key changes all the time", bus.ErrUnavailable)
	})
	if err != nil {
		return bus.Lease{}, unavailable("take lease "+name, err)
	}
	return l, nil
}

// tryLease is one round of looking and writing; not done: the key has changed between.
func (b *Backend) tryLease(ctx context.Context, o *opened, name, holder string, ttl time.Duration) (l bus.Lease, done bool, err error) {
	key := leaseKey(name)
	e, err := o.read(ctx, key)
	if err != nil {
		return l, false, err
	}
	now, err := b.clock.now(ctx, o)
	if err != nil {
		return l, false, err
	}
	current := parseLease(e.value)
	seen, _ := b.generations.LoadOrStore(name, uint64(0))
	next := lease{current.generation, ttl, holder}
	if current.holder == "" || now.Sub(e.created) >= current.ttl {
		// The clock that is ahead counts: it was at least that late when the lease was taken.
		unixMs := uint64(max(now.UnixMilli(), time.Now().UnixMilli()))
		next.generation = max(current.generation+1, seen.(uint64)+1, unixMs)
	} else if current.holder != holder {
		b.remember(name, current.generation)
		return bus.Lease{}, true, nil
	}
	if done, err = o.replace(ctx, key, next.String(), e.revision); !done {
		return l, false, err
	}
	b.remember(name, next.generation)
	return bus.Lease{Held: true, Generation: next.generation}, true, nil
}

func (b *Backend) remember(name string, generation uint64) {
	for {
		seen, _ := b.generations.LoadOrStore(name, uint64(0))
		if seen.(uint64) >= generation || b.generations.CompareAndSwap(name, seen, generation) {
			return
		}
	}
}

// Release implements [bus.Backend].
func (b *Backend) Release(ctx context.Context, name, holder string, generation uint64) error {
	return unavailable("release lease "+name, b.state.do(ctx, func(ctx context.Context, o *opened) error {
		e, err := o.read(ctx, leaseKey(name))
		current := parseLease(e.value)
		if err != nil || current.holder != holder || current.generation != generation {
			return err
		}
		current.holder = ""
		_, err = o.replace(ctx, leaseKey(name), current.String(), e.revision) // changed: it is another's
		return err
	}))
}

// Announce implements [bus.Backend].
func (b *Backend) Announce(ctx context.Context, set, member string, ttl time.Duration) (lapsed bool, err error) {
	err = b.state.do(ctx, func(ctx context.Context, o *opened) error {
		key := setKey(set) + "." + escape(member)
		e, err := o.read(ctx, key)
		if err != nil {
			return err
		}
		now, err := b.clock.now(ctx, o)
		if err != nil {
			return err
		}
		lapsed = !isLive(e, now)
		_, err = o.Put(ctx, key, strconv.AppendInt(nil, ttl.Milliseconds(), 10))
		return err
	})
	return lapsed, unavailable("announce "+member+" in "+set, err)
}

// isLive tells whether a member's key has not run out.
func isLive(e entry, now time.Time) bool {
	ms, err := strconv.ParseUint(e.value, 10, 40)
	return err == nil && e.revision > 0 && now.Sub(e.created) < time.Duration(ms)*time.Millisecond
}

// Withdraw implements [bus.Backend].
func (b *Backend) Withdraw(ctx context.Context, set, member string) error {
	return unavailable("withdraw "+member+" from "+set, b.state.do(ctx, func(ctx context.Context, o *opened) error {
		key := setKey(set) + "." + escape(member)
		e, err := o.read(ctx, key)
		if err != nil || e.revision == 0 {
			return err
		}
		return o.remove(ctx, key, e.revision)
	}))
}

// forgetAfter is how long the key of a member that ran out is kept.
const forgetAfter = time.Minute

// Members implements [bus.Backend]. It costs a call for each member, eight at a time.
func (b *Backend) Members(ctx context.Context, set string) ([]string, error) {
	var live []string
	err := b.state.do(ctx, func(ctx context.Context, o *opened) error {
		keys, err := o.keys(ctx, setKey(set))
		if err != nil || len(keys) == 0 {
			live = nil
			return err
		}
		slices.Sort(keys)
		now, err := b.clock.now(ctx, o)
		if err != nil {
			return err
		}
		found := make([]bool, len(keys))
		var looking errgroup.Group
		looking.SetLimit(8)
		for i, key := range keys {
			looking.Go(func() (err error) {
				found[i], err = o.look(ctx, setKey(set)+"."+key, now)
				return err
			})
		}
		err = looking.Wait()
		live = nil
		for i, key := range keys {
			if found[i] {
				live = append(live, unescape(key))
			}
		}
		return err
	})
	if err != nil {
		return nil, unavailable("list members of "+set, err)
	}
	slices.Sort(live)
	return live, nil
}

// look tells whether a member is live, and removes one that has long not been.
func (o *opened) look(ctx context.Context, key string, now time.Time) (bool, error) {
	e, err := o.read(ctx, key)
	if err != nil || isLive(e, now) {
		return err == nil, err
	}
	if e.revision > 0 && !isLive(e, now.Add(-forgetAfter)) {
		return false, o.remove(ctx, key, e.revision)
	}
	return false, nil
}

// Settle implements [bus.Backend].
func (b *Backend) Settle(ctx context.Context, name, value string) (inForce string, err error) {
	err = b.state.do(ctx, func(ctx context.Context, o *opened) error {
		key := settledKey(name)
		for {
			e, err := o.read(ctx, key)
			if err != nil || e.revision > 0 {
				inForce = e.value
				return err
			}
			if ok, err := o.replace(ctx, key, value, 0); ok || err != nil {
				inForce = value
				return err
			}
		}
	})
	return inForce, unavailable("settle "+name, err)
}

func leaseKey(name string) string { return "lease." + escape(name) }
func setKey(set string) string    { return "set." + escape(set) }

func settledKey(name string) string { return "settled." + escape(name) }
