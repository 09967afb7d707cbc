// Command ingress runs an edge: the service that clients connect to.
package main

import (
	"context"
	"crypto/rand"

	"github.com/parley-chat/parley/services/ingress"
	"github.com/parley-chat/parley/shared/bus"
	"github.com/parley-chat/parley/shared/bus/backend"
	"github.com/parley-chat/parley/shared/process"
)

func main() {
	var cfg struct {
		process.Common
		Ingress ingress.Config `embed:""`
	}
	program := process.Program{Name: "ingress", Description: "Parley's edge: clients connect to it by WebSocket.",
		Defaults: map[string]string{"admin": "127.0.0.1:9101"}}
	process.Main(program, &cfg, func(ctx context.Context, p *process.Process) error {
		name := "ingress-" + cfg.Node + "-" + rand.Text()[:8]
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
		service, err := ingress.New(cfg.Ingress, b, ingress.Options{Node: cfg.Node, AdminToken: cfg.AdminToken, Status: cfg.StatusEvery, Logger: p.Log, Registry: p.Metrics, Traces: p.Traces, Health: p.Health})
		if err != nil {
			return err
		}
		return service.Run(ctx)
	})
}
