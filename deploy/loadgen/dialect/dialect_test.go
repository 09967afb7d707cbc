package dialect

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/parley-chat/parley/services/ingress/protocol"
)

// TestParleyReadsWhatTheProtocolWrites: the marks are found in what the edge's own
// encoder makes, in any body.
func TestParleyReadsWhatTheProtocolWrites(t *testing.T) {
	d, err := ByName("parley")
	if err != nil {
		t.Fatal(err)
	}
	body := appendBody(nil, 1763765123456789012, 128)
	message := protocol.AppendMessage(nil, &protocol.Message{
		Room: "r", Seq: 42, MID: "0199", From: "alice", CID: "c1", TS: 1763765123456, Body: body,
	})
	if e := d.Parse(message); e.Kind != Message || e.Seq != 42 || e.Due != 1763765123456789012 {
		t.Errorf("message: %+v", e)
	}
	if e := d.Parse(protocol.AppendOK(nil, &protocol.OK{ID: 17, Room: "r", Seq: 42, TS: 1763765123456})); e.Kind != Ack || e.ID != 17 || e.Seq != 42 {
		t.Errorf("ok: %+v", e)
	}
	joined := protocol.AppendJoined(nil, &protocol.Joined{ID: 2, Room: "r", Epoch: "k3f9", Seq: 41, After: 36, Floor: 1})
	if e := d.Parse(joined); e.Kind != Joined || e.Seq != 36 || e.Head != 41 || string(e.Epoch) != "k3f9" {
		t.Errorf("joined %s: %+v", joined, e)
	}
	refusal := protocol.AppendError(nil, &protocol.Error{ID: 18, Code: protocol.Unavailable, Message: "later", RetryAfterMS: 1000})
	if e := d.Parse(refusal); e.Kind != Refusal || e.ID != 18 || string(e.Code) != "unavailable" {
		t.Errorf("error: %+v", e)
	}
	page := protocol.Page{ID: 19, Room: "r", Epoch: "k3f9"}
	for i := range 50 {
		page.Entries = append(page.Entries, protocol.Message{Seq: uint64(i), MID: fmt.Sprint(i), Body: body})
	}
	if e := d.Parse(protocol.AppendPage(nil, &page)); e.Kind != Page || e.ID != 19 || e.Entries != 50 {
		t.Errorf("page: %+v", e)
	}
	if e := d.Parse(protocol.AppendPing(nil)); e.Kind != Other {
		t.Errorf("ping: %+v", e)
	}
	for _, line := range []string{"", "{", `{"type":"message"`, `{"type":"`, `"seq":99999999999999999999999`} {
		d.Parse([]byte(line)) // nothing more is asked than that it does not panic
	}
}

// TestRequestsAreValid: what is appended without an encoder is the JSON that is meant.
func TestRequestsAreValid(t *testing.T) {
	for _, name := range []string{"parley", "baseline"} {
		d, err := ByName(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, size := range []int{0, 40, 128, 16 << 10} {
			raw := d.AppendSend(nil, Send{ID: 7, Room: "r", Due: 1763765123456789012, Body: size})
			var q struct {
				Type, Room, CID string
				ID              uint64
				Body            json.RawMessage
			}
			if err := json.Unmarshal(raw, &q); err != nil || q.Type != "send" || q.ID != 7 {
				t.Errorf("%s: %.80s…: %v", name, raw, err)
			}
			if size >= 64 && len(q.Body) != size {
				t.Errorf("%s: a body of %d bytes has %d", name, size, len(q.Body))
			}
		}
	}
	d := parley{}
	for _, at := range []*Cursor{nil, {Epoch: "k3f9", Seq: 41}} {
		lines := d.AppendHello(nil, "u1", "r", at)
		decoder := json.NewDecoder(bytes.NewReader(lines))
		var hello struct {
			Type, User string
			Rooms      map[string]protocol.Cursor
		}
		if err := decoder.Decode(&hello); err != nil || hello.Type != "hello" || hello.User != "u1" {
			t.Fatalf("%s: %+v, %v", lines, hello, err)
		}
		if at != nil && hello.Rooms["r"] != (protocol.Cursor{Epoch: "k3f9", Seq: 41}) {
			t.Errorf("%s: rooms %v", lines, hello.Rooms)
		}
		if at == nil && (decoder.Decode(&hello) != nil || hello.Type != "join") {
			t.Errorf("%s: no join follows", lines)
		}
	}
}

func TestByNameNamesWhatThereIs(t *testing.T) {
	if _, err := ByName("irc"); err == nil {
		t.Error("irc is spoken")
	}
}
