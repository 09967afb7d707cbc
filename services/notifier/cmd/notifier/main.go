// Command notifier runs the service that knows who is connected where.
package main

import (
	"context"
	"crypto/rand"

	"github.com/parley-chat/parley/services/notifier"
	"github.com/parley-chat/parley/shared/bus"
	"github.com/parley-chat/parley/shared/bus/backend"
	"github.com/parley-chat/parley/shared/process"
)

func main() {
	var cfg struct {
		process.Common
		Notifier notifier.Config `embed:""`
	}
	program := process.Program{Name: "notifier", Description: "Parley's switchboard: who is connected where, and what concerns whom.",
		Defaults: map[string]string{"admin": "127.0.0.1:9103"}}
	process.Main(program, &cfg, func(ctx context.Context, p *process.Process) error {
		name := "notifier-" + cfg.Node + "-" + rand.Text()[:8]
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
		p.Health.Add("bus", b.Health())
		service, err := notifier.New(cfg.Notifier, b, notifier.Options{Store: string(cfg.Store), Prefix: cfg.Prefix, Logger: p.Log, Registry: p.Metrics, Traces: p.Traces, Status: cfg.StatusEvery})
		if err != nil {
			return err
		}
		return service.Run(ctx)
	})
}
