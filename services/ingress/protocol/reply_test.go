package protocol

import (
	"encoding/json"
	"reflect"
	"testing"
)

// golden holds every reply and event in the wire form of docs/protocol.md.
var golden = []struct {
	name   string
	append func([]byte) []byte
	want   string
}{
	{"welcome", func(b []byte) []byte {
		return AppendWelcome(b, &Welcome{ID: 1, Session: "s_1", Resume: "r", User: "alice", Node: "n", PingMS: 25000, Limits: DefaultLimits()})
	}, `{"type":"welcome","id":1,"session":"s_1","resume":"r","user":"alice","node":"n","ping_ms":25000,"limits":{"frame_bytes":65536,"body_bytes":32768,"rooms":100,"rate":20,"burst":60}}`},
	{"joined", func(b []byte) []byte {
		return AppendJoined(b, &Joined{ID: 2, Room: "general", Epoch: "k3f9", Seq: 41, After: 41, Floor: 1})
	}, `{"type":"joined","id":2,"room":"general","epoch":"k3f9","seq":41,"after":41,"floor":1}`},
	{"joined with gap and reset", func(b []byte) []byte {
		return AppendJoined(b, &Joined{Room: "g", Epoch: "e", Gap: &Range{3, 4}, Reset: true})
	}, `{"type":"joined","room":"g","epoch":"e","seq":0,"after":0,"floor":0,"gap":{"from":3,"to":4},"reset":true}`},
	{"ok of send", func(b []byte) []byte { return AppendOK(b, &OK{ID: 3, Room: "general", Seq: 42, TS: 1763765123456}) },
		`{"type":"ok","id":3,"room":"general","seq":42,"ts":1763765123456}`},
	{"ok dup", func(b []byte) []byte { return AppendOK(b, &OK{ID: 3, Room: "g", Seq: 42, TS: 1, Dup: true}) },
		`{"type":"ok","id":3,"room":"g","seq":42,"ts":1,"dup":true}`},
	{"ok of auth", func(b []byte) []byte { return AppendOK(b, &OK{ID: 4, ExpiresMS: 1000}) }, `{"type":"ok","id":4,"expires_ms":1000}`},
	{"ok", func(b []byte) []byte { return AppendOK(b, &OK{ID: 4}) }, `{"type":"ok","id":4}`},
	{"message", func(b []byte) []byte {
		return AppendMessage(b, &Message{Room: "general", Seq: 42, MID: "0199", From: "alice", CID: "c1", TS: 1763765123456, Body: json.RawMessage(`{"text":"hi"}`)})
	}, `{"type":"message","room":"general","seq":42,"mid":"0199","from":"alice","cid":"c1","ts":1763765123456,"body":{"text":"hi"}}`},
	{"message with every kind of character", func(b []byte) []byte {
		return AppendMessage(b, &Message{Room: "g", Seq: 1, MID: "m", From: "a\"\\\n\t\x01é☺<\xff>", TS: 1, Body: json.RawMessage(`"<é>"`)})
	}, `{"type":"message","room":"g","seq":1,"mid":"m","from":"a\"\\\n\t\u0001é☺<` + "\ufffd" + `>","ts":1,"body":"<é>"}`},
	{"page", func(b []byte) []byte {
		return AppendPage(b, &Page{ID: 5, Entries: []Message{{Room: "g", Seq: 1, MID: "m", From: "a", CID: "c", TS: 9, Body: json.RawMessage(`1`)}, {Seq: 2, MID: "n", From: "b", TS: 10}}, More: true, Floor: 1, Head: 9, Epoch: "e"})
	}, `{"type":"page","id":5,"entries":[{"type":"message","seq":1,"mid":"m","from":"a","cid":"c","ts":9,"body":1},{"type":"message","seq":2,"mid":"n","from":"b","ts":10,"body":null}],"more":true,"floor":1,"head":9,"epoch":"e"}`},
	{"empty page", func(b []byte) []byte { return AppendPage(b, &Page{ID: 5, Epoch: "e"}) },
		`{"type":"page","id":5,"entries":[],"more":false,"floor":0,"head":0,"epoch":"e"}`},
	{"reset", func(b []byte) []byte { return AppendReset(b, &Reset{"g", "e", 7}) }, `{"type":"reset","room":"g","epoch":"e","seq":7}`},
	{"gap", func(b []byte) []byte { return AppendGap(b, &Gap{"g", 3, 4}) }, `{"type":"gap","room":"g","from":3,"to":4}`},
	{"typing", func(b []byte) []byte { return AppendTyping(b, &Typing{"g", "a"}) }, `{"type":"typing","room":"g","from":"a"}`},
	{"signal", func(b []byte) []byte { return AppendSignal(b, &Signal{"g", "a", json.RawMessage(`{}`)}) }, `{"type":"signal","room":"g","from":"a","body":{}}`},
	{"presence of a room", func(b []byte) []byte {
		return AppendPresence(b, &Presence{ID: 6, Users: []UserPresence{{User: "a", Sessions: 2, Since: 5}}, Count: 1, N: 3})
	}, `{"type":"presence","id":6,"users":[{"user":"a","sessions":2,"since":5}],"count":1,"n":3}`},
	{"presence for an operator", func(b []byte) []byte {
		return AppendPresence(b, &Presence{ID: 6, Users: []UserPresence{{User: "a", Sessions: 2, Since: 5, Held: 1, Nodes: []string{"n"}}}, Count: 1})
	}, `{"type":"presence","id":6,"users":[{"user":"a","sessions":2,"since":5,"held":1,"nodes":["n"]}],"count":1}`},
	{"status", func(b []byte) []byte {
		return AppendStatus(b, &Status{Room: StatusRoom, Samples: []json.RawMessage{json.RawMessage(`{"at":1}`)}})
	}, `{"type":"status","room":"~status","samples":[{"at":1}]}`},
	{"presence of an empty room", func(b []byte) []byte { return AppendPresence(b, &Presence{ID: 6, Users: []UserPresence{}}) },
		`{"type":"presence","id":6,"users":[],"count":0}`},
	{"presence of a user", func(b []byte) []byte {
		return AppendPresence(b, &Presence{ID: 6, Count: 1, Sessions: []SessionInfo{{"s", "n", "web", 5, []string{"g"}}}})
	}, `{"type":"presence","id":6,"sessions":[{"session":"s","node":"n","agent":"web","since":5,"rooms":["g"]}],"count":1}`},
	{"presence event", func(b []byte) []byte {
		return AppendPresenceEvent(b, &PresenceEvent{Room: "g", On: []string{"a"}, Off: []string{"b"}, N: 4})
	}, `{"type":"presence","room":"g","on":["a"],"off":["b"],"n":4}`},
	{"presence count", func(b []byte) []byte { return AppendPresenceEvent(b, &PresenceEvent{Room: "g", Count: 300, N: 5}) },
		`{"type":"presence","room":"g","count":300,"n":5}`},
	{"ping", AppendPing, `{"type":"ping"}`},
	{"migrate", func(b []byte) []byte { return AppendMigrate(b, &Migrate{ByMS: 20000, URL: "wss://b/ws"}) }, `{"type":"migrate","by_ms":20000,"url":"wss://b/ws"}`},
	{"error", func(b []byte) []byte {
		return AppendError(b, &Error{ID: 7, CID: "c", Code: Unavailable, Message: "later", RetryAfterMS: 500})
	}, `{"type":"error","id":7,"cid":"c","code":"unavailable","message":"later","retry_after_ms":500}`},
	{"error of a room", func(b []byte) []byte { return AppendError(b, &Error{Room: "g", Code: Forbidden, Message: "no"}) },
		`{"type":"error","room":"g","code":"forbidden","message":"no"}`},
	{"welcome with everything", func(b []byte) []byte {
		return AppendWelcome(b, &Welcome{Session: "s", Resume: "r", User: "u", Node: "n", ExpiresMS: 9, URLs: []string{"wss://a", "wss://b"}, Limits: Limits{Rate: 0.5}})
	}, `{"type":"welcome","session":"s","resume":"r","user":"u","node":"n","ping_ms":0,"expires_ms":9,"urls":["wss://a","wss://b"],"limits":{"frame_bytes":0,"body_bytes":0,"rooms":0,"rate":0.5,"burst":0}}`},
}

func TestGolden(t *testing.T) {
	for _, g := range golden {
		got := string(g.append([]byte("x"))[1:])
		if got != g.want {
			t.Errorf("%s:\n got %s\nwant %s", g.name, got, g.want)
		}
		f, err := ParseFrame([]byte(got))
		if err != nil || !f.Known() {
			t.Errorf("%s is not read back: %v", g.name, err)
		}
	}
}

func TestParseFrame(t *testing.T) {
	parse := func(s string) Frame {
		t.Helper()
		f, err := ParseFrame([]byte(s))
		if err != nil {
			t.Fatalf("%s: %v", s, err)
		}
		return f
	}
	if f := parse(golden[2].want); !reflect.DeepEqual(f.Gap, &Range{3, 4}) || !f.Reset {
		t.Errorf("joined: %+v", f)
	}
	f := parse(`{"type":"message","room":"general","seq":42,"mid":"m","from":"alice","cid":"c1","ts":5,"body":{"text":"hi"}}`)
	if f.From != "alice" || f.Seq != 42 || string(f.Body) != `{"text":"hi"}` || !f.Entry() {
		t.Errorf("message: %+v", f)
	}
	if f := parse(`{"type":"gap","room":"g","from":3,"to":4}`); f.Gap == nil || f.Gap.To != 4 || f.Entry() {
		t.Errorf("gap: %+v", f)
	}
	if f := parse(golden[9].want); len(f.Entries) != 2 || f.Entries[0].From != "a" || f.Head != 9 {
		t.Errorf("page: %+v", f)
	}
	f = parse(`{"type":"edited","room":"g","seq":8,"users":5,"from":{"x":1},"count":"many"}`)
	if f.Known() || !f.Entry() || f.Room != "g" || f.Seq != 8 || len(f.Raw) == 0 {
		t.Errorf("a later version's entry: %+v", f)
	}
	if f := parse(`{"type":"error","id":7,"code":"limit","message":"m","retry_after_ms":5}`); f.Err() == nil || f.Err().RetryAfter() != 5e6 {
		t.Errorf("error: %+v", f)
	}
	for _, bad := range []string{``, `[]`, `{"type":"message","seq":"x"}`, `{"seq":1}`, `{"type":"gap","room":"g","from":"a","to":4}`, `{"type":"page","entries":[5]}`} {
		if _, err := ParseFrame([]byte(bad)); err == nil {
			t.Errorf("%s: no error", bad)
		}
	}
}

func TestAppendRequest(t *testing.T) {
	after := uint64(0)
	for _, tt := range []struct {
		r    Request
		want string
	}{
		{Request{Type: "send", ID: 3, Room: "g", CID: "c", Body: json.RawMessage("{\n \"a\": \"<&>\"}"), Since: &Cursor{"e", 0}},
			`{"type":"send","id":3,"room":"g","since":{"epoch":"e","seq":0},"body":{"a":"<&>"},"cid":"c"}`},
		{Request{Type: "history", Room: "g", After: &after}, `{"type":"history","room":"g","after":0}`},
		{Request{Type: "pong"}, `{"type":"pong"}`},
	} {
		got, err := AppendRequest(nil, &tt.r)
		if err != nil || string(got) != tt.want {
			t.Errorf("got %s (%v), want %s", got, err, tt.want)
		}
	}
	if _, err := AppendRequest(nil, &Request{Type: "send", Body: json.RawMessage("{")}); err == nil {
		t.Error("a body that is not JSON was encoded")
	}
}

func BenchmarkAppendMessage(b *testing.B) {
	m := Message{Room: "general", Seq: 42, MID: "0199", From: "alice", CID: "c1", TS: 1763765123456, Body: json.RawMessage(`{"text":"hi"}`)}
	buf := make([]byte, 0, 512)
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendMessage(buf[:0], &m)
	}
}

func BenchmarkParseFrame(b *testing.B) {
	object := []byte(golden[7].want)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseFrame(object); err != nil {
			b.Fatal(err)
		}
	}
}
