package event

import (
	"hash/fnv"
	"slices"
	"strconv"
)

// Key is the room or user that the command concerns; it picks the partition.
func (c Command) Key() string {
	switch {
	case c.Sync != nil:
		return PartitionKey(c.Sync.Partition)
	case c.Find != nil:
		return string(c.Find.User)
	case c.Room != "":
		return string(c.Room)
	default:
		return string(c.User)
	}
}

// Key is that of the command that caused the event.
func (e Event) Key() string {
	switch {
	case e.Epoch != nil:
		return PartitionKey(e.Epoch.Partition)
	case e.Synced != nil:
		return PartitionKey(e.Synced.Sync.Partition)
	case e.Find != nil:
		return string(e.Find.User)
	case e.Room != "":
		return string(e.Room)
	default:
		return string(e.User)
	}
}

// A key that begins with partitionMark names a partition itself. Rooms and users
// cannot: names that begin with ~ are reserved.
const partitionMark = "~partition/"

// PartitionKey is the key of what concerns a whole partition.
func PartitionKey(partition int) string { return partitionMark + strconv.Itoa(partition) }

// PartitionFor is PartitionOf, except that keys made by PartitionKey name their
// partition outright.
func PartitionFor(key string, n int) int {
	if len(key) > len(partitionMark) && key[:len(partitionMark)] == partitionMark {
		if p, err := strconv.Atoi(key[len(partitionMark):]); err == nil && p >= 0 && p < n {
			return p
		}
	}
	return PartitionOf(key, n)
}

// RoomHash is a hash of who of a node is in a room, independent of their order.
// It is never 0.
func RoomHash(sessions []Who) uint64 {
	var sum uint64
	for _, s := range sessions {
		h := fnv.New64a()
		_, _ = h.Write([]byte(s.Session))
		_, _ = h.Write(strconv.AppendUint([]byte{0}, uint64(s.Life), 10))
		sum += h.Sum64()
	}
	return max(sum, 1)
}

// Kind names the one part that is set, in the words of the wire; "" for a kind
// that this build does not know.
func (c Command) Kind() string {
	return kind(
		part{"join", c.Join != nil}, part{"leave", c.Leave != nil}, part{"post", c.Post != nil},
		part{"read", c.Read != nil}, part{"members", c.Members != nil}, part{"find", c.Find != nil},
		part{"type", c.Type != nil}, part{"signal", c.Signal != nil}, part{"openSession", c.OpenSession != nil},
		part{"closeSession", c.CloseSession != nil}, part{"sync", c.Sync != nil},
		part{"trace", c.Trace != nil})
}

// Kind names the one part that is set; "" for an unknown kind.
func (e Event) Kind() string {
	return kind(
		part{"posted", e.Posted != nil}, part{"accepted", e.Accepted != nil}, part{"refused", e.Refused != nil},
		part{"joined", e.Joined != nil}, part{"left", e.Left != nil}, part{"page", e.Page != nil},
		part{"members", e.Members != nil}, part{"find", e.Find != nil}, part{"typing", e.Typing != nil},
		part{"signal", e.Signal != nil}, part{"opened", e.Opened != nil}, part{"closed", e.Closed != nil},
		part{"synced", e.Synced != nil}, part{"epoch", e.Epoch != nil}, part{"trace", e.Trace != nil}, part{"measured", e.Measured != nil})
}

// Kind names the one part that is set; "" for an unknown kind.
func (d Delivery) Kind() string {
	return kind(
		part{"posted", d.Posted != nil}, part{"accepted", d.Accepted != nil}, part{"refused", d.Refused != nil},
		part{"joined", d.Joined != nil}, part{"page", d.Page != nil}, part{"members", d.Members != nil},
		part{"found", d.Found != nil}, part{"typing", d.Typing != nil}, part{"signal", d.Signal != nil},
		part{"presence", d.Presence != nil}, part{"replaced", d.Replaced != nil}, part{"synced", d.Synced != nil},
		part{"syncAsk", d.SyncAsk != nil}, part{"epoch", d.Epoch != nil}, part{"trace", d.Trace != nil}, part{"measured", d.Measured != nil})
}

// Volatile tells whether the event may be dropped when it is old or a queue is full.
func (e Event) Volatile() bool {
	return e.Typing != nil || e.Signal != nil || e.Trace != nil || e.Measured != nil
}

// Volatile tells whether the command may be dropped when it is old or a queue is full.
func (c Command) Volatile() bool { return c.Type != nil || c.Signal != nil || c.Trace != nil }

type part struct {
	name string
	set  bool
}

func kind(parts ...part) string {
	if i := slices.IndexFunc(parts, func(p part) bool { return p.set }); i >= 0 {
		return parts[i].name
	}
	return ""
}
