// Command baseline is the hand-written chat server that make bench-compare
// compares Parley with.
package main

import (
	"context"
	"flag"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/parley-chat/parley/deploy/loadgen/baseline"
)

func main() {
	cfg := baseline.Config{Logger: slog.Default()}
	flag.StringVar(&cfg.Listen, "listen", "127.0.0.1:8080", "where clients connect")
	flag.StringVar(&cfg.Redis, "redis", "redis://127.0.0.1:6379/0", "the Redis that all processes share")
	flag.BoolVar(&cfg.Durable, "durable", false, "append each message to a stream before it is published and acknowledged")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	s, err := baseline.New(cfg)
	if err == nil {
		err = s.Run(ctx)
	}
	if err != nil {
		slog.Error("baseline ended", "err", err)
		os.Exit(1)
	}
}
