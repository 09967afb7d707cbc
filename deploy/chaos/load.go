package chaos

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// LoadConfig says who talks.
type LoadConfig struct {
	Edges    []string // http://host:port of each
	Clients  int
	Rooms    int // every client is in two of them
	Rate     int // messages a second over all
	Seed     uint64
	Patience int // above 1: for a machine that may be too slow; users have less unanswered and wait longer
	Recorder *Recorder
}

// waiting is how many sends without an answer a user has at most. What is not
// answered in time comes again, and on a machine that is too slow that alone could
// keep it from ever catching up.
func (c *LoadConfig) waiting() int {
	if c.Patience > 1 {
		return 1
	}
	return 2
}

// answerTime is when a user gives its line up: an edge answers within 10 s.
func (c *LoadConfig) answerTime() time.Duration {
	return time.Duration(min(max(c.Patience, 1), 3)) * 12 * time.Second
}

// Load is virtual users that talk in rooms and never give up: a send without an
// answer is sent again under its cid, a broken line is resumed on another edge with
// the cursors that the user has. Safe for concurrent use.
type Load struct {
	cfg   LoadConfig
	rooms []string
	began time.Time

	ctx   context.Context
	stop  context.CancelFunc
	work  sync.WaitGroup // users
	pacer sync.WaitGroup

	acked   atomic.Int64
	repeats atomic.Bool // users with a second session send everything three times
	lag     *lags

	mu      sync.Mutex
	users   []*user
	rand    *rand.Rand
	rate    int
	history []int64 // acked, every 100 ms
	pulse   *pulse
}

// pulse waits for rooms to deliver what was sent after a moment.
type pulse struct {
	from  int64 // µs since the load began
	left  map[string]bool
	took  map[string]time.Duration
	began time.Time
	done  chan struct{}
}

// StartLoad starts the users. They talk when a rate is set; see Ready.
func StartLoad(cfg LoadConfig) (*Load, error) {
	if cfg.Clients < 2 || cfg.Rooms < 2 || len(cfg.Edges) == 0 {
		return nil, fmt.Errorf("load: %d clients in %d rooms on %d edges: two clients, two rooms and an edge are needed", cfg.Clients, cfg.Rooms, len(cfg.Edges))
	}
	l := &Load{cfg: cfg, began: time.Now(), lag: &lags{}, rand: rand.New(rand.NewPCG(cfg.Seed, 1))}
	l.ctx, l.stop = context.WithCancel(context.Background())
	for i := range cfg.Rooms {
		l.rooms = append(l.rooms, fmt.Sprintf("room-%d", i))
	}
	for i := range cfg.Clients {
		name := fmt.Sprintf("u%d", i)
		rooms := []string{l.rooms[i%len(l.rooms)], l.rooms[(i/len(l.rooms)+i+1)%len(l.rooms)]}
		u := l.add(name, name, rooms)
		if i%10 == 0 { // a second session, on another edge
			u.twin = l.add(name, name+"'", rooms)
		}
	}
	l.pacer.Go(l.pace)
	return l, nil
}

func (l *Load) add(name, client string, rooms []string) *user {
	rooms = slices.Sorted(slices.Values(rooms)) // the other session has them, too
	l.mu.Lock()
	u := newUser(l, name, client, slices.Compact(rooms), len(l.users))
	l.users = append(l.users, u)
	l.mu.Unlock()
	l.work.Go(func() { u.run(l.ctx) })
	return u
}

// Crowd adds users that listen in one room each and say nothing, and waits until
// they are there. The returned function, which is never nil, has them leave.
func (l *Load) Crowd(ctx context.Context, n int, rooms ...string) (leave func(), err error) {
	arriving, cancel := context.WithTimeout(ctx, 3*time.Minute+time.Duration(n)*20*time.Millisecond)
	defer cancel()
	here, stop := context.WithCancel(l.ctx)
	var crowd []*user
	var work sync.WaitGroup
	for i := range n {
		name := fmt.Sprintf("crowd%d", i)
		u := newUser(l, name, name, []string{rooms[i%len(rooms)]}, i)
		u.silent.Store(true)
		crowd = append(crowd, u)
		work.Go(func() { u.run(here) })
	}
	l.mu.Lock()
	l.users = append(l.users[:len(l.users):len(l.users)], crowd...)
	l.mu.Unlock()
	return func() {
		l.mu.Lock()
		l.users = slices.DeleteFunc(slices.Clone(l.users), func(u *user) bool { return slices.Contains(crowd, u) })
		l.mu.Unlock()
		stop()
		work.Wait()
	}, wait(arriving, crowd, "users are not in the room", (*user).settled)
}

// all is a copy of the users there are.
func (l *Load) all() []*user {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.users)
}

// Ready waits until every user is in all of its rooms, and has them talk.
func (l *Load) Ready(ctx context.Context) error {
	err := wait(ctx, l.all(), "users are not in their rooms", (*user).settled)
	l.SetRate(l.cfg.Rate)
	l.lag.forget() // everybody came at once
	return err
}

// Quiet has nobody begin anything new, and waits until everything sent is answered
// and everybody is in all of their rooms.
func (l *Load) Quiet(ctx context.Context) error {
	l.SetRate(0)
	return wait(ctx, l.all(), "users wait for answers", func(u *user) bool { return u.settled() && u.waiting() == 0 })
}

func wait(ctx context.Context, users []*user, what string, holds func(*user) bool) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	not := func(u *user) bool { return !holds(u) }
	for {
		i := slices.IndexFunc(users, not)
		if i < 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			n := 1
			for _, u := range users[i+1:] {
				if not(u) {
					n++
				}
			}
			return fmt.Errorf("%d %s, %s for example", n, what, users[i].client)
		case <-tick.C:
		}
	}
}

// Back waits until everybody is in all of their rooms, and returns how long that took.
func (l *Load) Back(ctx context.Context, atMost time.Duration) time.Duration {
	ctx, cancel := context.WithTimeout(ctx, atMost)
	defer cancel()
	began := time.Now()
	if wait(ctx, l.all(), "users are not in their rooms", (*user).settled) != nil {
		return atMost
	}
	return time.Since(began)
}

// SetRate changes how many messages a second are sent.
func (l *Load) SetRate(rate int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rate = rate
}

// AckedLately is how many sends were acknowledged within the last second.
func (l *Load) AckedLately() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.history); n > 10 {
		return l.history[n-1] - l.history[n-11]
	}
	return 0
}

// Waiting is how many sends have no answer yet.
func (l *Load) Waiting() int {
	n := 0
	for _, u := range l.all() {
		n += u.waiting()
	}
	return n
}

// On is how many users are connected to the edge with this URL.
func (l *Load) On(edge string) int {
	n := 0
	for _, u := range l.all() {
		if u.edge() == edge {
			n++
		}
	}
	return n
}

// DropAll breaks every line at once and returns how many there were.
func (l *Load) DropAll() int {
	n := 0
	for _, u := range l.all() {
		if u.cut() {
			n++
		}
	}
	return n
}

// Close has everybody leave and waits.
func (l *Load) Close() {
	l.stop()
	l.work.Wait()
	l.pacer.Wait()
}

const paceEvery = 10 * time.Millisecond

// pace sends, repeats and wanders until the end, and measures how late it is
// itself: a machine that lets it wait makes every measured time worthless.
func (l *Load) pace() {
	tick := time.NewTicker(paceEvery)
	defer tick.Stop()
	last, owed := time.Now(), 0.0
	for i := 0; ; i++ {
		select {
		case <-l.ctx.Done():
			return
		case <-tick.C:
		}
		now := time.Now()
		passed := now.Sub(last)
		last = now
		l.lag.add(max(passed-paceEvery, 0))
		l.mu.Lock()
		owed = min(owed+float64(l.rate)*passed.Seconds(), 200)
		users := l.users
		if i%10 == 0 {
			l.history = append(l.history, l.acked.Load())
		}
		l.mu.Unlock()
		for tries := 0; owed >= 1 && tries < 4*len(users); tries++ {
			if users[l.rand.IntN(len(users))].talk(l.repeats.Load()) {
				owed--
			}
		}
		if i%10 == 5 {
			l.tick(users, now)
		}
	}
}

// tick has everybody repeat what is due, and a few come and go.
func (l *Load) tick(users []*user, now time.Time) {
	l.mu.Lock()
	busy := l.rate > 0
	l.mu.Unlock()
	for _, u := range users {
		u.tick(now)
	}
	if busy && l.rand.IntN(3) == 0 {
		u := users[l.rand.IntN(len(users))]
		switch l.rand.IntN(4) {
		case 0:
			u.cut()
		case 1:
			u.goodbye()
		default:
			u.wander()
		}
	}
}

// now is the load's clock, in µs.
func (l *Load) now() int64 { return time.Since(l.began).Microseconds() }

// beat is told of every delivery to somebody else than the sender.
func (l *Load) beat(room string, sentAt int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.pulse
	if p == nil || sentAt < p.from || !p.left[room] {
		return
	}
	delete(p.left, room)
	p.took[room] = time.Since(p.began)
	if len(p.left) == 0 {
		close(p.done)
		l.pulse = nil
	}
}

// Pulse measures, for every room, how long it takes from now until a message sent
// from now on is delivered. Rooms that do not within the time are given that time.
func (l *Load) Pulse(ctx context.Context, atMost time.Duration) map[string]time.Duration {
	p := &pulse{from: l.now(), began: time.Now(), left: map[string]bool{}, took: map[string]time.Duration{}, done: make(chan struct{})}
	for _, r := range l.rooms {
		p.left[r] = true
	}
	l.mu.Lock()
	l.pulse = p
	l.mu.Unlock()
	l.canaries(ctx, p, atMost)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pulse = nil
	took := maps.Clone(p.took)
	for room := range p.left {
		took[room] = atMost
	}
	return took
}

// fewRooms may be asked for more often.
const fewRooms = 20

// canaries has somebody in every room that p waits for send something new, even
// those who have too many sends unanswered, until all rooms have delivered.
func (l *Load) canaries(ctx context.Context, p *pulse, atMost time.Duration) {
	limit := time.NewTimer(atMost)
	defer limit.Stop()
	pause := 2 * time.Second // a storm of canaries would be a fault of its own; those of a few rooms are none
	for {
		l.mu.Lock()
		left := slices.Collect(maps.Keys(p.left))
		l.mu.Unlock()
		for _, room := range left {
			users := l.all() // who spoke last may be the one whose line is dead
			for i, first := 0, rand.IntN(len(users)); i < len(users) && !users[(first+i)%len(users)].say(room); i++ {
			}
		}
		next := pause
		if len(left) <= fewRooms && l.cfg.Patience <= 1 {
			next = min(pause, 500*time.Millisecond)
		}
		select {
		case <-p.done:
			return
		case <-limit.C:
			return
		case <-ctx.Done():
			return
		case <-time.After(next):
		}
		if l.cfg.Patience > 1 {
			pause = min(2*pause, 20*time.Second)
		}
	}
}
