package bus

import (
	"hash/fnv"
	"strconv"
	"strings"
)

// partitionMark begins a key that names its partition outright, such as
// "~partition/3", for what concerns a whole partition. It is that of
// event.PartitionKey.
const partitionMark = "~partition/"

// PartitionOf is the partition of a key among n: the one it names, or FNV-1a64
// modulo n. It is part of the stored format and must never change.
func PartitionOf(key string, n int) int {
	if rest, ok := strings.CutPrefix(key, partitionMark); ok {
		if p, err := strconv.Atoi(rest); err == nil && p >= 0 && p < n {
			return p
		}
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(key))
	return int(h.Sum64() % uint64(n))
}

// partitionTopic is the name of one partition of a topic: "commands-03".
func partitionTopic(name string, partition int) string {
	if partition < 10 {
		return name + "-0" + strconv.Itoa(partition)
	}
	return name + "-" + strconv.Itoa(partition)
}

// topicOf is the name of the topic that the event goes to.
func topicOf[E any](b *Bus, t Topic[E], e E) string {
	if t.Key == nil {
		return t.Name
	}
	return partitionTopic(t.Name, PartitionOf(t.Key(e), b.cfg.Partitions))
}
