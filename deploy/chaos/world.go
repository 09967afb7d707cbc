package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/parley-chat/parley/deploy/cluster"
)

// world is the cluster under test with everything that faults take hold of.
type world struct {
	*cluster.Cluster
	cfg     Config
	proxies map[string][]*Proxy // by service
	callers sync.Map            // the service, by the address that the broker sees; one may come again
	load    *Load
	rec     *Recorder
	rand    *rand.Rand
	redis   *redis.Client // past the proxies
	before  map[string]int
	began   time.Time // when the load was there
	rate    int       // messages/s now
	slowed  bool      // it was lowered

	spare     *cluster.Process // the Redis that was in use before the last failover; nil: there was none
	failovers int
	data      string         // where the Redis in use keeps its files
	broken    atomic.Bool    // something was measured to be over its bound
	later     sync.WaitGroup // what is watched beyond the end of its fault
}

// settings of every service under test: limits that would slow the load down are
// off, and nothing is trimmed.
var settings = []string{
	"PARLEY_RATE=0", "PARLEY_ADDRESS_RATE=0", "PARLEY_ADDRESS_OPEN=0", "PARLEY_USER_SESSIONS=1000",
	"PARLEY_RETENTION_COUNT=10000000",
}

func newWorld(ctx context.Context, cfg Config) (*world, error) {
	w := &world{cfg: cfg, proxies: map[string][]*Proxy{}, rand: rand.New(rand.NewPCG(cfg.Seed, 0)), before: map[string]int{}, data: filepath.Join(cfg.Dir, "redis-data")}
	var err error
	w.Cluster, err = cluster.New(cluster.Config{
		Bin: cfg.Bin, Dir: cfg.Dir, NATS: cfg.NATS, Ingress: 2, Chat: 2, Notifiers: 2, Via: w.via,
		Env: append(slices.Clone(settings), fmt.Sprintf("PARLEY_DRAIN=%s", min(time.Duration(cfg.Patience)*8*time.Second, 12*time.Second))),
	})
	if err != nil {
		return nil, errors.Join(err, w.close())
	}
	starting, cancel := context.WithTimeout(ctx, time.Duration(cfg.Patience)*time.Minute)
	defer cancel()
	if err := w.Start(starting); err != nil {
		return nil, errors.Join(err, w.close())
	}
	o, err := redis.ParseURL(w.RedisURL)
	if err != nil {
		return nil, errors.Join(err, w.close())
	}
	w.redis = patientRedis(o)
	return w, nil
}

// patientRedis is a client that a machine that stands still for a while does not fail.
func patientRedis(o *redis.Options) *redis.Client {
	o.MaxRetries, o.DialTimeout, o.ReadTimeout, o.WriteTimeout = 5, time.Minute, time.Minute, time.Minute
	return redis.NewClient(o)
}

func (w *world) via(service, broker string) (string, error) {
	p, err := Listen(broker, func(address string) { w.callers.Store(address, service) })
	if err != nil {
		return "", err
	}
	w.proxies[service] = append(w.proxies[service], p)
	return p.Addr(), nil
}

// begin starts the load and waits until it talks.
func (w *world) begin(ctx context.Context) (err error) {
	if err := w.shared(ctx); err != nil {
		return err
	}
	for _, p := range w.Services() {
		n, err := goroutines(ctx, p)
		if err != nil {
			return err
		}
		w.before[p.Kind] = max(w.before[p.Kind], n)
	}
	if w.rec, err = Record(filepath.Join(w.cfg.Dir, "history.jsonl")); err != nil {
		return err
	}
	var edges []string
	for _, e := range w.Edges {
		edges = append(edges, e.URL)
	}
	w.load, err = StartLoad(LoadConfig{Edges: edges, Clients: w.cfg.Clients, Rooms: w.cfg.Rooms, Rate: w.cfg.Rate, Seed: w.cfg.Seed, Patience: w.cfg.Patience, Recorder: w.rec})
	if err != nil {
		return err
	}
	ready, cancel := context.WithTimeout(ctx, time.Duration(w.cfg.Patience)*time.Minute)
	defer cancel()
	err = w.load.Ready(ready)
	w.began, w.rate = time.Now(), w.cfg.Rate
	return err
}

// repair takes back whatever a fault that failed may have left: everything runs,
// nothing is in the way, and Redis has its settings.
func (w *world) repair(ctx context.Context) error {
	w.spoil(nil, Faults{})
	var ended []*cluster.Process
	for _, p := range w.All() {
		_ = p.Resume() // os.ErrProcessDone: it is started below
		if !p.Running() {
			ended = append(ended, p)
		}
	}
	return errors.Join(startAll(ctx, ended),
		w.redis.ConfigSet(ctx, "maxmemory", "0").Err(), w.redis.ConfigSet(ctx, "appendfsync", "always").Err())
}

// shared waits until every partition is owned, and fairly.
func (w *world) shared(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(w.cfg.Patience)*30*time.Second)
	defer cancel()
	for _, kind := range [][]*cluster.Process{w.Chats, w.Notifiers} {
		for _, p := range kind {
			for {
				n, err := owns(ctx, p)
				if err == nil && n == partitions/len(kind) {
					break
				}
				if sleep(ctx, 50*time.Millisecond) != nil {
					return fmt.Errorf("%s owns %d partitions, want %d of %d; %w", p.Name, n, partitions/len(kind), partitions, err)
				}
			}
		}
	}
	return nil
}

// close ends whatever runs.
func (w *world) close() error {
	if w.load != nil {
		w.load.Close()
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(w.cfg.Patience)*30*time.Second)
	defer cancel()
	var err error
	if w.Cluster != nil {
		for _, p := range w.All() {
			_ = p.Resume() // what a fault had stopped; ErrProcessDone is none of our business
		}
		err = w.Stop(ctx)
	}
	w.later.Wait()
	if w.spare != nil {
		w.spare.Kill()
	}
	if w.redis != nil {
		err = errors.Join(err, w.redis.Close())
	}
	var closing sync.WaitGroup
	for _, p := range w.all() {
		closing.Go(func() { _ = p.Close() })
	}
	closing.Wait()
	return err
}

func (w *world) all() []*Proxy {
	var out []*Proxy
	for _, ps := range w.proxies {
		out = append(out, ps...)
	}
	return out
}

// spoil sets the faults of a service's way to its brokers; nil: of everybody's.
func (w *world) spoil(p *cluster.Process, f Faults) {
	proxies := w.all()
	if p != nil {
		proxies = w.proxies[p.Name]
	}
	for _, proxy := range proxies {
		proxy.Set(f)
	}
}

// owned tells what a process has that a fault takes away from it.
func (w *world) owned(ctx context.Context, p *cluster.Process) (string, error) {
	switch p.Kind {
	case "ingress":
		n := w.load.On(p.URL)
		if n <= len(w.load.all())/10 {
			return "", fmt.Errorf("%s has hardly any clients: %d", p.Name, n)
		}
		return fmt.Sprintf("%s with %d clients", p.Name, n), nil
	case "chat", "notifier":
		n, err := owns(ctx, p)
		if err != nil {
			return "", err
		}
		if n == 0 {
			return "", fmt.Errorf("%s owns no partition", p.Name)
		}
		return fmt.Sprintf("%s with %d partitions", p.Name, n), nil
	}
	return p.Name, nil
}

// victim chooses one of several that has something to lose, waiting until there is one.
func (w *world) victim(ctx context.Context, of []*cluster.Process) (*cluster.Process, string, error) {
	first := w.rand.IntN(len(of))
	var err error
	for range 150 * w.cfg.Patience {
		for i := range of {
			p := of[(first+i)%len(of)]
			var what string
			if what, err = w.owned(ctx, p); err == nil {
				return p, what, nil
			}
		}
		if ctxErr := sleep(ctx, 100*time.Millisecond); ctxErr != nil {
			return nil, "", ctxErr
		}
	}
	return nil, "", err
}

// sleep is the length of a fault, not a way to wait for something.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

// metrics reads the numbers of a process's /metrics whose names begin so.
func metrics(ctx context.Context, p *cluster.Process, name string) (map[string]float64, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.Admin+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("metrics of %s: %w", p.Name, err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, fmt.Errorf("metrics of %s: %w", p.Name, err)
	}
	out := map[string]float64{}
	for line := range strings.Lines(string(raw)) {
		series, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok || !strings.HasPrefix(series, name) {
			continue
		}
		if out[series], err = strconv.ParseFloat(value, 64); err != nil {
			return nil, fmt.Errorf("metrics of %s: %s: %w", p.Name, line, err)
		}
	}
	return out, nil
}

func goroutines(ctx context.Context, p *cluster.Process) (int, error) {
	found, err := metrics(ctx, p, "go_goroutines")
	return int(found["go_goroutines"]), err
}

// owns is how many partitions the process has: leases taken less those given up.
func owns(ctx context.Context, p *cluster.Process) (int, error) {
	found, err := metrics(ctx, p, "parley_bus_lease_changes_total{")
	n := 0
	for series, count := range found {
		if strings.Contains(series, `"taken"`) {
			n += int(count)
		} else {
			n -= int(count)
		}
	}
	return n, err
}
