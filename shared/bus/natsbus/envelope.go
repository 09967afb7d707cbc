package natsbus

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go"

	"github.com/parley-chat/parley/shared/bus"
)

// A message's data is the envelope:
//
//	'P' 1 | length UUID | number of metadata | (length key length value)… | payload
//
// with numbers and lengths as unsigned varints. Headers would do, but not for
// every metadata: they take no line breaks and no colons in keys, and trim values.
const (
	envelopeMagic   = 'P'
	envelopeVersion = 1
)

func pack(msg *message.Message) []byte {
	size := 2 + 3 + len(msg.UUID) + 3 + len(msg.Payload)
	for k, v := range msg.Metadata {
		size += len(k) + len(v) + 6
	}
	b := append(make([]byte, 0, size), envelopeMagic, envelopeVersion)
	b = appendString(b, msg.UUID)
	b = binary.AppendUvarint(b, uint64(len(msg.Metadata)))
	for k, v := range msg.Metadata {
		b = appendString(appendString(b, k), v)
	}
	return append(b, msg.Payload...)
}

// open reads a message of the stream. One that is not ours becomes a message with
// bus.MetaMalformed.
func open(data []byte) *message.Message {
	uuid, metadata, payload, err := unpack(data)
	if err != nil {
		msg := message.NewMessage(watermill.NewUUID(), data)
		msg.Metadata.Set(bus.MetaMalformed, err.Error())
		return msg
	}
	msg := message.NewMessage(uuid, payload)
	msg.Metadata = metadata
	return msg
}

func unpack(b []byte) (uuid string, metadata message.Metadata, payload []byte, err error) {
	if len(b) < 2 || b[0] != envelopeMagic {
		return "", nil, nil, errors.New("not a message of the bus: it has no envelope")
	}
	if b[1] != envelopeVersion {
		return "", nil, nil, fmt.Errorf("envelope version %d: this reader knows %d", b[1], envelopeVersion)
	}
	uuid, b, ok := cutString(b[2:])
	if !ok {
		return "", nil, nil, errors.New("envelope: UUID cut short")
	}
	count, n := binary.Uvarint(b)
	// Each pair takes two bytes at least: a count beyond that is a lie that would cost memory.
	if n <= 0 || count > uint64(len(b)-n)/2 {
		return "", nil, nil, errors.New("envelope: bad number of metadata")
	}
	b = b[n:]
	metadata = make(message.Metadata, count)
	for range count {
		var k, v string
		if k, b, ok = cutString(b); ok {
			v, b, ok = cutString(b)
		}
		if !ok {
			return "", nil, nil, errors.New("envelope: metadata cut short")
		}
		metadata[k] = v
	}
	return uuid, metadata, b, nil
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func cutString(b []byte) (s string, rest []byte, ok bool) {
	length, n := binary.Uvarint(b)
	if n <= 0 || length > uint64(len(b)-n) {
		return "", nil, false
	}
	end := n + int(length)
	return string(b[n:end]), b[end:], true
}

// identify makes the server drop a repeat of the message within dedupeWindow. A UUID that
// does not fit a header goes without.
func identify(m *nats.Msg, uuid string) {
	if uuid == "" {
		return
	}
	for _, c := range []byte(uuid) {
		if c <= ' ' || c > '~' {
			return
		}
	}
	m.Header = nats.Header{nats.MsgIdHdr: []string{uuid}}
}
