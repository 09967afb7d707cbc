// Command loadgen measures Parley under load: with -bench it starts a cluster of
// its own and runs every scenario; otherwise it loads the edges named by -url.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"time"

	"github.com/parley-chat/parley/deploy/cluster"
	"github.com/parley-chat/parley/deploy/loadgen"
)

func main() {
	var load loadgen.Load
	bench := flag.Bool("bench", false, "start a cluster and run every scenario")
	quick := flag.Bool("quick", false, "with -bench: seconds instead of minutes, to see that it runs")
	only := flag.String("only", "", "with -bench: these scenarios, comma-separated")
	url := flag.String("url", "http://127.0.0.1:8080", "edges, comma-separated")
	flag.IntVar(&load.Rooms, "rooms", 100, "rooms; 0: users join none")
	flag.IntVar(&load.Members, "members", 10, "members of each room")
	flag.Float64Var(&load.Rate, "rate", 100, "messages/s over all rooms; 0: -window decides")
	flag.IntVar(&load.Window, "window", 0, "unanswered sends of each room, with -rate 0")
	flag.IntVar(&load.Body, "body", 128, "bytes of a body")
	flag.DurationVar(&load.WarmUp, "warmup", 2*time.Second, "before measuring")
	flag.DurationVar(&load.Measure, "measure", 10*time.Second, "how long to measure")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var err error
	if *bench {
		err = runBench(ctx, *quick, *only)
	} else {
		load.URLs = strings.Split(*url, ",")
		err = runLoad(ctx, load)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "loadgen:", err)
		os.Exit(1)
	}
}

func runLoad(ctx context.Context, load loadgen.Load) error {
	r, err := load.Run(ctx)
	if err != nil {
		return err
	}
	out := json.NewEncoder(os.Stdout)
	out.SetIndent("", "  ")
	return out.Encode(r)
}

func runBench(ctx context.Context, quick bool, only string) error {
	dir, err := os.MkdirTemp("", "parley-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := cluster.Build(ctx, dir, false); err != nil {
		return err
	}
	fmt.Printf("%s, %s/%s, %d cores; load, services and Redis share them.\n\n",
		runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
	cfg := cluster.Config{Bin: dir, Dir: dir, Ingress: 2, Chat: 2, Notifiers: 2, Env: []string{
		"PARLEY_RATE=0", "PARLEY_ADDRESS_RATE=0", "PARLEY_ADDRESS_OPEN=0", "PARLEY_LOG_LEVEL=warn", "PARLEY_DRAIN=0s",
	}}
	return loadgen.Bench(ctx, os.Stdout, cfg, quick, only)
}
