package natsbus

import (
	"maps"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go"

	"github.com/parley-chat/parley/shared/bus"
)

func TestEnvelope(t *testing.T) {
	for _, metadata := range []message.Metadata{
		{},
		{"a": ""},
		{"scope": "chat-03", "line\nbreak": " spaces ", "k:ey": "välue\x00"},
	} {
		for _, payload := range []string{"", "x", "\x00\xff", "P\x01"} {
			msg := message.NewMessage("u u", []byte(payload))
			msg.Metadata = metadata
			got := open(pack(msg))
			if got.UUID != msg.UUID || string(got.Payload) != payload || !maps.Equal(got.Metadata, metadata) {
				t.Errorf("%+v became %+v", msg, got)
			}
		}
	}
}

func TestMalformed(t *testing.T) {
	for _, data := range []string{
		"", "P", "hello", "{}", "P\x02", "P\x01", "P\x01\x05abc", "P\x01\x00", "P\x01\x00\x01", "P\x01\x00\x01\x01",
		"P\x01\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "P\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
	} {
		msg := open([]byte(data))
		if msg.Metadata[bus.MetaMalformed] == "" || string(msg.Payload) != data || msg.UUID == "" {
			t.Errorf("%q became %+v, want it marked, with its bytes", data, msg)
		}
	}
}

func FuzzOpen(f *testing.F) {
	msg := message.NewMessage("u", []byte("x"))
	msg.Metadata.Set("k", "v")
	f.Add(pack(msg))
	f.Fuzz(func(t *testing.T, data []byte) {
		msg := open(data)
		if msg.Metadata[bus.MetaMalformed] != "" {
			return
		}
		again := open(pack(msg))
		if again.UUID != msg.UUID || string(again.Payload) != string(msg.Payload) || !maps.Equal(again.Metadata, msg.Metadata) {
			t.Errorf("%+v became %+v", msg, again)
		}
	})
}

func TestIdentify(t *testing.T) {
	for uuid, fits := range map[string]bool{"a-1.2": true, "": false, "a b": false, "a\r\nb": false, "ä": false} {
		var m nats.Msg
		identify(&m, uuid)
		if (m.Header.Get(nats.MsgIdHdr) == uuid && uuid != "") != fits {
			t.Errorf("%q: headers %v, want it there: %v", uuid, m.Header, fits)
		}
	}
}

func TestEscape(t *testing.T) {
	seen := map[string]string{}
	for _, name := range []string{"commands-03", "deliveries-edge1.local-4f2a", "a.b", "a=2Eb", "a_b", "ä *>/\\", "="} {
		token := escape(name)
		if other, ok := seen[token]; ok {
			t.Errorf("%q and %q both become %q", name, other, token)
		}
		seen[token] = name
		for _, c := range token {
			if c > '~' || c == '.' || c == '*' || c == '>' || c == '/' || c == '\\' || c <= ' ' {
				t.Errorf("%q has %q", token, c)
			}
		}
		if got := unescape(token); got != name {
			t.Errorf("%q became %q and then %q", name, token, got)
		}
	}
}
