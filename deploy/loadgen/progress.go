package loadgen

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
)

// progress shows on a terminal how far a stage is. A nil writer shows nothing.
type progress struct {
	out  io.Writer
	name string
}

func newProgress(out io.Writer, name string) *progress { return &progress{out: out, name: name} }

// show shows a stage until stop is called; at says how far it is, nil: not known.
func (p *progress) show(stage string, at func() (done, all int64)) (stop func()) {
	if p == nil || p.out == nil {
		return func() {}
	}
	all := int64(-1)
	if at != nil {
		_, all = at()
	}
	bar := progressbar.NewOptions64(all, progressbar.OptionSetWriter(p.out), progressbar.OptionSetDescription(fmt.Sprintf("%-8s %-24s", p.name, stage)),
		progressbar.OptionSetWidth(30), progressbar.OptionClearOnFinish(), progressbar.OptionSetPredictTime(false), progressbar.OptionSetElapsedTime(true))
	end := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for {
			if at == nil {
				_ = bar.Add64(0)
			} else if done, all := at(); all > 0 {
				_ = bar.Set64(min(done, all))
			}
			select {
			case <-end:
				_ = bar.Clear()
				return
			case <-tick.C:
			}
		}
	})
	return func() {
		close(end)
		wg.Wait()
	}
}

// done leaves the line free.
func (p *progress) done() {
	if p.out != nil {
		fmt.Fprint(p.out, "\r")
	}
}
