package process

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// Health is a set of named checks; the process is ready while all of them
// pass. The zero value has none and is ready. Safe for concurrent use.
type Health struct {
	mu     sync.Mutex
	checks []check
}

type check struct {
	name string
	run  func() error
}

// Failure is one check that does not pass.
type Failure struct {
	Check string `json:"check"`
	Error string `json:"error,omitempty"`
}

// Add registers a check. It is called at every question, at times several at
// once, so it must answer from memory and at once: ask a Freshness, not a
// broker.
func (h *Health) Add(name string, run func() error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.checks = append(h.checks, check{name, run})
}

func (h *Health) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.checks)
}

// Failing returns the checks that do not pass, in the order they were added.
func (h *Health) Failing() []Failure {
	h.mu.Lock()
	checks := h.checks[:len(h.checks):len(h.checks)]
	h.mu.Unlock()
	failing := []Failure{}
	for _, c := range checks {
		if err := c.run(); err != nil {
			failing = append(failing, Failure{Check: c.name, Error: err.Error()})
		}
	}
	return failing
}

// Handler answers /readyz on a public listener: 200, or 503 with the names of
// the failing checks. Their errors are left out, as they may name hosts inside.
func (h *Health) Handler() http.Handler { return h.handler(false) }

// Details answers /readyz for operators: as Handler, with the errors.
func (h *Health) Details() http.Handler { return h.handler(true) }

func (h *Health) handler(details bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		failing := h.Failing()
		for i := range failing {
			if !details {
				failing[i].Error = ""
			}
		}
		status := http.StatusOK
		if len(failing) > 0 {
			status = http.StatusServiceUnavailable
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(map[string]any{"ready": len(failing) == 0, "failing": failing})
	})
}

// Freshness is a check that something happened not too long ago: whoever sees
// it happen calls Touch, and Check fails when the last time is over the limit
// or never was. Safe for concurrent use.
type Freshness struct {
	what  string
	limit time.Duration

	mu   sync.Mutex
	last time.Time
}

// NewFreshness returns a check that wants to be touched every limit. what names
// the awaited thing in errors: "no <what> came back for 12s".
func NewFreshness(what string, limit time.Duration) *Freshness {
	return &Freshness{what: what, limit: limit}
}

// Touch says that it happened now.
func (f *Freshness) Touch() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last = time.Now()
}

// Check is for Health.Add.
func (f *Freshness) Check() error {
	f.mu.Lock()
	last := f.last
	f.mu.Unlock()
	if last.IsZero() {
		return fmt.Errorf("no %s came back yet", f.what)
	}
	if age := time.Since(last); age > f.limit {
		return fmt.Errorf("no %s came back for %s", f.what, age.Round(time.Second))
	}
	return nil
}
