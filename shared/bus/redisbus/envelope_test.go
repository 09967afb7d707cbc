package redisbus

import (
	"maps"
	"strings"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/parley-chat/parley/shared/bus"
)

func TestEnvelope(t *testing.T) {
	for name, metadata := range map[string]message.Metadata{
		"none": {},
		"some": {"scope": "chat-03", "empty": "", "": "nameless", "long": strings.Repeat("x", 300)},
	} {
		for _, payload := range []string{"", "p", "\x00\xff"} {
			msg := message.NewMessage("u", []byte(payload))
			msg.Metadata = metadata
			values, err := envelope{}.Marshal("t", msg)
			if err != nil {
				t.Fatal(err)
			}
			got, err := envelope{}.Unmarshal(map[string]any{"_watermill_message_uuid": "u", "e": string(values["e"].([]byte))})
			if err != nil {
				t.Fatal(err)
			}
			if got.UUID != "u" || string(got.Payload) != payload || !maps.Equal(got.Metadata, metadata) {
				t.Errorf("%s: got %v %q %v", name, got.UUID, got.Payload, got.Metadata)
			}
		}
	}
}

func TestMalformedEnvelope(t *testing.T) {
	const uuid = "_watermill_message_uuid"
	for name, c := range map[string]struct {
		values  map[string]any
		payload string
	}{
		"no fields":        {nil, ""},
		"no UUID":          {map[string]any{"e": "\x01\x00p"}, "\x01\x00p"},
		"no envelope":      {map[string]any{uuid: "u"}, ""},
		"the driver's own": {map[string]any{uuid: "u", "payload": "p", "metadata": ""}, "\"metadata\"=\"\"\n\"payload\"=\"p\"\n"},
		"one foreign":      {map[string]any{"f": "v\xff"}, "v\xff"},
		"one more":         {map[string]any{uuid: "u", "e": "\x01\x00p", "f": "v"}, "\"e\"=\"\\x01\\x00p\"\n\"f\"=\"v\"\n"},
		"no string":        {map[string]any{uuid: "u", "e": 1}, "1"},
		"empty":            {map[string]any{uuid: "u", "e": ""}, ""},
		"other version":    {map[string]any{uuid: "u", "e": "\x02\x00p"}, "\x02\x00p"},
		"no count":         {map[string]any{uuid: "u", "e": "\x01"}, "\x01"},
		"count too high":   {map[string]any{uuid: "u", "e": "\x01\xff\xff\xff\xff\x0fkv"}, "\x01\xff\xff\xff\xff\x0fkv"},
		"metadata cut":     {map[string]any{uuid: "u", "e": "\x01\x01\x01k\x05v"}, "\x01\x01\x01k\x05v"},
		"endless length":   {map[string]any{uuid: "u", "e": "\x01\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"}, "\x01\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"},
	} {
		msg, err := envelope{}.Unmarshal(c.values)
		if err != nil {
			t.Errorf("%s: %v: it must never fail", name, err)
			continue
		}
		if msg.Metadata.Get(bus.MetaMalformed) == "" || msg.UUID == "" {
			t.Errorf("%s: not marked: %v %v", name, msg.UUID, msg.Metadata)
		}
		if string(msg.Payload) != c.payload {
			t.Errorf("%s: payload %q, want %q", name, msg.Payload, c.payload)
		}
	}
}

func FuzzEnvelope(f *testing.F) {
	f.Add([]byte("\x01\x01\x01k\x01vp"))
	f.Fuzz(func(t *testing.T, b []byte) {
		metadata, payload, err := unpack(b)
		if err != nil {
			return
		}
		msg := message.NewMessage("u", payload)
		msg.Metadata = metadata
		again, samePayload, err := unpack(pack(msg))
		if err != nil || !maps.Equal(again, metadata) || string(samePayload) != string(payload) {
			t.Errorf("%q is not read back: %v", b, err)
		}
	})
}
