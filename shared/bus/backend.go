package bus

import (
	"context"
	"strings"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
)

// Backend is a broker: Watermill's two interfaces, leases, and what keeps topics
// tidy. Everything above it (batches, numbering, retry, dead letters, partitions)
// stands once, in this package. All methods are safe for concurrent use; topics
// are names without prefix, such as "commands-03", "deliveries-edge1-4f2a".
// An error that means "the broker cannot be reached or refuses now" wraps
// [ErrUnavailable]. A backend passes package bustest.
type Backend interface {
	// Publisher returns the shared publisher. Publish returns when the broker has
	// the messages, does not retry on its own (a retry after a lost reply is a
	// duplicate), and honours the deadline of the messages' context. Its order is the
	// order of calls of one goroutine. Publishing to a topic that is missing makes it,
	// or fails; where the message's context is [OnlyIfThere] it fails with [ErrNoTopic]. A
	// message's UUID is equal in all tries of one publish.
	Publisher() message.Publisher
	// Subscriber opens a subscriber for one subscription of the group, with a
	// client of its own: Close closes it. Its Subscribe delivers first, in order,
	// what the group was given before and never acknowledged, then what is new; it
	// creates topic and group when they are missing (a new group starts at the oldest
	// message). One message is in flight until acked or nacked (a nack brings
	// it again after ≥ 100 ms); a [Batcher] has a batch in flight. The channel closes when the context ends, when the
	// subscription cannot go on (group destroyed, topic dropped or of a wrong type, connection
	// lost for good): the supervisor then subscribes anew. Close may be called twice;
	// it does not wait for handlers, and sends the acknowledgements given before it.
	// Malformed entries arrive as messages whose Metadata has MetaMalformed set, with
	// the raw bytes as payload.
	Subscriber(ctx context.Context, group string) (message.Subscriber, error)

	// EnsureTopic makes a topic and its groups, so that nothing published from now on
	// is missed; there may be no groups (dead letters). With ttl > 0 the topic goes by
	// itself when it was not ensured for so long (where the broker can do that).
	EnsureTopic(ctx context.Context, topic string, groups []string, ttl time.Duration) error
	// DropTopic removes a topic with all that is in it. Dropping none is no error.
	DropTopic(ctx context.Context, topic string) error
	// Trim removes what all the groups have acknowledged, and nothing else. Groups
	// that are not named do not hold it back: they are reported, and destroyed after an hour without a read.
	Trim(ctx context.Context, topic string, groups []string) error
	// Depth tells what the group has not acknowledged.
	Depth(ctx context.Context, topic, group string) (Depth, error)

	// Lease takes or renews the named lease for the holder, and tells whether the
	// holder has it now. Its generation is higher for each new holding, also across a
	// flush of the broker (it is at least the Unix time in ms of the taking), and
	// equal while one holding is renewed.
	Lease(ctx context.Context, name, holder string, ttl time.Duration) (l Lease, err error)
	// Release gives the lease up, if the holder has it under this generation: a release that
	// was long on its way does not end the holder's next holding.
	Release(ctx context.Context, name, holder string, generation uint64) error
	// Announce adds the member to the set, or renews it, for ttl. lapsed tells that it was
	// not in the set before this call.
	Announce(ctx context.Context, set, member string, ttl time.Duration) (lapsed bool, err error)
	// Withdraw removes the member.
	Withdraw(ctx context.Context, set, member string) error
	// Members lists the live members of the set, sorted.
	Members(ctx context.Context, set string) ([]string, error)

	// Settle writes the value under the name unless there is one already, and
	// returns the one in force. It is for facts fixed at the first start.
	Settle(ctx context.Context, name, value string) (string, error)
	// Durable is false for the in-memory backend only.
	Durable() bool
	// Close ends everything that was opened. No call may follow.
	Close() error
}

// Batcher is a Subscriber that hands over at once what lies there, so that a busy
// reader works off many messages with one call of its consumer.
type Batcher interface {
	message.Subscriber
	// SubscribeBatches is Subscribe with one batch in flight instead of one message. The
	// reader acks its messages in order; after a nack that message and those behind it come again.
	SubscribeBatches(ctx context.Context, topic string) (<-chan []*message.Message, error)
}

// Lease is the answer to Backend.Lease.
type Lease struct {
	Held       bool
	Generation uint64 // of the present holding, if Held
}

type onlyIfThere struct{}

// OnlyIfThere tells whether a message must not make its topic: its reader makes that, and who
// drops it when the reader is gone would not know that there is another one.
func OnlyIfThere(ctx context.Context) bool { return ctx.Value(onlyIfThere{}) != nil }

// MetaMalformed marks, in a message's metadata, an entry that is not one of ours;
// its value says why.
const MetaMalformed = "parley_malformed"

// HashTag is what keeps the keys of one partition in one slot of a Redis
// Cluster: "p03" for "commands-03", the topic itself where it has no number.
func HashTag(topic string) string {
	i := strings.LastIndexByte(topic, '-')
	if i < 0 || len(topic)-i < 3 {
		return topic
	}
	for _, c := range topic[i+1:] {
		if c < '0' || c > '9' {
			return topic
		}
	}
	return "p" + topic[i+1:]
}
