package ingress

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/parley-chat/parley/services/ingress/protocol"
)

// drain sees the clients off: each is asked to move, spread over the first half of
// the window, so that the other edges are not stormed; whoever is left at its end
// is closed with 1012. It returns when all connections have ended.
func (s *Service) drain(window time.Duration) {
	end := time.Now().Add(window)
	if window > 0 {
		s.migrate(end, window/2)
	}
	for _, ss := range s.hub.all() {
		ss.expel(protocol.CloseRestart, nil, false)
	}
	s.server.CloseAll(protocol.CloseRestart, "restart")
	ctx, cancel := context.WithTimeout(context.Background(), drainGrace)
	defer cancel()
	if err := s.server.Wait(ctx); err != nil {
		s.log.Warn("cut the connections of clients that did not hang up", "err", err)
	}
}

// drainGrace is what connections have to end once they are closed.
const drainGrace = 10 * time.Second

// migrate asks all clients to move and waits until they have, or the window is over.
func (s *Service) migrate(end time.Time, spread time.Duration) {
	all := s.hub.all()
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	begin := time.Now()
	for i, ss := range all {
		pauseUntil(begin.Add(spread * time.Duration(i) / time.Duration(len(all))))
		m := protocol.Migrate{ByMS: max(time.Until(end).Milliseconds(), 1)}
		if urls := s.cfg.PublicURLs; len(urls) > 0 {
			m.URL = urls[rand.IntN(len(urls))]
		}
		if !ss.ended.Load() {
			ss.push(protocol.AppendMigrate(nil, &m))
		}
	}
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for time.Now().Before(end) {
		if s.server.Open() == 0 {
			return
		}
		<-ticker.C
	}
}

func pauseUntil(t time.Time) {
	if d := time.Until(t); d > 0 {
		time.Sleep(d)
	}
}

// pause waits for d or the end of ctx.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// kick makes a signal that is there already do.
func kick(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
