// Command chat runs the chat service: rooms, their order and their history.
package main

import (
	"context"
	"crypto/rand"

	"github.com/parley-chat/parley/services/chat"
	"github.com/parley-chat/parley/shared/bus"
	"github.com/parley-chat/parley/shared/bus/backend"
	"github.com/parley-chat/parley/shared/process"
)

func main() {
	var cfg struct {
		process.Common
		Chat chat.Config `embed:""`
	}
	process.Main(process.Program{Name: "chat", Description: "Parley's rooms: who may do what, in which order, and what was said.",
		Defaults: map[string]string{"admin": "127.0.0.1:9102"}}, &cfg, func(ctx context.Context, p *process.Process) error {
		name := "chat-" + cfg.Node + "-" + rand.Text()[:8]
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
		service, err := chat.New(cfg.Chat, b, chat.Options{Store: string(cfg.Store), Bus: string(cfg.Bus), Prefix: cfg.Prefix, Logger: p.Log, Registry: p.Metrics, Traces: p.Traces, Status: cfg.StatusEvery})
		if err != nil {
			return err
		}
		p.Health.Add("store", service.Health)
		return service.Run(ctx)
	})
}
