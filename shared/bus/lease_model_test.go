package bus

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"pgregory.net/rapid"
)

// leaseBroker is what every broker promises of leases and members, as simple as it can be.
type leaseBroker struct {
	mu         sync.Mutex
	leases     map[string]brokerLease
	members    map[string]time.Time // until when
	generation uint64
	frozen     chan struct{} // what is asked is done when it is closed; nil: at once
}

func newLeaseBroker() *leaseBroker {
	return &leaseBroker{leases: map[string]brokerLease{}, members: map[string]time.Time{}}
}

// freeze has what is asked wait, until the returned function is called.
func (b *leaseBroker) freeze() (thaw func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.frozen = make(chan struct{})
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		close(b.frozen)
		b.frozen = nil
	}
}

func (b *leaseBroker) await() {
	b.mu.Lock()
	frozen := b.frozen
	b.mu.Unlock()
	if frozen != nil {
		<-frozen
	}
}

// forget is what a broker does that comes back empty.
func (b *leaseBroker) forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	clear(b.leases)
	clear(b.members)
}

type brokerLease struct {
	holder     string
	generation uint64
	until      time.Time
}

func (b *leaseBroker) lease(name, holder string, ttl time.Duration) Lease {
	b.mu.Lock()
	defer b.mu.Unlock()
	l, taken := b.leases[name]
	switch {
	case !taken || !time.Now().Before(l.until):
		b.generation++
		l = brokerLease{holder: holder, generation: b.generation}
	case l.holder != holder:
		return Lease{}
	}
	l.until = time.Now().Add(ttl)
	b.leases[name] = l
	return Lease{Held: true, Generation: l.generation}
}

func (b *leaseBroker) release(name, holder string, generation uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if l := b.leases[name]; l.holder == holder && l.generation == generation {
		delete(b.leases, name)
	}
}

func (b *leaseBroker) announce(member string, until time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.members[member] = until
}

func (b *leaseBroker) list() (live []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for m, until := range b.members {
		if time.Now().Before(until) {
			live = append(live, m)
		}
	}
	return live
}

// wire is one process's way to the broker: what is asked arrives late, or what is
// answered does, and who asks may have given up by then.
type wire struct {
	Backend // whatever is not asked for here is not to be called
	broker  *leaseBroker

	mu    sync.Mutex
	there time.Duration
	back  time.Duration
}

// lost is so late that nobody waits for it.
const lost = time.Hour

func (w *wire) set(there, back time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.there, w.back = there, back
}

func across[R any](ctx context.Context, w *wire, do func() R) (R, error) {
	w.mu.Lock()
	there, back := w.there, w.back
	w.mu.Unlock()
	answer := make(chan R, 1)
	if there < lost {
		go func() {
			time.Sleep(there)
			w.broker.await()
			r := do()
			if back < lost {
				time.Sleep(back)
				answer <- r
			}
		}()
	}
	select {
	case r := <-answer:
		return r, nil
	case <-ctx.Done():
		var none R
		return none, fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
	}
}

func (w *wire) Lease(ctx context.Context, name, holder string, ttl time.Duration) (Lease, error) {
	return across(ctx, w, func() Lease { return w.broker.lease(name, holder, ttl) })
}

func (w *wire) Release(ctx context.Context, name, holder string, generation uint64) error {
	_, err := across(ctx, w, func() bool { w.broker.release(name, holder, generation); return true })
	return err
}

func (w *wire) Announce(ctx context.Context, _, member string, ttl time.Duration) (bool, error) {
	return across(ctx, w, func() bool { w.broker.announce(member, time.Now().Add(ttl)); return false })
}

func (w *wire) Withdraw(ctx context.Context, _, member string) error {
	_, err := across(ctx, w, func() bool { w.broker.announce(member, time.Time{}); return true })
	return err
}

func (w *wire) Members(ctx context.Context, _ string) ([]string, error) {
	return across(ctx, w, w.broker.list)
}

func (w *wire) Settle(_ context.Context, _, value string) (string, error)      { return value, nil }
func (w *wire) Depth(context.Context, string, string) (Depth, error)           { return Depth{}, nil }
func (w *wire) Subscriber(context.Context, string) (message.Subscriber, error) { return quiet{}, nil }

// quiet is a topic on which nothing is said.
type quiet struct{}

func (quiet) Subscribe(context.Context, string) (<-chan *message.Message, error) { return nil, nil }
func (quiet) Close() error                                                       { return nil }

// replica is one process with its share of the partitions.
type replica struct {
	name   string
	wire   *wire
	bus    *Bus
	leave  context.CancelFunc
	ended  chan struct{}
	opened map[int]context.Context // partitions that it reads; they end with the lease. Guarded by group.mu
}

// group is all replicas, and what is to be true of them.
type group struct {
	broker     *leaseBroker
	partitions int
	started    int
	closing    time.Duration // how long a partition takes to be closed

	mu       sync.Mutex
	replicas []*replica     // changed by the test alone
	newest   map[int]uint64 // generation, by partition
	opens    int
	wrong    string
}

func (g *group) fail(format string, args ...any) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.wrong == "" {
		g.wrong = fmt.Sprintf(format, args...)
	}
}

func (g *group) failed() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.wrong
}

func (g *group) join() error {
	g.started++
	r := &replica{name: fmt.Sprintf("r%d", g.started), wire: &wire{broker: g.broker}, ended: make(chan struct{}), opened: map[int]context.Context{}}
	var err error
	if r.bus, err = New(r.wire, Config{Partitions: g.partitions, Name: r.name}); err != nil {
		return err
	}
	owner := newOwner(r.bus, registration{topic: "t", groups: []string{"g"}, group: "g", keyed: true,
		open: func(ctx context.Context, p Partition) (consumer, error) {
			g.mu.Lock()
			defer g.mu.Unlock()
			if p.Generation <= g.newest[p.Number] {
				g.wrong = fmt.Sprintf("%s opens partition %d under generation %d, which is not above %d", r.name, p.Number, p.Generation, g.newest[p.Number])
			}
			for _, other := range g.replicas {
				if before := other.opened[p.Number]; before != nil && before.Err() == nil {
					g.wrong = fmt.Sprintf("%s opens partition %d, which %s reads under a lease that it believes in", r.name, p.Number, other.name)
				}
			}
			g.newest[p.Number] = p.Generation
			g.opens++
			r.opened[p.Number] = ctx
			return tenancy{g, r, p.Number}, nil
		}})
	ctx, cancel := context.WithCancel(context.Background())
	r.leave = cancel
	g.mu.Lock()
	g.replicas = append(g.replicas, r)
	g.mu.Unlock()
	go func() {
		defer close(r.ended)
		if err := owner.run(ctx); err != nil {
			g.fail("%s ended with %v", r.name, err)
		}
	}()
	return nil
}

// end has a replica leave, and waits.
func (g *group) end(i int) {
	r := g.replicas[i]
	r.leave()
	<-r.ended
	if err := r.bus.Close(); err != nil {
		g.fail("close: %v", err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.replicas = slices.Delete(g.replicas, i, i+1)
}

// tenancy is a partition that a replica has open.
type tenancy struct {
	g      *group
	r      *replica
	number int
}

func (tenancy) consume(context.Context, []piecework) error { return nil }
func (tenancy) missed(context.Context, string)             {}
func (c tenancy) close() {
	time.Sleep(c.g.closing)
	c.g.mu.Lock()
	defer c.g.mu.Unlock()
	delete(c.r.opened, c.number)
}

// readers are, by partition, those who have it open and hold its lease as far as they know.
func (g *group) readers() map[int][]string {
	synctest.Wait()
	g.mu.Lock()
	defer g.mu.Unlock()
	by := map[int][]string{}
	for _, r := range g.replicas {
		for number, ctx := range r.opened {
			if ctx.Err() == nil {
				by[number] = append(by[number], r.name)
			}
		}
	}
	return by
}

// shared tells why not all is shared fairly among the replicas; empty: it is.
func (g *group) shared(but *replica) string {
	total, counts := 0, map[string]int{}
	for _, names := range g.readers() {
		total++
		for _, n := range names {
			counts[n]++
		}
	}
	n := len(g.replicas)
	if but != nil {
		n--
	}
	if n == 0 {
		return ""
	}
	for name, count := range counts {
		if share := (g.partitions + n - 1) / n; count > share {
			return fmt.Sprintf("%s has %d of %d partitions, with %d replicas", name, count, g.partitions, n)
		}
	}
	if total != g.partitions {
		return fmt.Sprintf("%d of %d partitions are read", total, g.partitions)
	}
	return ""
}

// deed is one thing that happens to the replicas.
type deed struct {
	What        string
	Who         int
	There, Back time.Duration
	For         time.Duration
}

func (g *group) do(d deed) {
	if len(g.replicas) == 0 || d.What == "join" {
		if err := g.join(); err != nil {
			g.fail("join: %v", err)
			return
		}
	}
	who := d.Who % len(g.replicas)
	switch d.What {
	case "leave":
		g.end(who)
	case "trouble":
		g.replicas[who].wire.set(d.There, d.Back)
	}
	time.Sleep(d.For)
}

// rest ends all trouble, and wants everything shared. With three TTLs there is time for
// what is still on its way, for leases that nobody knows of to end, and to share.
func (g *group) rest() {
	for _, r := range g.replicas {
		r.wire.set(0, 0)
	}
	time.Sleep(3 * LeaseTTL)
	if why := g.shared(nil); why != "" {
		g.fail("at rest %s", why)
	}
	before := fmt.Sprint(g.readers())
	time.Sleep(LeaseTTL)
	if after := fmt.Sprint(g.readers()); after != before {
		g.fail("at rest partitions move: %s, then %s", before, after)
	}
}

// TestLeasesProperty: replicas come and go while what they say to the broker, or what
// they are answered, is late or lost. Nobody ever reads what another one reads under a
// lease that it believes in, each ownership has a higher generation, and at rest all is
// shared fairly. A replica that is cut off is replaced within 10 s, one that leaves within 3 s.
func TestLeasesProperty(t *testing.T) {
	lateness := []time.Duration{0, 10 * time.Millisecond, 700 * time.Millisecond, 1900 * time.Millisecond, 5 * time.Second, 13 * time.Second, lost}
	draw := rapid.Custom(func(t *rapid.T) deed {
		return deed{
			What: rapid.SampledFrom([]string{"join", "leave", "trouble", "trouble", "trouble"}).Draw(t, "what"),
			Who:  rapid.IntRange(0, 5).Draw(t, "who"), There: rapid.SampledFrom(lateness).Draw(t, "there"), Back: rapid.SampledFrom(lateness).Draw(t, "back"),
			For: time.Duration(rapid.IntRange(0, 80).Draw(t, "for")) * 100 * time.Millisecond,
		}
	})
	rapid.Check(t, func(rt *rapid.T) {
		partitions := rapid.IntRange(1, 9).Draw(rt, "partitions")
		first := rapid.IntRange(1, 4).Draw(rt, "replicas")
		deeds := rapid.SliceOfN(draw, 0, 12).Draw(rt, "deeds")
		dies := rapid.IntRange(0, 5).Draw(rt, "dies")
		wrong := ""
		bubble(t, func(*testing.T) { wrong = live(partitions, first, deeds, dies) })
		if wrong != "" {
			rt.Fatal(wrong)
		}
	})
}

func live(partitions, first int, deeds []deed, dies int) string {
	g := &group{broker: newLeaseBroker(), partitions: partitions, newest: map[int]uint64{}}
	for range first {
		g.do(deed{What: "join"})
	}
	for _, d := range deeds {
		g.do(d)
	}
	g.do(deed{What: "join"}) // whatever happened, there are some
	g.do(deed{What: "join"})
	g.rest()

	dead := g.replicas[dies%len(g.replicas)]
	dead.wire.set(lost, lost)
	time.Sleep(10 * time.Second)
	if why := g.shared(dead); why != "" {
		g.fail("10 s after %s was cut off %s", dead.name, why)
	}
	g.rest()
	g.end(dies % len(g.replicas))
	time.Sleep(3 * time.Second)
	if why := g.shared(nil); why != "" {
		g.fail("3 s after one left %s", why)
	}
	for len(g.replicas) > 0 {
		g.end(0)
	}
	time.Sleep(time.Minute) // what is still on its way arrives
	return g.failed()
}

// TestLeasesAfterTrouble: when the broker is back, everything is soon read and shared again: leases that
// it granted when nobody waited for the answer any more, and partitions that are still being closed, are
// in nobody's way. A broker that forgets leases grants them twice: there generations have to do.
func TestLeasesAfterTrouble(t *testing.T) {
	for what, trouble := range map[string]func(*leaseBroker){
		"the broker stands still for longer than leases hold": func(b *leaseBroker) {
			thaw := b.freeze()
			time.Sleep(3 * LeaseTTL / 2)
			thaw()
		},
		"the broker forgets everything": (*leaseBroker).forget,
	} {
		t.Run(what, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				g := &group{broker: newLeaseBroker(), partitions: 8, newest: map[int]uint64{}, closing: LeaseTTL}
				g.do(deed{What: "join"})
				g.do(deed{What: "join"})
				g.rest()
				for range 5 {
					trouble(g.broker)
					time.Sleep(LeaseTTL * 3 / 4) // less than a lease that nobody knows of takes to end
					if why := g.shared(nil); why != "" {
						t.Error(why)
					}
					g.rest()
				}
				for len(g.replicas) > 0 {
					g.end(0)
				}
				time.Sleep(time.Minute)
				if why := g.failed(); why != "" && !strings.Contains(why, "believes in") {
					t.Error(why)
				}
			})
		})
	}
}

// TestPartitionsMoveAtOnce: whoever waits for partitions takes them as soon as they are released.
func TestPartitionsMoveAtOnce(t *testing.T) {
	for late := range 10 {
		bubble(t, func(t *testing.T) {
			g := &group{broker: newLeaseBroker(), partitions: 8, newest: map[int]uint64{}, closing: 300 * time.Millisecond}
			g.do(deed{What: "join"})
			g.rest()
			time.Sleep(time.Duration(late) * 100 * time.Millisecond)
			g.do(deed{What: "join"})
			time.Sleep(time.Second + g.closing + 150*time.Millisecond) // the other one looks once a second who is there
			if why := g.shared(nil); why != "" {
				t.Errorf("joined %d00 ms after a round: %s", late, why)
			}
			for len(g.replicas) > 0 {
				g.end(0)
			}
			if why := g.failed(); why != "" {
				t.Error(why)
			}
		})
	}
}

// TestForgottenMembersKeepTheirShare: when a broker has forgotten who is there, nobody takes
// what is others'; each partition is opened anew once, and at once when a subscription has ended.
func TestForgottenMembersKeepTheirShare(t *testing.T) {
	bubble(t, func(t *testing.T) {
		g := &group{broker: newLeaseBroker(), partitions: 9, newest: map[int]uint64{}}
		for range 3 {
			g.do(deed{What: "join"})
			time.Sleep(300 * time.Millisecond)
		}
		g.rest()
		for range 10 {
			g.mu.Lock()
			g.opens = 0
			g.mu.Unlock()
			g.broker.forget()
			for _, r := range g.replicas {
				time.Sleep(20 * time.Millisecond)
				r.bus.alarm.ring()
			}
			time.Sleep(250 * time.Millisecond)
			if why := g.shared(nil); why != "" {
				t.Error(why)
			}
			g.rest()
			g.mu.Lock()
			if g.opens > g.partitions {
				t.Errorf("%d partitions were opened %d times", g.partitions, g.opens)
			}
			g.mu.Unlock()
			time.Sleep(170 * time.Millisecond)
		}
		for len(g.replicas) > 0 {
			g.end(0)
		}
		if why := g.failed(); why != "" && !strings.Contains(why, "believes in") {
			t.Error(why)
		}
	})
}
