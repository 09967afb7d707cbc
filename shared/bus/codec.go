package bus

import (
	"encoding/binary"
	"fmt"

	"github.com/fxamacker/cbor/v2"
)

// A bus message's payload is one CBOR array (RFC 8949) of its events. Struct
// fields go by their json tags, and fields that a reader does not know are
// ignored, so fields can be added while services of both kinds run. Whatever
// else changes raises schemaVersion.
const schemaVersion = "1"

// encode is one event as a CBOR item. Batches are made of encoded items, so that
// each event is encoded once, by the goroutine that publishes it.
func encode[E any](e E) ([]byte, error) { return cbor.Marshal(e) }

// joinItems makes the payload of encoded items, whose lengths add up to size.
func joinItems(items [][]byte, size int) []byte {
	const arrayType = 4 << 5
	payload := make([]byte, 0, size+3)
	switch n := len(items); {
	case n < 24:
		payload = append(payload, arrayType|byte(n))
	case n < 1<<8:
		payload = append(payload, arrayType|24, byte(n))
	default: // a batch never has more than 1<<16 events
		payload = append(payload, arrayType|25)
		payload = binary.BigEndian.AppendUint16(payload, uint16(n))
	}
	for _, item := range items {
		payload = append(payload, item...)
	}
	return payload
}

func decode[E any](payload []byte, count int) ([]E, error) {
	events := make([]E, 0, min(count, 1<<16-1))
	if err := cbor.Unmarshal(payload, &events); err != nil {
		return nil, fmt.Errorf("decode: %w", err)
	}
	if len(events) != count {
		return nil, fmt.Errorf("decode: payload has %d events, its header says %d", len(events), count)
	}
	return events, nil
}
