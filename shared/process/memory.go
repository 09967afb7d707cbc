package process

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	lookEvery  = 15 * time.Second
	quietBytes = 16 << 20 // what a process allocates between two looks when it has little to do
	spareBytes = 1 << 20  // less is not worth a collection
	sparePart  = 16       // nor is less than this part of the heap
)

// heap is what the runtime says of its memory, in bytes.
type heap struct {
	allocated uint64 // since the start
	live      uint64 // that the last collection found
	objects   uint64 // live, or dead and not collected yet
	free      uint64 // kept for what comes, in whole pages and within them
	stuck     uint64 // of it, what the last collection here could not return: it is within pages in use
}

// worthwhile tells whether to collect and to return what is free: a quiet process that has much of it.
// Without this a wave of connections leaves behind a heap of twice its size, because
// Go collects when the heap has doubled, and what is quiet does not double.
func (h heap) worthwhile(before heap) bool {
	spare := h.free - min(h.stuck, h.free) + h.objects - min(h.live, h.objects)
	return h.allocated-before.allocated < quietBytes && spare > spareBytes && spare > (h.objects+h.free)/sparePart
}

func (h *heap) read(samples []metrics.Sample) {
	metrics.Read(samples)
	h.allocated, h.live, h.objects = samples[0].Value.Uint64(), samples[1].Value.Uint64(), samples[2].Value.Uint64()
	h.free = samples[3].Value.Uint64() + samples[4].Value.Uint64()
}

// giveBack returns memory to the system while there is little to do, until ctx ends.
func giveBack(ctx context.Context) {
	samples := []metrics.Sample{
		{Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/memory/classes/heap/free:bytes"}, {Name: "/memory/classes/heap/unused:bytes"},
	}
	var before, now heap
	before.read(samples)
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
		if now.read(samples); now.worthwhile(before) {
			debug.FreeOSMemory()
			now.read(samples)
			now.stuck = now.free
		}
		before = now
	}
}
