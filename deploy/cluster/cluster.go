// Package cluster runs a whole Parley as processes of this machine: a broker of
// its own on a free port, and as many ingress, chat and notifier processes as asked
// for. The try-it-by-hand program and the end-to-end tests stand on it. It never
// touches a broker that runs already.
package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// Config says what to run.
type Config struct {
	Bin string // folder with the binaries ingress, chat, notifier (and standalone)
	Dir string // folder for logs and data; it must exist
	// Data is the folder for the brokers' data, if that is another. In memory (/dev/shm)
	// it outlasts the brokers' processes all the same, and a sync costs nothing.
	Data string
	// NATS has the bus on a nats-server; the store is on Redis all the same.
	NATS         bool
	RedisCluster bool // six redis-servers as one Redis Cluster instead of one; not with NATS
	// NodeTimeout is after how long a Redis Cluster holds a silent server for dead; 0: 15 s.
	NodeTimeout time.Duration
	// Brokers, if set, is the address of a Redis that runs already; none is started.
	Brokers                  string
	Ingress, Chat, Notifiers int
	Standalone               bool     // one standalone process instead of the three kinds, and no broker
	Baselines                int      // so many of the hand-written server to compare with, beside a Redis; they are Edges
	Durable                  bool     // the Baselines store what they acknowledge
	BusQuery                 string   // what is behind the ? in the bus' URL: driver=stock
	Fsync                    string   // Redis' appendfsync; empty: always
	Env                      []string // further settings, NAME=value, for every service
	// EnvOf, if set, gives further settings by kind of service.
	EnvOf func(kind string) []string
	// EdgePort, if set, has edge n listen on this port of 127.0.0.(n+1), so that
	// edges can stand behind one name as replicas do. Linux alone has all these
	// addresses without further ado.
	EdgePort string
	// Via, if set, is asked for the address (host:port) at which a service is to
	// reach a broker: that of a proxy, say.
	Via func(service, broker string) (string, error)
}

// Cluster is a running Parley. Its fields do not change after New, but for Add.
type Cluster struct {
	Redis, NATS *Process   // nil where there is none
	Nodes       []*Process // of the Redis Cluster: three masters, then their replicas
	Edges       []*Process
	Chats       []*Process
	Notifiers   []*Process

	RedisURL string // of the store, and of the bus unless that is NATS
	BusURL   string
	cfg      Config
	nodes    []string // addresses of Nodes
}

// New prepares the processes; Start starts them.
func New(cfg Config) (*Cluster, error) {
	c := &Cluster{cfg: cfg}
	if cfg.Standalone {
		return c, c.add(&c.Edges, "standalone", 1)
	}
	if err := c.addBrokers(); err != nil {
		return nil, err
	}
	return c, errors.Join(
		c.add(&c.Edges, "ingress", cfg.Ingress),
		c.add(&c.Edges, "baseline", cfg.Baselines),
		c.add(&c.Chats, "chat", cfg.Chat),
		c.add(&c.Notifiers, "notifier", cfg.Notifiers))
}

func (c *Cluster) addBrokers() (err error) {
	if c.cfg.Brokers != "" {
		c.RedisURL, c.BusURL = c.cfg.Brokers, c.cfg.Brokers
		return nil
	}
	if c.cfg.RedisCluster {
		if c.cfg.NATS {
			return errors.New("the bus is on NATS or on a Redis Cluster, not on both")
		}
		return c.addRedisCluster()
	}
	fsync := c.cfg.Fsync
	if fsync == "" {
		fsync = "always"
	}
	if c.Redis, c.RedisURL, err = redisServer(c.cfg.Dir, c.data(), fsync); err != nil {
		return err
	}
	c.BusURL = c.RedisURL
	if c.cfg.NATS {
		if c.NATS, c.BusURL, err = natsServer(c.cfg.Dir, c.data()); err != nil {
			return err
		}
	}
	return nil
}

// data is the folder for the brokers' data.
func (c *Cluster) data() string { return cmp.Or(c.cfg.Data, c.cfg.Dir) }

// brokerEnv tells a service where its brokers are.
func (c *Cluster) brokerEnv(service string) ([]string, error) {
	if c.cfg.Standalone {
		return nil, nil
	}
	bus, err := c.via(service, c.BusURL)
	if err != nil {
		return nil, err
	}
	store := bus
	if c.RedisURL != c.BusURL {
		if store, err = c.via(service, c.RedisURL); err != nil {
			return nil, err
		}
	}
	if c.cfg.BusQuery != "" {
		bus += "?" + c.cfg.BusQuery
	}
	return []string{"PARLEY_BUS=" + bus, "PARLEY_STORE=" + store}, nil
}

func (c *Cluster) via(service, broker string) (string, error) {
	if c.cfg.Via == nil {
		return broker, nil
	}
	u, err := url.Parse(broker)
	if err != nil {
		return "", err
	}
	u.Host, err = c.cfg.Via(service, u.Host)
	return u.String(), err
}

func (c *Cluster) add(to *[]*Process, kind string, n int) error {
	for range n {
		p, err := c.service(kind, len(*to)+1)
		if err != nil {
			return err
		}
		*to = append(*to, p)
	}
	return nil
}

func (c *Cluster) service(kind string, i int) (*Process, error) {
	name := fmt.Sprintf("%s-%d", kind, i)
	if kind == "baseline" {
		return c.baseline(name)
	}
	adminPort, err := freePort()
	if err != nil {
		return nil, err
	}
	admin := net.JoinHostPort("127.0.0.1", adminPort)
	p := &Process{
		Name: name, Kind: kind, Admin: "http://" + admin,
		LogFile: filepath.Join(c.cfg.Dir, name+".log"),
		path:    filepath.Join(c.cfg.Bin, kind),
		up:      ready("http://" + admin),
	}
	p.env = append(p.env, "PARLEY_NODE="+name, "PARLEY_ADMIN="+admin)
	brokers, err := c.brokerEnv(name)
	if err != nil {
		return nil, err
	}
	p.env = append(p.env, brokers...)
	if kind == "ingress" || kind == "standalone" {
		address, err := c.edgeAddress(i)
		if err != nil {
			return nil, err
		}
		p.URL = "http://" + address
		p.env = append(p.env, "PARLEY_LISTEN="+address, "PARLEY_AUTH=dev")
	}
	p.env = append(p.env, c.cfg.Env...)
	if c.cfg.EnvOf != nil {
		p.env = append(p.env, c.cfg.EnvOf(kind)...)
	}
	return p, nil
}

// baseline is one process of the hand-written server.
func (c *Cluster) baseline(name string) (*Process, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	address := net.JoinHostPort("127.0.0.1", port)
	p := &Process{
		Name: name, Kind: "baseline", URL: "http://" + address,
		LogFile: filepath.Join(c.cfg.Dir, name+".log"),
		path:    filepath.Join(c.cfg.Bin, "baseline"),
		args:    []string{"-listen", address, "-redis", c.RedisURL},
		up:      ready("http://" + address),
	}
	if c.cfg.Durable {
		p.args = append(p.args, "-durable")
	}
	return p, nil
}

func (c *Cluster) edgeAddress(i int) (string, error) {
	if c.cfg.EdgePort != "" {
		return net.JoinHostPort(fmt.Sprintf("127.0.0.%d", i+1), c.cfg.EdgePort), nil
	}
	port, err := freePort()
	return net.JoinHostPort("127.0.0.1", port), err
}

// Add prepares one more process of a kind (ingress, chat, notifier), as scaling up
// does; its Start starts it. Not while others use the cluster.
func (c *Cluster) Add(kind string) (*Process, error) {
	to := map[string]*[]*Process{"ingress": &c.Edges, "chat": &c.Chats, "notifier": &c.Notifiers}[kind]
	if to == nil {
		return nil, fmt.Errorf("no service %q: ingress, chat and notifier are known", kind)
	}
	if err := c.add(to, kind, 1); err != nil {
		return nil, err
	}
	return (*to)[len(*to)-1], nil
}

// Services are all processes but the brokers.
func (c *Cluster) Services() []*Process {
	var out []*Process
	for _, kind := range [][]*Process{c.Chats, c.Notifiers, c.Edges} {
		out = append(out, kind...)
	}
	return out
}

// All are the brokers and the services.
func (c *Cluster) All() []*Process {
	return append(c.brokers(), c.Services()...)
}

func (c *Cluster) brokers() []*Process {
	out := slices.Clone(c.Nodes)
	for _, p := range []*Process{c.Redis, c.NATS} {
		if p != nil {
			out = append(out, p)
		}
	}
	return out
}

// Start starts everything and waits until all are ready or ctx ends.
func (c *Cluster) Start(ctx context.Context) error {
	if err := c.StartBrokers(ctx); err != nil {
		return err
	}
	return each(c.Services(), func(p *Process) error { return p.Start(ctx) })
}

// StartBrokers starts what the services stand on, and waits until it serves.
func (c *Cluster) StartBrokers(ctx context.Context) error {
	if err := each(c.brokers(), func(p *Process) error { return p.Start(ctx) }); err != nil || len(c.Nodes) == 0 {
		return err
	}
	return c.formRedisCluster(ctx)
}

// Stop ends everything, services first. It forces what has not ended when ctx ends.
func (c *Cluster) Stop(ctx context.Context) error {
	err := each(c.Services(), func(p *Process) error { return p.Stop(ctx) })
	return errors.Join(err, each(c.brokers(), func(p *Process) error { return p.Stop(ctx) }))
}

// each runs fn for all at once.
func each[T any](all []T, fn func(T) error) error {
	errs := make([]error, len(all))
	var wg sync.WaitGroup
	for i, one := range all {
		wg.Go(func() { errs[i] = fn(one) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Missing names the binaries that Bin lacks.
func (cfg Config) Missing() []string {
	var out []string
	for _, kind := range []string{"ingress", "chat", "notifier"} {
		if _, err := os.Stat(filepath.Join(cfg.Bin, kind)); err != nil {
			out = append(out, kind)
		}
	}
	return out
}
