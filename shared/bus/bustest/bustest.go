// Package bustest is the conformance suite of bus backends: Watermill's universal
// suite on the raw backend, then ours, on the raw backend and through package bus.
// A backend that passes keeps what docs/guarantees.md promises.
package bustest

import (
	"testing"

	"github.com/parley-chat/parley/shared/bus"
)

// Harness is a broker under test. Hooks that make no sense for it are nil; the
// tests that need them are skipped.
type Harness struct {
	// New opens one more backend on the broker, as another process would. The suite closes it.
	New func(t *testing.T) bus.Backend

	Restart func(t *testing.T) // ends the broker and starts it again with what it had stored
	Pause   func(t *testing.T) // the broker stops answering; its connections stay
	Resume  func(t *testing.T)
	Flush   func(t *testing.T) // everything in the broker is gone

	// Inject puts an entry into the topic that is none of ours and breaks its form,
	// as a foreign program would.
	Inject func(t *testing.T, topic string)
}

// Run runs everything. The broker must be empty, and is the suite's alone; it
// takes about a minute.
func Run(t *testing.T, h Harness) {
	t.Run("Watermill", func(t *testing.T) { runWatermill(t, h) })
	t.Run("Together", func(t *testing.T) {
		for name, test := range together {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				test(t, newWorld(t, h))
			})
		}
	})
	for _, test := range apart {
		t.Run(test.name, func(t *testing.T) { test.run(t, newWorld(t, h)) })
	}
}

// The tests that may run at the same time.
var together = map[string]func(*testing.T, *world){
	"Lease":           testLease,
	"Set":             testSet,
	"Settle":          testSettle,
	"PendingFirst":    testPendingFirst,
	"Nack":            testNack,
	"Trim":            testTrim,
	"DropTopic":       testDropTopic,
	"Order":           testOrder,
	"GroupCommit":     testGroupCommit,
	"BigEvents":       testBigEvents,
	"BufferFull":      testBufferFull,
	"ComeAndGo":       testComeAndGo,
	"FairShare":       testFairShare,
	"PausedReader":    testPausedReader,
	"Handover":        testHandover,
	"RetryThenBury":   testRetryThenBury,
	"Permanent":       testPermanent,
	"Unavailable":     testUnavailable,
	"Panic":           testPanic,
	"WrongType":       testWrongType,
	"Foreign":         testForeign,
	"LostInPublish":   testLostInPublish,
	"LostLast":        testLostLast,
	"Swallowed":       testSwallowed,
	"PublishedTwice":  testPublishedTwice,
	"Fencing":         testFencing,
	"FailedPublish":   testFailedPublish,
	"HighWater":       testHighWater,
	"Read":            testRead,
	"LateForDropped":  testLateForADroppedTopic,
	"Announce":        testAnnounce,
	"OtherPartitions": testOtherPartitions,
	"Health":          testHealth,
}

// The tests that disturb the broker, one after another.
var apart = []struct {
	name string
	run  func(*testing.T, *world)
}{
	{"BrokerRestart", testBrokerRestart},
	{"BrokerAway", testBrokerAway},
	{"BrokerFlushed", testBrokerFlushed},
}
