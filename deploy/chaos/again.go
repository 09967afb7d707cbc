package chaos

import (
	"context"
	"strings"
)

// counters are those of a process of which a fault's report tells.
type counters struct{ redelivered, dup int64 }

// countAgain reads what every service has counted. The returned function reads it
// again and adds what came since, of a process that was ended meanwhile since its
// new start. One that does not answer counts as nothing.
func (w *world) countAgain(ctx context.Context, h *Happened) func() {
	before := w.counted(ctx)
	return func() {
		for name, now := range w.counted(ctx) {
			was := before[name]
			if now.redelivered < was.redelivered || now.dup < was.dup {
				was = counters{}
			}
			h.Redelivered += now.redelivered - was.redelivered
			h.Dup += now.dup - was.dup
		}
	}
}

func (w *world) counted(ctx context.Context) map[string]counters {
	out := map[string]counters{}
	for _, p := range w.Services() {
		found, err := metrics(ctx, p, "parley_")
		if err != nil {
			continue
		}
		var c counters
		for series, n := range found {
			switch {
			case strings.HasPrefix(series, "parley_bus_redeliveries_total"):
				c.redelivered += int64(n)
			case strings.HasPrefix(series, "parley_chat_appends_total") && (strings.Contains(series, `"dup"`) || strings.Contains(series, `"again"`)):
				c.dup += int64(n)
			}
		}
		out[p.Name] = c
	}
	return out
}
