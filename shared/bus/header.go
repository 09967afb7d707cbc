package bus

import (
	"fmt"
	"strconv"

	"github.com/ThreeDotsLabs/watermill/message"
)

// header is the metadata of a bus message.
type header struct {
	scope      string // the role that speaks: an edge's node, "chat-03", "notifier-03"
	generation uint64 // of the scope's present holder: a higher one has overtaken this one
	life       string // random, of one writer on one topic: its numbers count from 1
	number     uint64
	count      int    // of events; 0: a repeat of the last number
	trace      string // W3C traceparent
}

const (
	metaSchema     = "schema"
	metaScope      = "scope"
	metaGeneration = "generation"
	metaLife       = "life"
	metaNumber     = "number"
	metaCount      = "count"
	metaTrace      = "traceparent"
)

func (h header) metadata() message.Metadata {
	m := message.Metadata{
		metaSchema:     schemaVersion,
		metaScope:      h.scope,
		metaGeneration: strconv.FormatUint(h.generation, 10),
		metaLife:       h.life,
		metaNumber:     strconv.FormatUint(h.number, 10),
		metaCount:      strconv.Itoa(h.count),
	}
	if h.trace != "" {
		m[metaTrace] = h.trace
	}
	return m
}

// message makes the message anew for each try; its UUID is equal in all of them,
// so that brokers which deduplicate can.
func (h header) message(payload []byte) *message.Message {
	msg := message.NewMessage(h.life+"."+strconv.FormatUint(h.number, 10), payload)
	if h.count == 0 {
		msg.UUID += "." + h.trace // every repeat is a message of its own
	}
	msg.Metadata = h.metadata()
	return msg
}

func parseHeader(m message.Metadata) (header, error) {
	h := header{scope: m[metaScope], life: m[metaLife], trace: m[metaTrace]}
	if v := m[metaSchema]; v != schemaVersion {
		return h, fmt.Errorf("schema %q: this build reads %s", v, schemaVersion)
	}
	if h.scope == "" || h.life == "" {
		return h, fmt.Errorf("metadata without %s or %s", metaScope, metaLife)
	}
	var err error
	if h.generation, err = strconv.ParseUint(m[metaGeneration], 10, 64); err != nil {
		return h, fmt.Errorf("%s: %w", metaGeneration, err)
	}
	if h.number, err = strconv.ParseUint(m[metaNumber], 10, 64); err != nil {
		return h, fmt.Errorf("%s: %w", metaNumber, err)
	}
	if h.count, err = strconv.Atoi(m[metaCount]); err != nil {
		return h, fmt.Errorf("%s: %w", metaCount, err)
	}
	if h.number == 0 || h.count < 0 {
		return h, fmt.Errorf("number %d with %d events", h.number, h.count)
	}
	return h, nil
}
