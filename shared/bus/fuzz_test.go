package bus

import (
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
)

// A batch comes from a broker that others may write to: whatever is in it, decoding
// it gives values or an error.
func FuzzDecode(f *testing.F) {
	type value struct {
		Room string         `json:"room,omitempty"`
		Seq  uint64         `json:"seq"`
		Body []byte         `json:"body"`
		Tags map[string]any `json:"tags,omitempty"`
		Next *value         `json:"next,omitempty"`
	}
	for _, v := range []value{{}, {Room: "general", Seq: 7, Body: []byte("{}"), Tags: map[string]any{"a": 1}, Next: &value{Seq: 8}}} {
		item, err := encode(v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(joinItems([][]byte{item, item}, 2*len(item)), 2)
	}
	f.Add([]byte{0x9f, 0xff}, 0)
	f.Add([]byte("{}"), 1)
	f.Fuzz(func(t *testing.T, payload []byte, count int) {
		values, err := decode[value](payload, count)
		if err == nil && len(values) != count {
			t.Errorf("%d values, the header says %d", len(values), count)
		}
	})
}

// What a header accepts it writes again, and reads back alike.
func FuzzHeader(f *testing.F) {
	f.Add("1", "chat-03", "7", "life", "12", "256")
	f.Add("", "", "", "", "", "")
	f.Add("2", "edge-1", "-1", "x", "1e9", "0")
	f.Fuzz(func(t *testing.T, schema, scope, generation, life, number, count string) {
		h, err := parseHeader(message.Metadata{metaSchema: schema, metaScope: scope, metaGeneration: generation,
			metaLife: life, metaNumber: number, metaCount: count})
		if err != nil {
			return
		}
		again, err := parseHeader(h.metadata())
		if err != nil || again != h {
			t.Errorf("%+v came back as %+v, %v", h, again, err)
		}
	})
}
