package bus

import (
	"sync"
	"time"
)

// alarm rings when a subscription has ended: what ended it, such as a broker that came back
// empty, may have taken leases and memberships along. Whoever keeps some looks at once then, and
// not only when they are to be renewed. Safe for concurrent use.
type alarm struct {
	mu   sync.Mutex
	rung time.Time
	next chan struct{} // closed when it rings
}

// alarmPause is how long it is silent after it rang: while the broker is away, subscriptions end all the time.
const alarmPause = 500 * time.Millisecond

func newAlarm() *alarm { return &alarm{next: make(chan struct{})} }

func (a *alarm) ring() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if now := time.Now(); now.Sub(a.rung) >= alarmPause {
		a.rung = now
		close(a.next)
		a.next = make(chan struct{})
	}
}

// heard is closed when it rings next.
func (a *alarm) heard() <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.next
}
