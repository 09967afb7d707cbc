package natsbus

import (
	"testing"

	"github.com/parley-chat/parley/shared/bus/bustest"
	"github.com/parley-chat/parley/shared/natstest"
)

func TestInspect(t *testing.T) {
	bustest.Inspect(t, openBackend(t, natstest.Start(t, natstest.Options{}).URL))
}
