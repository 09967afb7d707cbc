// Command loadgen puts Parley, or another server, under load and says what it
// measured.
//
//	loadgen -scenario B                    one preset against a fresh cluster of this build
//	loadgen -scenario C -url http://…      … against servers that run already
//	loadgen compare | growth | overload    what docs/performance.md is made of
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// Little is alive beside the connections: rare collections keep the loops at
	// their sockets.
	debug.SetGCPercent(400)
	if err := run(ctx, os.Args[1:]); err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "loadgen:", err)
		os.Exit(1)
	}
}
