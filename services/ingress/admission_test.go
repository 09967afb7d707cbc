package ingress

import (
	"testing"
	"time"
)

// queue is a chat before which sends wait, in a time of its own: each millisecond
// some come, and some are answered, in batches as on the bus.
type queue struct {
	gate  admission
	batch int64 // ms between two batches of answers
	now   int64
	sent  float64 // of the next one
	done  float64
	since []int64 // when those that wait were taken
	seen  seen
}

// seen is what senders had of a period.
type seen struct {
	taken, refused, answered int
	longest, most            time.Duration // wait for an answer; what a refusal told to wait
	shortest                 time.Duration // the latter
	flight                   int
}

const usual = 20 // ms between two batches of answers

// run has so many sends a second come, and so many answered at most, for a while.
func (q *queue) run(sends, answers float64, d time.Duration) seen {
	q.seen = seen{shortest: time.Hour}
	for range int(d / time.Millisecond) {
		q.now += int64(time.Millisecond)
		for q.sent += sends / 1000; q.sent >= 1; q.sent-- {
			q.send()
		}
		if q.done += answers / 1000; len(q.since) == 0 {
			q.done = min(q.done, 1) // who has nothing to do saves nothing up
		}
		if q.now/int64(time.Millisecond)%q.batch == 0 {
			for ; q.done >= 1 && len(q.since) > 0; q.done-- {
				q.answer()
			}
		}
	}
	return q.seen
}

func (q *queue) send() {
	retry, taken := q.gate.enter(q.now)
	if !taken {
		q.seen.refused++
		q.seen.most, q.seen.shortest = max(q.seen.most, retry), min(q.seen.shortest, retry)
		return
	}
	q.seen.taken++
	q.since = append(q.since, q.now)
	q.seen.flight = max(q.seen.flight, len(q.since))
}

func (q *queue) answer() {
	at := q.since[0]
	q.since = q.since[1:]
	q.gate.leave()
	q.gate.answered(at, q.now)
	q.seen.answered++
	q.seen.longest = max(q.seen.longest, time.Duration(q.now-at))
}

func newQueue() *queue {
	return &queue{gate: admission{wait: int64(time.Second)}, now: int64(time.Minute), batch: usual}
}

func TestQuietSendsAreAllTaken(t *testing.T) {
	q := newQueue()
	for _, load := range []struct{ sends, answers float64 }{{1, 1000}, {100, 2000}, {0, 2000}, {950, 1000}} {
		if got := q.run(load.sends, load.answers, 20*time.Second); got.refused > 0 {
			t.Errorf("%v: %d of %d refused", load, got.refused, got.refused+got.taken)
		}
	}
	for range 700 { // a burst is no overload: it is done in 0.7 s
		q.send()
	}
	if got := q.run(300, 1000, 5*time.Second); got.refused > 0 {
		t.Errorf("after a burst %d refused", got.refused)
	}
}

func TestOverloadIsRefusedAndPasses(t *testing.T) {
	for _, times := range []float64{1.2, 2, 3, 10} {
		q := newQueue()
		q.run(300, 1000, 5*time.Second)
		onset := q.run(times*1000, 1000, 4*time.Second)
		if onset.flight > 2000+int(times*1000) {
			t.Errorf("%v times: %d wait", times, onset.flight)
		}
		q.run(times*1000, 1000, 6*time.Second)
		steady := q.run(times*1000, 1000, 20*time.Second)
		if steady.longest > time.Second {
			t.Errorf("%v times: a send waited %s", times, steady.longest)
		}
		if steady.answered < 19_500 {
			t.Errorf("%v times: %d of 20000 possible answered", times, steady.answered)
		}
		if steady.refused == 0 || steady.shortest < minRetry || steady.most > maxRetry {
			t.Errorf("%v times: %d refused, for %s to %s", times, steady.refused, steady.shortest, steady.most)
		}
		q.run(500, 1000, 2*time.Second)
		if after := q.run(500, 1000, 3*time.Second); after.refused > 0 || after.longest > 100*time.Millisecond {
			t.Errorf("%v times, after it: %d refused, a send waited %s", times, after.refused, after.longest)
		}
	}
}

// TestTakeoverIsWaitedOut: while nobody owns the partition, and while the next owner
// catches up, everything is taken.
func TestTakeoverIsWaitedOut(t *testing.T) {
	for _, pause := range []time.Duration{300 * time.Millisecond, 600 * time.Millisecond, time.Second, 3 * time.Second, 10 * time.Second} {
		q := newQueue()
		q.run(500, 1000, 5*time.Second)
		q.run(500, 0, pause)
		q.done = 0
		after := q.run(500, 1000, 20*time.Second)
		if after.refused > 0 || len(q.since) > 50 {
			t.Errorf("after %s: %d refused, %d wait", pause, after.refused, len(q.since))
		}
	}
}

// TestOverloadAfterATakeover: what is more than catching up is refused, at last.
func TestOverloadAfterATakeover(t *testing.T) {
	q := newQueue()
	q.run(500, 1000, 5*time.Second)
	q.run(500, 0, 4*time.Second)
	q.run(3000, 1000, 15*time.Second)
	if got := q.run(3000, 1000, 10*time.Second); got.longest > time.Second || got.answered < 9500 {
		t.Errorf("a send waited %s, %d answered", got.longest, got.answered)
	}
}

// TestAnswersInFits: a machine without processors left answers by fits and starts. That
// is overload, however long it is silent.
func TestAnswersInFits(t *testing.T) {
	for _, silence := range []int64{300, 600, 1200} {
		q := newQueue()
		q.batch = silence
		q.run(3000, 1000, 20*time.Second)
		got := q.run(3000, 1000, 30*time.Second)
		if got.longest > time.Second+2*time.Duration(silence)*time.Millisecond || got.answered < 27_000 {
			t.Errorf("silent for %d ms: a send waited %s, %d answered", silence, got.longest, got.answered)
		}
	}
}

// TestTakeoverUnderOverload: a queue that stood before the pause is not made longer
// in it, and those that nobody waits for any more leave room.
func TestTakeoverUnderOverload(t *testing.T) {
	q := newQueue()
	q.run(3000, 1000, 10*time.Second)
	if got := q.run(3000, 0, 5*time.Second); got.flight > 1000 {
		t.Errorf("%d wait", got.flight)
	}
	for range q.since { // they time out
		q.gate.leave()
	}
	q.since = nil
	if got := q.run(100, 1000, 5*time.Second); got.refused > 0 {
		t.Errorf("%d refused when all is over", got.refused)
	}
}

// TestLostSendsAreNotWaitedFor: a broker that comes back empty has lost what was on its way,
// which stays unanswered until it times out. That keeps nobody out.
func TestLostSendsAreNotWaitedFor(t *testing.T) {
	q := newQueue()
	q.run(3000, 1000, 10*time.Second)
	q.run(3000, 0, 200*time.Millisecond)
	q.since = nil
	q.run(500, 1000, 1500*time.Millisecond)
	if got := q.run(500, 1000, 8*time.Second); got.refused > 0 {
		t.Errorf("%d refused, %d taken", got.refused, got.taken)
	}
}

// TestSlowAnswersAreNotAQueue: where each answer takes long however few are asked, some
// are always taken.
func TestSlowAnswersAreNotAQueue(t *testing.T) {
	gate := admission{wait: int64(time.Second)}
	now := int64(time.Minute)
	for range 50 {
		for range minFlight {
			if retry, taken := gate.enter(now); !taken {
				t.Fatalf("refused for %s", retry)
			}
		}
		for i := range minFlight {
			gate.leave()
			gate.answered(now, now+int64(800*time.Millisecond)+int64(i))
		}
		now += int64(900 * time.Millisecond)
	}
}

func TestNoBoundOnWaiting(t *testing.T) {
	q := newQueue()
	q.gate.wait = 0
	if got := q.run(3000, 1000, 20*time.Second); got.refused > 0 {
		t.Errorf("%d refused", got.refused)
	}
}

func BenchmarkAdmission(b *testing.B) {
	gate := admission{wait: int64(time.Second)}
	for now := int64(1); b.Loop(); now += int64(time.Millisecond) {
		gate.enter(now)
		gate.leave()
		gate.answered(now, now+1000)
	}
}
