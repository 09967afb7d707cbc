package redisbus

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill-redisstream/pkg/redisstream"
	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/parley-chat/parley/shared/bus"
)

// An entry has two fields: the driver's UUID and the envelope, which is
//
//	1 | number of metadata | (length key length value)… | payload
//
// with numbers and lengths as unsigned varints. The driver's own form has three fields
// in random order and needs msgpack to be read.
const (
	envelopeField   = "e"
	envelopeVersion = 1
)

// envelope is the driver's Marshaller and Unmarshaller. Unmarshal never fails: the
// driver would end the subscription, and the next owner's, at that entry for ever.
type envelope struct{}

var _ redisstream.MarshallerUnmarshaller = envelope{}

// Marshal makes the entry's fields.
func (envelope) Marshal(_ string, msg *message.Message) (map[string]any, error) {
	return map[string]any{redisstream.UUIDHeaderKey: msg.UUID, envelopeField: pack(msg)}, nil
}

// Unmarshal reads an entry. One that is not ours becomes a message with bus.MetaMalformed.
func (envelope) Unmarshal(values map[string]any) (*message.Message, error) {
	uuid, hasUUID := values[redisstream.UUIDHeaderKey].(string)
	packed, hasEnvelope := values[envelopeField].(string)
	if !hasUUID || !hasEnvelope || len(values) != 2 {
		return malformed(uuid, raw(values), "not an entry of the bus: its fields are "+fieldNames(values)), nil
	}
	metadata, payload, err := unpack([]byte(packed))
	if err != nil {
		return malformed(uuid, []byte(packed), err.Error()), nil
	}
	msg := message.NewMessage(uuid, payload)
	msg.Metadata = metadata
	return msg, nil
}

func malformed(uuid string, payload []byte, why string) *message.Message {
	if uuid == "" {
		uuid = watermill.NewUUID()
	}
	msg := message.NewMessage(uuid, payload)
	msg.Metadata.Set(bus.MetaMalformed, why)
	return msg
}

// raw is what a foreign entry carries: the value, if it is one; all fields, quoted, a
// line each, if they are more.
func raw(values map[string]any) []byte {
	names := sortedNames(values)
	if len(names) == 1 {
		return fmt.Append(nil, values[names[0]])
	}
	var b []byte
	for _, name := range names {
		b = fmt.Appendf(b, "%q=%q\n", name, fmt.Sprint(values[name]))
	}
	return b
}

func sortedNames(values map[string]any) []string {
	names := make([]string, 0, len(values))
	for name := range values {
		if name != redisstream.UUIDHeaderKey {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// fieldNames names the fields for a log line, which a stranger must not be able to make long.
func fieldNames(values map[string]any) string {
	const most = 100
	text := fmt.Sprintf("%q", strings.Join(sortedNames(values), " "))
	if len(text) > most {
		return text[:most] + "…"
	}
	return text
}

func pack(msg *message.Message) []byte {
	size := 1 + 3 + len(msg.Payload)
	for k, v := range msg.Metadata {
		size += len(k) + len(v) + 6
	}
	b := append(make([]byte, 0, size), envelopeVersion)
	b = binary.AppendUvarint(b, uint64(len(msg.Metadata)))
	for k, v := range msg.Metadata {
		b = appendString(appendString(b, k), v)
	}
	return append(b, msg.Payload...)
}

func unpack(b []byte) (message.Metadata, []byte, error) {
	if len(b) == 0 {
		return nil, nil, errors.New("empty envelope")
	}
	if b[0] != envelopeVersion {
		return nil, nil, fmt.Errorf("envelope version %d: this reader knows %d", b[0], envelopeVersion)
	}
	count, n := binary.Uvarint(b[1:])
	// Each pair takes two bytes at least: a count beyond that is a lie that would cost memory.
	if n <= 0 || count > uint64(len(b))/2 {
		return nil, nil, errors.New("envelope: bad number of metadata")
	}
	b = b[1+n:]
	metadata := make(message.Metadata, count)
	for range count {
		var k, v string
		var ok bool
		if k, b, ok = cutString(b); ok {
			v, b, ok = cutString(b)
		}
		if !ok {
			return nil, nil, errors.New("envelope: metadata cut short")
		}
		metadata[k] = v
	}
	return metadata, b, nil
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
