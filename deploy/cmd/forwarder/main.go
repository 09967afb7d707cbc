// Command forwarder puts several edges behind one address:
//
//	forwarder -listen 127.0.0.1:8080 http://127.0.0.1:21314 http://127.0.0.1:17850
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"

	"github.com/parley-chat/parley/deploy/forwarder"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:8080", "where clients connect")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: forwarder [-listen host:port] http://edge:port ...")
		flag.PrintDefaults()
	}
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *listen, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, listen string, edges []string) error {
	f, err := forwarder.New(forwarder.Config{Edges: edges, Logger: slog.Default()})
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	slog.Info("forwarding", "listen", l.Addr().String(), "edges", edges)
	return f.Serve(ctx, l)
}
