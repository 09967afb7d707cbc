package bus

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
)

// Inspector is what a broker's backend lets operators do besides: they read along
// without being a group, so that nobody waits for them and nothing is kept for
// them, and take single messages away. Nothing that runs needs it. Errors are as
// with [Backend].
type Inspector interface {
	// Scan returns messages of the topic behind a place ("": from the oldest), in
	// order, at most limit; none where the topic is missing.
	Scan(ctx context.Context, topic, behind string, limit int) ([]Stored, error)
	// Newest is the place of the newest message; "" where there is none.
	Newest(ctx context.Context, topic string) (place string, err error)
	// Remove takes the message at a place away, and tells whether it was there.
	Remove(ctx context.Context, topic, place string) (bool, error)
	// Holder tells who has a lease now; "" for nobody.
	Holder(ctx context.Context, lease string) (holder string, generation uint64, err error)
	// Settled is the value that was settled under the name; "" where none was.
	Settled(ctx context.Context, name string) (string, error)
}

// Stored is a message as the broker has it.
type Stored struct {
	Topic    string
	Place    string // in its topic, by which it is scanned and removed
	At       time.Time
	UUID     string
	Metadata map[string]string
	Payload  []byte
}

// Inspect is the backend's Inspector; memory has none, because nobody else can
// reach it.
func Inspect(b Backend) (Inspector, error) {
	if i, ok := b.(Inspector); ok {
		return i, nil
	}
	return nil, errors.New("this bus cannot be looked into from outside: it is in the memory of a process")
}

// Envelope is what a bus message says about itself.
type Envelope struct {
	Scope       string `json:"scope"`
	Generation  uint64 `json:"generation"`
	Life        string `json:"life"`
	Number      uint64 `json:"number"`
	Count       int    `json:"count"` // of events; 0: a repeat of the writer's last number
	Traceparent string `json:"traceparent,omitempty"`
}

// Envelope reads what the message says about itself. An error tells why it is not
// one of the bus.
func (s Stored) Envelope() (Envelope, error) {
	if why := s.Metadata[MetaMalformed]; why != "" {
		return Envelope{}, errors.New(why)
	}
	h, err := parseHeader(s.Metadata)
	return Envelope{h.scope, h.generation, h.life, h.number, h.count, h.trace}, err
}

// Unpack reads the events of a stored message.
func Unpack[E any](s Stored) ([]E, error) {
	e, err := s.Envelope()
	if err != nil || e.Count == 0 {
		return nil, err
	}
	return decode[E](s.Payload, e.Count)
}

// PartitionTopic is the name of one partition of a topic: "commands-03".
func PartitionTopic(topic string, partition int) string { return partitionTopic(topic, partition) }

// MemberSet names the set of a group's live members, for Members.
func MemberSet(topic, group string) string { return registration{topic: topic, group: group}.set() }

// LeaseName names the lease of one partition for a group, for Holder.
func LeaseName(topic, group string, partition int) string {
	return partitionTopic(MemberSet(topic, group), partition)
}

// Replay publishes a dead letter's events once more to where they were read, as a
// writer of their own: under their old number they would count as handled. Whoever
// reads them handles them anew, behind what has been published meanwhile. It is for
// partitions, which live for ever; the reader of another topic is gone.
func Replay(ctx context.Context, b Backend, s Stored) error {
	e, err := s.Envelope()
	if err != nil {
		return fmt.Errorf("not a message of the bus (%w): it can only be dropped", err)
	}
	topic := s.Metadata[MetaDeadTopic]
	if HashTag(topic) == topic || e.Count == 0 {
		return fmt.Errorf("it was for %q, which is read by one process that has gone on without it: it can only be dropped", topic)
	}
	life := strings.ToLower(rand.Text())
	h := header{scope: "operator-" + life[:8], life: life, number: 1, count: e.Count, trace: e.Traceparent}
	msg := h.message(s.Payload)
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	msg.SetContext(ctx)
	if err := b.Publisher().Publish(topic, msg); err != nil {
		return fmt.Errorf("replay to %s: %w", topic, err)
	}
	return nil
}

// StoredMessage is for backends: what they have of a message.
func StoredMessage(topic, place string, at time.Time, msg *message.Message) Stored {
	return Stored{Topic: topic, Place: place, At: at, UUID: msg.UUID, Metadata: msg.Metadata, Payload: msg.Payload}
}
