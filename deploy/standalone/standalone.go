// Package standalone is the three services composed in one process: the same Run
// of each, on one bus. In memory it needs nothing else; PARLEY_BUS and PARLEY_STORE
// give it Redis or NATS instead.
package standalone

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/parley-chat/parley/services/chat"
	"github.com/parley-chat/parley/services/ingress"
	"github.com/parley-chat/parley/services/notifier"
	"github.com/parley-chat/parley/shared/bus"
	"github.com/parley-chat/parley/shared/bus/backend"
	"github.com/parley-chat/parley/shared/process"
)

// Config is the settings of all three.
type Config struct {
	process.Common
	Ingress  ingress.Config  `embed:""`
	Chat     chat.Config     `embed:""`
	Notifier notifier.Config `embed:""`
}

// Program describes the executable. There is nowhere to drain to, so it does not.
func Program() process.Program {
	return process.Program{
		Name:        "standalone",
		Description: "Parley in one process: ingress, chat and notifier, in memory unless told otherwise.",
		Memory:      true,
		Defaults: map[string]string{
			"listen": "127.0.0.1:8080", "admin": "127.0.0.1:9100", "bus": "memory://",
			"auth": "dev", "drain": "0s", "log-format": "text", "log-level": "warn",
		},
	}
}

// Run serves until ctx ends. greet gets the lines that tell where to go.
func Run(ctx context.Context, cfg Config, p *process.Process, greet io.Writer) error {
	name := "standalone-" + cfg.Node + "-" + rand.Text()[:8]
	broker, err := backend.Open(ctx, string(cfg.Bus), backend.Options{Prefix: cfg.Prefix, Name: name, Logger: p.Log, Registry: p.Metrics})
	if err != nil {
		return err
	}
	defer broker.Close()
	b, err := bus.New(broker, bus.Config{Partitions: cfg.Partitions, Name: name, Logger: p.Log, Registry: p.Metrics})
	if err != nil {
		return err
	}
	defer b.Close()

	rooms, err := chat.New(cfg.Chat, b, chat.Options{
		Store: string(cfg.Store), Bus: string(cfg.Bus), Prefix: cfg.Prefix, Logger: p.Log, Registry: p.Metrics, Traces: p.Traces, SharedBus: true, Status: cfg.StatusEvery})
	if err != nil {
		return err
	}
	people, err := notifier.New(cfg.Notifier, b, notifier.Options{
		Store: string(cfg.Store), Prefix: cfg.Prefix, Logger: p.Log, Registry: p.Metrics, Traces: p.Traces, SharedBus: true, Status: cfg.StatusEvery})
	if err != nil {
		return err
	}
	edge, err := ingress.New(cfg.Ingress, b, ingress.Options{
		Node: cfg.Node, AdminToken: cfg.AdminToken, Status: cfg.StatusEvery, Logger: p.Log, Registry: p.Metrics, Health: p.Health, Traces: p.Traces, SharedBus: true})
	if err != nil {
		return err
	}
	// Only now, and after the edge's own check: in memory these pass at once, and the
	// process would call itself ready before it listens.
	p.Health.Add("bus", b.Health())
	p.Health.Add("store", rooms.Health)
	if _, err := io.WriteString(greet, greeting(cfg, edge.Addr().String())); err != nil {
		return err
	}

	// The edge ends first, and the others serve it until it has.
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	group, serving := errgroup.WithContext(serving)
	group.Go(func() error { return b.Run(serving) })
	group.Go(func() error { return rooms.Run(serving) })
	group.Go(func() error { return people.Run(serving) })
	edgeCtx, endEdge := context.WithCancel(ctx)
	defer endEdge()
	context.AfterFunc(serving, endEdge)
	err = edge.Run(edgeCtx)
	stop()
	return errors.Join(err, group.Wait())
}

func greeting(cfg Config, address string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n  Parley is at http://%s: open it in two windows and chat.\n  The status board is at http://%s/status.\n", address, address)
	if cfg.Ingress.Auth == "dev" {
		fmt.Fprintf(&b, "  Dev auth: whoever connects may call himself what he likes.\n")
	}
	if backend.IsMemory(string(cfg.Bus)) {
		fmt.Fprintf(&b, "  Everything is in memory, and ends with this process (Ctrl-C).\n")
	}
	return b.String() + "\n"
}
