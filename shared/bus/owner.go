package bus

import (
	"context"
	"fmt"
	"hash/fnv"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// owner keeps this process's share of one topic's partitions. One goroutine, in
// run, decides and calls the broker; each partition owned has one more.
type owner struct {
	bus *Bus
	registration
	log        *slog.Logger
	partitions int
	first      int // where the search for a free partition starts, different in each process

	owned     map[int]*holding
	ended     chan *holding
	used      map[int]uint64 // the generation last used, by partition
	unsure    map[int]int    // asked for, without an answer: so many more answers make it sure
	roster    *roster
	renewed   time.Duration
	missing   int           // what was to be taken in the last round, and was not free
	hurried   time.Duration // until then others are about to release what this one is to take
	stopping  bool
	unchecked bool // P is to be settled again, since a lease was taken
}

func newOwner(b *Bus, r registration) *owner {
	o := &owner{
		bus: b, registration: r, partitions: 1,
		log:   b.log.With("topic", r.topic, "group", r.group),
		owned: map[int]*holding{}, ended: make(chan *holding), used: map[int]uint64{}, unsure: map[int]int{},
	}
	if r.keyed {
		o.partitions = b.cfg.Partitions
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(b.cfg.Name))
	o.first = int(h.Sum32() % uint32(o.partitions))
	o.roster = newRoster(b, r.set())
	o.renewed = -b.cfg.LeaseTTL
	return o
}

// run returns when ctx has ended and every partition is given up, with an error
// if the broker was set up with another P.
func (o *owner) run(ctx context.Context) error {
	fatal := o.round(ctx)
	next := time.NewTimer(o.pause())
	defer next.Stop()
	done, heard := ctx.Done(), o.bus.alarm.heard()
	for {
		if fatal != nil || !o.stopping && ctx.Err() != nil {
			o.leave(ctx)
			done = nil
		}
		if o.stopping && len(o.owned) == 0 {
			return fatal
		}
		select {
		case <-done:
		case h := <-o.ended:
			o.release(ctx, h)
		case <-heard:
			heard = o.bus.alarm.heard()
			o.renewed = -o.bus.cfg.LeaseTTL
			next.Reset(0)
		case <-next.C:
			if err := o.round(ctx); fatal == nil {
				fatal = err
			}
			next.Reset(o.pause())
		}
	}
}

// pause is how long until the next round: a short while when others have been asked to
// release something.
func (o *owner) pause() time.Duration {
	ttl := o.bus.cfg.LeaseTTL
	if o.bus.clock() < o.hurried {
		return min(100*time.Millisecond, ttl/60)
	}
	return min(time.Second, ttl/6)
}

// leave tells the others first, so that they take what is released at once.
func (o *owner) leave(ctx context.Context) {
	if o.stopping {
		return
	}
	o.stopping = true
	for _, h := range o.owned {
		h.giveUp()
	}
	o.roster.leave(ctx)
}

// round renews, looks who else is there, and takes or gives up.
func (o *owner) round(ctx context.Context) error {
	third := o.bus.cfg.LeaseTTL / 3
	if now := o.bus.clock(); now-o.renewed >= third || len(o.unsure) > 0 {
		o.renewed = now
		o.renew(ctx)
	}
	if o.stopping || ctx.Err() != nil {
		return nil
	}
	members, changed, err := o.roster.count(ctx)
	if err != nil {
		o.log.Debug("look for the group's members", "err", err)
		return nil
	}
	take, give := plan(o.partitions, members, o.count())
	o.giveSome(give)
	o.hurry(changed, take-o.take(ctx, take))
	o.giveBack(ctx)
	return o.check(ctx)
}

// count is how many are owned, neither lost nor being given up.
func (o *owner) count() int {
	n := 0
	for _, h := range o.owned {
		if h.kept() {
			n++
		}
	}
	return n
}

func (o *owner) giveSome(n int) {
	for _, h := range o.owned {
		if n == 0 {
			return
		}
		if h.kept() {
			o.log.Info("partition given up for another replica", "partition", h.partition.Number)
			h.giveUp()
			n--
		}
	}
}

// hurry has the next rounds follow each other closely for a while when somebody has come or
// gone, or partitions were lost, and not all that is this one's to take was free: who has it
// gives it up with its own next round. Where partitions cannot be shared evenly nobody ever does.
func (o *owner) hurry(changed bool, missing int) {
	switch {
	case missing == 0:
		o.hurried = 0
	case changed || missing > o.missing:
		o.hurried = o.bus.clock() + o.bus.cfg.LeaseTTL/2
	}
	o.missing = missing
}

// atOnce is how many leases are asked for together.
const atOnce = 16

// take tries what is not owned, as many at once as are wanted, and tells how many it got.
func (o *owner) take(ctx context.Context, wanted int) (got int) {
	var free []int
	for i := range o.partitions {
		if p := (o.first + i) % o.partitions; o.owned[p] == nil {
			free = append(free, p)
		}
	}
	for got < wanted && len(free) > 0 && ctx.Err() == nil {
		try := free[:min(wanted-got, len(free), atOnce)]
		free = free[len(try):]
		asked := o.bus.clock()
		leases, err := o.lease(ctx, try)
		if err != nil {
			o.log.Debug("take a lease", "err", err)
		}
		for i, l := range leases {
			if l.Held && o.begin(ctx, try[i], l.Generation, asked) {
				got++
			}
		}
		if err != nil {
			return got // the broker is away: not all of them in vain
		}
	}
	return got
}

// answers are how many it takes after one did not come: what was asked in vain may be done
// late, and even after what was asked next.
const answers = 2

// lease takes or renews several at once. An answer that did not come is not held.
func (o *owner) lease(ctx context.Context, partitions []int) ([]Lease, error) {
	leases := make([]Lease, len(partitions))
	errs := make([]error, len(partitions))
	var asking sync.WaitGroup
	for i, p := range partitions {
		asking.Go(func() {
			errs[i] = o.bus.call(ctx, func(ctx context.Context) (err error) {
				leases[i], err = o.bus.backend.Lease(ctx, o.leaseName(p), o.bus.cfg.Name, o.bus.cfg.LeaseTTL)
				return err
			})
		})
	}
	asking.Wait()
	var failed error
	for i, err := range errs {
		if err == nil {
			if p := partitions[i]; o.unsure[p] > 1 {
				o.unsure[p]--
			} else {
				delete(o.unsure, p)
			}
			continue
		}
		leases[i] = Lease{}
		o.unsure[partitions[i]] = answers
		if failed == nil {
			failed = fmt.Errorf("lease of partition %d: %w", partitions[i], err)
		}
	}
	return leases, failed
}

// giveBack gives up leases that this one may have without knowing it, because they were
// granted after it had stopped waiting for the answer: nobody would serve them until they
// end by themselves. Asking again tells, and under which generation.
func (o *owner) giveBack(ctx context.Context) {
	var all []int
	for p := range o.unsure {
		if o.owned[p] == nil {
			all = append(all, p)
		}
	}
	for some := range slices.Chunk(all, atOnce) {
		leases, err := o.lease(ctx, some)
		for i, l := range leases {
			if l.Held {
				o.releaseLease(ctx, some[i], l.Generation)
			}
		}
		if err != nil || ctx.Err() != nil {
			return
		}
	}
}

func (o *owner) leaseName(p int) string {
	if o.keyed {
		return partitionTopic(o.set(), p)
	}
	return o.set()
}

// renew renews what is owned, also what is being given up.
func (o *owner) renew(ctx context.Context) {
	partitions := make([]int, 0, len(o.owned))
	for p := range o.owned {
		partitions = append(partitions, p)
	}
	for len(partitions) > 0 {
		some := partitions[:min(atOnce, len(partitions))]
		partitions = partitions[len(some):]
		asked := o.bus.clock()
		leases, err := o.lease(ctx, some)
		if err != nil {
			o.log.Warn("renew leases", "err", err)
		}
		for i, l := range leases {
			h := o.owned[some[i]]
			switch {
			case l.Held && l.Generation == h.partition.Generation:
				h.renewed(asked)
			case l.Held: // it had lapsed, and was taken anew just now: for nobody
				h.lost(errLeaseLost)
				o.releaseLease(ctx, some[i], l.Generation)
			case err == nil: // another's
				h.lost(errLeaseLost)
			}
		}
	}
}

// begin starts to own a partition. A generation is used once: a lease that outlived
// its holding here is released and taken anew.
func (o *owner) begin(ctx context.Context, number int, generation uint64, asked time.Duration) bool {
	h, owning := o.bus.hold(ctx, Partition{Number: number, Generation: generation}, asked)
	if generation <= o.used[number] || !h.valid() {
		h.end()
		o.releaseLease(ctx, number, generation)
		return false
	}
	o.used[number] = generation
	o.owned[number] = h
	o.bus.noteHeld(o.heldAs(h), true)
	o.unchecked = true
	o.bus.metrics.leases.WithLabelValues(o.topic, o.group, "taken").Inc()
	o.bus.metrics.owned.WithLabelValues(o.topic, o.group).Inc()
	o.log.Info("partition taken", "partition", number, "generation", generation)
	go func() {
		o.serve(owning, h)
		o.ended <- h
	}()
	return true
}

// check settles P again after a lease was taken: a broker that came back empty has
// forgotten it.
func (o *owner) check(ctx context.Context) error {
	if !o.unchecked {
		return nil
	}
	differs, err := o.bus.settle(ctx)
	if differs {
		return err
	}
	o.unchecked = err != nil
	return nil
}

// release ends a holding whose goroutine has ended.
func (o *owner) release(ctx context.Context, h *holding) {
	how := "released"
	if !h.stopping() || !h.valid() {
		how = "lost"
	}
	h.end()
	o.releaseLease(ctx, h.partition.Number, h.partition.Generation)
	delete(o.owned, h.partition.Number)
	o.bus.noteHeld(o.heldAs(h), false)
	o.bus.metrics.leases.WithLabelValues(o.topic, o.group, how).Inc()
	o.bus.metrics.owned.WithLabelValues(o.topic, o.group).Dec()
	o.log.Info("partition "+how, "partition", h.partition.Number, "generation", h.partition.Generation)
}

func (o *owner) releaseLease(ctx context.Context, number int, generation uint64) {
	err := o.bus.call(ctx, func(ctx context.Context) error {
		return o.bus.backend.Release(ctx, o.leaseName(number), o.bus.cfg.Name, generation)
	})
	if err != nil {
		o.log.Warn("release a lease; it goes by itself", "partition", number, "err", err)
	}
}

// serve reads the partition until it is lost or given up.
func (o *owner) serve(ctx context.Context, h *holding) {
	c, err := o.opened(ctx, h)
	if err != nil {
		return
	}
	defer c.close()
	topic := o.topic
	if o.keyed {
		topic = partitionTopic(o.topic, h.partition.Number)
	}
	s := newSubscription(o.bus, topic, o.group, o.groups, c)
	s.valid = h.valid
	s.run(ctx, h.stop)
}

func (o *owner) opened(ctx context.Context, h *holding) (consumer, error) {
	wait := newBackoff(50*time.Millisecond, 2*time.Second)
	for {
		c, err := o.open(ctx, h.partition)
		if err == nil {
			return c, nil
		}
		if ctx.Err() != nil || h.stopping() {
			return nil, err
		}
		o.log.Warn("open the partition", "partition", h.partition.Number, "err", err)
		wait.sleep(ctx, h.stop)
	}
}
