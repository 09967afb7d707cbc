package event

import (
	"math"
	"time"
)

// StatusRoom is the reserved room that processes say their measures in. It has
// no log; only the [Operator] may join it.
const StatusRoom RoomID = "~status"

// Operator is the reserved user of sessions that were opened with the admin
// token. Nobody else can bear the name: names that begin with ~ are reserved.
const Operator UserID = "~operator"

// Measures are what one process says of itself, once a second. What counts up
// does so from the start of the process, so that a lost event loses no count: a
// rate is the difference of two, and so is a histogram of a span of time.
type Measures struct {
	Process string `json:"process"` // one life of a process; standalone's three services share it
	Service string `json:"service"` // ingress, chat, notifier
	At      int64  `json:"at"`      // Unix ms, the process's clock
	Since   int64  `json:"since"`   // Unix ms of its start
	Memory  uint64 `json:"memory"`  // bytes that the Go runtime has from the system

	Bus      *BusMeasures      `json:"bus,omitempty"` // left out of what is past
	Ingress  *EdgeMeasures     `json:"ingress,omitempty"`
	Chat     *ChatMeasures     `json:"chat,omitempty"`
	Notifier *NotifierMeasures `json:"notifier,omitempty"`
}

// BusMeasures are how the bus stands, as seen by one process.
type BusMeasures struct {
	Heard  int64      `json:"heard"` // Unix ms when the broker last gave back what the process sent itself; 0: never
	Trip   int64      `json:"trip"`  // how long that took, µs
	Lag    []TopicLag `json:"lag,omitempty"`
	Leases []Lease    `json:"leases,omitempty"`
}

// TopicLag is what a group has not acknowledged of a topic.
type TopicLag struct {
	Topic    string `json:"topic"`
	Group    string `json:"group"`
	Messages int64  `json:"messages"` // of the bus: batches
	Bytes    int64  `json:"bytes"`
}

// Lease is a partition that the process owns as the one reader of the group.
type Lease struct {
	Topic      string `json:"topic"`
	Group      string `json:"group"`
	Partition  int    `json:"partition"`
	Generation uint64 `json:"generation"` // about the Unix ms of the taking
}

// EdgeMeasures are those of ingress.
type EdgeMeasures struct {
	Node        NodeID   `json:"node"`
	Draining    bool     `json:"draining,omitempty"`
	Connections int      `json:"connections"` // open, those before their hello included
	Stalled     int      `json:"stalled"`     // of these, waiting for a client that reads slowly
	Rooms       int      `json:"rooms"`       // with subscribers here
	Deliveries  uint64   `json:"deliveries"`  // entries given to sockets; counts up
	Latency     []uint64 `json:"latency"`     // of sends, by LatencyBucket; counts up; zeros at the end are left out
}

// ChatMeasures are those of chat.
type ChatMeasures struct {
	Messages uint64 `json:"messages"`          // entries appended; counts up
	Appends  uint64 `json:"appends"`           // calls of the store that did it; counts up
	Spent    uint64 `json:"spent"`             // µs in them; counts up
	Waiting  []int  `json:"waiting,omitempty"` // partitions owned whose log cannot be reached or mended now
}

// NotifierMeasures are those of the notifier, of the partitions that it owns.
type NotifierMeasures struct {
	Rooms    int `json:"rooms"`    // with somebody in them
	Members  int `json:"members"`  // sessions in rooms; a session in two rooms counts twice
	Sessions int `json:"sessions"` // of users, held ones included
	Nodes    int `json:"nodes"`    // edges that are not off
}

// LatencyBuckets is how many buckets a latency histogram has; the last takes
// what is longer than all bounds.
const LatencyBuckets = 36

// LatencyBucket is the bucket of a latency: bucket i ends with 125 µs · √2^i.
func LatencyBucket(d time.Duration) int {
	if d <= 125*time.Microsecond {
		return 0
	}
	i := math.Ceil(2*math.Log2(float64(d)/float64(125*time.Microsecond)) - 1e-9)
	return min(int(i), LatencyBuckets-1)
}
