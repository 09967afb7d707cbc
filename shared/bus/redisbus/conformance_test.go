package redisbus_test

import (
	"log/slog"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/parley-chat/parley/shared/bus"
	"github.com/parley-chat/parley/shared/bus/bustest"
	"github.com/parley-chat/parley/shared/bus/redisbus"
	"github.com/parley-chat/parley/shared/redistest"
)

func TestConformance(t *testing.T)      { conformance(t, "") }
func TestStockConformance(t *testing.T) { conformance(t, "?driver=stock") }

func conformance(t *testing.T, driver string) {
	server := redistest.Start(t, redistest.Options{})
	client := server.Client()
	bustest.Run(t, bustest.Harness{
		New: func(t *testing.T) bus.Backend {
			b, err := redisbus.Open(t.Context(), server.URL+driver, redisbus.Options{Prefix: "c", Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Fatal(err)
			}
			return b
		},
		Restart: func(*testing.T) { server.Restart() },
		Pause:   func(*testing.T) { server.Pause() },
		Resume:  func(*testing.T) { server.Resume() },
		Flush:   func(*testing.T) { server.Flush() },
		Inject: func(t *testing.T, topic string) {
			key := "c:{" + bus.HashTag(topic) + "}:" + topic
			if err := client.XAdd(t.Context(), &redis.XAddArgs{Stream: key, Values: []string{"foreign", "entry"}}).Err(); err != nil {
				t.Fatal(err)
			}
		},
	})
}
