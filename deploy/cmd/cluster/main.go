// Command cluster starts a whole Parley on this machine, to be tried by hand: a
// redis-server of its own, two edges, two chats and two notifiers, each a process.
// It prints where to point browsers and every process id, and ends all on Ctrl-C.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/parley-chat/parley/deploy/cluster"
)

func main() {
	var cfg cluster.Config
	flag.IntVar(&cfg.Ingress, "ingress", 2, "how many edges")
	flag.IntVar(&cfg.Chat, "chat", 2, "how many chats")
	flag.IntVar(&cfg.Notifiers, "notifier", 2, "how many notifiers")
	flag.BoolVar(&cfg.NATS, "nats", false, "a nats-server as the bus; rooms are kept in Redis all the same")
	flag.BoolVar(&cfg.RedisCluster, "redis-cluster", false, "six redis-servers as one Redis Cluster instead of one")
	flag.StringVar(&cfg.Bin, "bin", "", "folder with the binaries ingress, chat, notifier; empty: build them")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, cfg); err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, cfg cluster.Config) (err error) {
	if cfg.Dir, err = os.MkdirTemp("", "parley-"); err != nil {
		return err
	}
	defer os.RemoveAll(cfg.Dir)
	if cfg.Bin == "" {
		cfg.Bin = cfg.Dir
		fmt.Println("building …")
		if err := cluster.Build(ctx, cfg.Bin, false); err != nil {
			return err
		}
	} else if missing := cfg.Missing(); len(missing) > 0 {
		return fmt.Errorf("%s lacks %v", cfg.Bin, missing)
	}
	cfg.Env = append(cfg.Env, "PARLEY_DRAIN=5s")
	c, err := cluster.New(cfg)
	if err != nil {
		return err
	}
	defer func() {
		stopping, cancel := context.WithTimeout(context.Background(), 15*time.Second)
		defer cancel()
		err = errors.Join(err, c.Stop(stopping))
	}()
	starting, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := c.Start(starting); err != nil {
		return err
	}
	describe(c, cfg.Dir)
	watch(ctx, c)
	return nil
}

func describe(c *cluster.Cluster, dir string) {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\nPROCESS\tID\tADDRESS")
	for _, p := range c.All() {
		fmt.Fprintf(w, "%s\t%d\t%s\n", p.Name, p.PID(), p.URL)
	}
	_ = w.Flush()
	fmt.Printf(`
Two people on two edges:
  %s/?user=alice&room=general
  %s/?user=bob&room=general
All of it, live: %s/status
Anybody may be anyone here (dev auth), and all of it is gone at the end. Logs: %s
Kill any process to see what the others do; Ctrl-C ends all.

`, c.Edges[0].URL, c.Edges[len(c.Edges)-1].URL, c.Edges[0].URL, dir)
}

// watch says when a process ends, until ctx does.
func watch(ctx context.Context, c *cluster.Cluster) {
	ended := make(chan *cluster.Process)
	for _, p := range c.All() {
		go func(done <-chan struct{}) {
			select {
			case <-done:
			case <-ctx.Done():
				return
			}
			select {
			case ended <- p:
			case <-ctx.Done():
			}
		}(p.Done())
	}
	for {
		select {
		case p := <-ended:
			fmt.Printf("%s ended (%v); the others go on without it\n", p.Name, p.Err())
		case <-ctx.Done():
			fmt.Println()
			return
		}
	}
}
