package redisbus

import (
	"testing"

	"github.com/parley-chat/parley/shared/bus/bustest"
)

func TestInspect(t *testing.T) {
	b, _ := start(t, fast)
	bustest.Inspect(t, b)
}
