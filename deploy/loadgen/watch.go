package loadgen

import (
	"os"
	"sync"
	"time"
)

// sampleEvery is how often the processes under load are looked at.
const sampleEvery = 500 * time.Millisecond

// Sample is what the processes used at a time. CPU is in cores since the sample
// before.
type Sample struct {
	At  float64            `json:"at"` // seconds since the load began
	CPU map[string]float64 `json:"cpu"`
	RSS map[string]int64   `json:"rss"` // bytes
}

// generatorName is this program and its workers among the processes.
const generatorName = "generator"

// watch reads CPU time and memory of the processes under load, and of the generator.
type watch struct {
	processes func() map[string]int
	workers   []int

	mu      sync.Mutex
	samples []Sample
	cancel  chan struct{}
	done    chan struct{}
}

func newWatch(processes func() map[string]int, workers []int) *watch {
	if processes == nil {
		processes = func() map[string]int { return nil }
	}
	return &watch{processes: processes, workers: workers}
}

// cpu is CPU-seconds by process, without the generator.
func (w *watch) cpu() map[string]float64 {
	out := map[string]float64{}
	for name, pid := range w.processes() {
		if seconds, ok := cpuTime(pid); ok {
			out[name] = seconds
		}
	}
	return out
}

// own is the generator's CPU-seconds.
func (w *watch) own() float64 {
	seconds, _ := cpuTime(os.Getpid())
	for _, pid := range w.workers {
		s, _ := cpuTime(pid)
		seconds += s
	}
	return seconds
}

// resident is bytes by process, without the generator.
func (w *watch) resident() map[string]int64 {
	out := map[string]int64{}
	for name, pid := range w.processes() {
		if n, ok := resident(pid); ok {
			out[name] = n
		}
	}
	return out
}

// begin takes samples from now on; those of an earlier load are forgotten.
func (w *watch) begin(start time.Time) {
	w.stop()
	w.mu.Lock()
	w.samples = nil
	w.mu.Unlock()
	cancel, done := make(chan struct{}), make(chan struct{})
	w.cancel, w.done = cancel, done
	go func() {
		defer close(done)
		w.sample(start, cancel)
	}()
}

func (w *watch) sample(start time.Time, cancel <-chan struct{}) {
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	at, cpu, own := time.Now(), w.cpu(), w.own()
	for {
		select {
		case <-cancel:
			return
		case <-tick.C:
		}
		now, newCPU, newOwn := time.Now(), w.cpu(), w.own()
		took := now.Sub(at).Seconds()
		s := Sample{At: now.Sub(start).Seconds(), CPU: since(newCPU, cpu), RSS: w.resident()}
		s.CPU[generatorName] = newOwn - own
		for name := range s.CPU {
			s.CPU[name] /= took
		}
		at, cpu, own = now, newCPU, newOwn
		w.mu.Lock()
		w.samples = append(w.samples, s)
		w.mu.Unlock()
	}
}

// taken are the samples since begin.
func (w *watch) taken() []Sample {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]Sample(nil), w.samples...)
}

// stop ends the sampling.
func (w *watch) stop() {
	if w.cancel != nil {
		close(w.cancel)
		<-w.done
		w.cancel = nil
	}
}
