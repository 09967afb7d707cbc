package protocol

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

func parseOne(t *testing.T, object string) (Request, *Error) {
	t.Helper()
	limits := DefaultLimits()
	return ParseRequest([]byte(object), &limits)
}

func TestParseRequest(t *testing.T) {
	three, seven := uint64(3), uint64(7)
	tests := []struct {
		object string
		want   Request
	}{
		{`{"type":"hello","id":1,"user":"alice"}`, Request{Type: "hello", ID: 1, User: "alice"}},
		{`{"type":"hello","admin":"a"}`, Request{Type: "hello", Admin: "a"}},
		{`{"type":"join","room":"~status"}`, Request{Type: "join", Room: StatusRoom}},
		{`{"type":"hello","token":"t","resume":"r","agent":"web","rooms":{"a":{"epoch":"e","seq":0},"b~":{"seq":9,"epoch":"f"}}}`,
			Request{Type: "hello", Token: "t", Resume: "r", Agent: "web", Rooms: map[string]Cursor{"a": {"e", 0}, "b~": {"f", 9}}}},
		{`{"type":"hello"}`, Request{Type: "hello"}}, // the token may stand in a header
		{`{"type":"auth","id":2,"token":"t"}`, Request{Type: "auth", ID: 2, Token: "t"}},
		{`{"type":"join","id":2,"room":"general"}`, Request{Type: "join", ID: 2, Room: "general"}},
		{`{"type":"join","room":"g","since":{"epoch":"k3f9","seq":41}}`, Request{Type: "join", Room: "g", Since: &Cursor{"k3f9", 41}}},
		{`{"type":"join","room":"g","last":200}`, Request{Type: "join", Room: "g", Last: 200}},
		{`{"type":"leave","room":"g"}`, Request{Type: "leave", Room: "g"}},
		{`{"type":"send","id":3,"room":"general","cid":"c1","body":{"text":"hi"}}`,
			Request{Type: "send", ID: 3, Room: "general", CID: "c1", Body: json.RawMessage(`{"text":"hi"}`)}},
		{` { "type" : "send" , "room":"g", "body" :  [1, 2.50,"<\u00e9>"]  } `, Request{Type: "send", Room: "g", Body: json.RawMessage(`[1, 2.50,"<\u00e9>"]`)}},
		{`{"type":"send","room":"g","body":null}`, Request{Type: "send", Room: "g", Body: json.RawMessage(`null`)}},
		{`{"type":"history","room":"g"}`, Request{Type: "history", Room: "g", Limit: 50}},
		{`{"type":"history","room":"g","before":3,"limit":200}`, Request{Type: "history", Room: "g", Before: &three, Limit: 200}},
		{`{"type":"history","room":"g","after":7,"limit":1}`, Request{Type: "history", Room: "g", After: &seven, Limit: 1}},
		{`{"type":"presence","room":"g"}`, Request{Type: "presence", Room: "g"}},
		{`{"type":"presence","user":"Zoë ☺"}`, Request{Type: "presence", User: "Zoë ☺"}},
		{`{"type":"typing","room":"g"}`, Request{Type: "typing", Room: "g"}},
		{`{"type":"signal","room":"g","body":1}`, Request{Type: "signal", Room: "g", Body: json.RawMessage(`1`)}},
		{`{"type":"pong"}`, Request{Type: "pong"}},
		{`{"type":"pong","room":7,"future":[{}]}`, Request{Type: "pong"}},                        // fields of other types and unknown ones
		{`{"type":"join","room":"x","room":"g","since":null}`, Request{Type: "join", Room: "g"}}, // the last counts; null is absent
		{`{"\u0074ype":"jo\u0069n","room":"g","Room":"h"}`, Request{Type: "join", Room: "g"}},    // escapes; case matters
		{`{"type":"join","room":"` + strings.Repeat("r", 128) + `"}`, Request{Type: "join", Room: strings.Repeat("r", 128)}},
	}
	for _, tt := range tests {
		got, err := parseOne(t, tt.object)
		if err != nil {
			t.Errorf("%s: %v", tt.object, err)
		} else if !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s\n got %+v\nwant %+v", tt.object, got, tt.want)
		}
	}
}

func TestParseRequestErrors(t *testing.T) {
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	long := func(n int) string { return strings.Repeat("x", n) }
	tests := []struct {
		object string
		want   Error // Message: what it must contain
	}{
		{`hello`, Error{Code: BadRequest, Message: "JSON object"}},
		{`[1]`, Error{Code: BadRequest, Message: "JSON object"}},
		{`"x"`, Error{Code: BadRequest, Message: "JSON object"}},
		{`{`, Error{Code: BadRequest, Message: "not JSON"}},
		{`{"type":"send","id":3,"cid":"c1",}`, Error{ID: 3, CID: "c1", Code: BadRequest, Message: "not JSON"}},
		{`{"type":"pong"} x`, Error{Code: BadRequest, Message: "after the object"}},
		{`{"type":"pong","x":01}`, Error{Code: BadRequest, Message: "not JSON"}},
		{`{"type":"pong","x":1.}`, Error{Code: BadRequest, Message: "digit"}},
		{`{"type":"pong","x":"\x"}`, Error{Code: BadRequest, Message: "escape"}},
		{"{\"type\":\"pong\",\"x\":\"\t\"}", Error{Code: BadRequest, Message: "control character"}},
		{`{}`, Error{Code: BadRequest, Message: "type is missing"}},
		{`{"type":7}`, Error{Code: BadRequest, Message: "type must be a string"}},
		{`{"type":"shout","id":5}`, Error{ID: 5, Code: BadRequest, Message: `"shout" is unknown`}},
		{`{"type":"welcome"}`, Error{Code: BadRequest, Message: "unknown"}},
		{`{"type":"pong","id":0}`, Error{Code: BadRequest, Message: "id must be"}},
		{`{"type":"pong","id":-1}`, Error{Code: BadRequest, Message: "id must be"}},
		{`{"type":"pong","id":1.0}`, Error{Code: BadRequest, Message: "id must be"}},
		{`{"type":"pong","id":1e3}`, Error{Code: BadRequest, Message: "id must be"}},
		{`{"type":"pong","id":"1"}`, Error{Code: BadRequest, Message: "id must be"}},
		{`{"type":"pong","id":null}`, Error{Code: BadRequest, Message: "id must be"}},
		{`{"type":"pong","id":9223372036854775808}`, Error{Code: BadRequest, Message: "id must be"}},
		{`{"type":"send","room":"g","body":` + deep(16) + `,"id":4,"cid":"c"}`, Error{ID: 4, CID: "c", Code: BadRequest, Message: "deeper than 16"}},
		{`{"type":"send","room":"g","body":` + strings.Repeat("[", 60000), Error{Code: BadRequest, Message: "not JSON"}},
		{`{"type":"auth"}`, Error{Code: BadRequest, Message: "token is missing"}},
		{`{"type":"auth","token":1}`, Error{Code: BadRequest, Message: "token must be a string"}},
		{`{"type":"hello","token":"` + long(8193) + `"}`, Error{Code: Unauthorized, Message: "8192 bytes"}},
		{`{"type":"hello","admin":7}`, Error{Code: BadRequest, Message: "admin"}},
		{`{"type":"join","room":"~other"}`, Error{Code: BadRequest, Message: "room"}},
		{`{"type":"hello","user":"~root"}`, Error{Code: BadRequest, Message: "user"}},
		{`{"type":"hello","user":"a\u0000b"}`, Error{Code: BadRequest, Message: "control"}},
		{`{"type":"hello","rooms":[]}`, Error{Code: BadRequest, Message: "rooms must be"}},
		{`{"type":"hello","rooms":{"a":5}}`, Error{Code: BadRequest, Message: `"a" must be`}},
		{`{"type":"hello","rooms":{"a":{"epoch":"","seq":1}}}`, Error{Code: BadRequest, Message: "rooms"}},
		{`{"type":"hello","agent":"` + long(257) + `"}`, Error{Code: BadRequest, Message: "256 characters"}},
		{`{"type":"join"}`, Error{Code: BadRequest, Message: "room is missing"}},
		{`{"type":"join","room":null}`, Error{Code: BadRequest, Message: "room is missing"}},
		{`{"type":"join","room":5}`, Error{Code: BadRequest, Message: "room must be a string"}},
		{`{"type":"join","room":"a b"}`, Error{Code: BadRequest, Message: "room name"}},
		{`{"type":"join","room":"` + long(129) + `"}`, Error{Code: BadRequest, Message: "room name"}},
		{`{"type":"join","room":"@all"}`, Error{Code: BadRequest, Message: "room name"}},
		{`{"type":"join","room":"g","last":201}`, Error{Code: BadRequest, Message: "last must be an integer from 0 to 200"}},
		{`{"type":"join","room":"g","since":{"epoch":"e","seq":1},"last":1}`, Error{Code: BadRequest, Message: "only one"}},
		{`{"type":"join","room":"g","since":{"seq":1}}`, Error{Code: BadRequest, Message: "since must be"}},
		{`{"type":"join","room":"g","since":{"epoch":"e","seq":-1}}`, Error{Code: BadRequest, Message: "since must be"}},
		{`{"type":"send","room":"g","id":1,"cid":"c"}`, Error{ID: 1, CID: "c", Code: BadRequest, Message: "body is missing"}},
		{`{"type":"send","room":"g","cid":7,"body":1}`, Error{Code: BadRequest, Message: "cid must be a string"}},
		{`{"type":"send","room":"g","cid":"` + long(65) + `","body":1}`, Error{Code: TooLarge, Message: "64 characters"}},
		{`{"type":"send","room":"g","id":2,"cid":"c","body":"` + long(32<<10) + `"}`, Error{ID: 2, CID: "c", Code: TooLarge, Message: "at most 32768"}},
		{`{"type":"signal","room":"g","body":"` + long(4<<10) + `"}`, Error{Code: TooLarge, Message: "at most 4096"}},
		{`{"type":"history","room":"g","before":1,"after":1}`, Error{Code: BadRequest, Message: "only one"}},
		{`{"type":"history","room":"g","limit":0}`, Error{Code: BadRequest, Message: "from 1 to 200"}},
		{`{"type":"history","room":"g","after":"1"}`, Error{Code: BadRequest, Message: "after must be"}},
		{`{"type":"presence"}`, Error{Code: BadRequest, Message: "exactly one"}},
		{`{"type":"presence","room":"g","user":"u"}`, Error{Code: BadRequest, Message: "exactly one"}},
		{`{"type":"presence","user":""}`, Error{Code: BadRequest, Message: "user name"}},
	}
	for _, tt := range tests {
		name := tt.object
		if len(name) > 80 {
			name = name[:80] + "…"
		}
		_, err := parseOne(t, tt.object)
		if err == nil {
			t.Errorf("%s: no error", name)
			continue
		}
		if err.Code != tt.want.Code || err.ID != tt.want.ID || err.CID != tt.want.CID || !strings.Contains(err.Message, tt.want.Message) {
			t.Errorf("%s:\n got %+v\nwant %+v", name, *err, tt.want)
		}
		if len(err.Message) > 300 {
			t.Errorf("%s: message of %d bytes", name, len(err.Message))
		}
	}
}

func TestParseRequestsGoesOn(t *testing.T) {
	limits := DefaultLimits()
	frame := "\n{\"type\":\"pong\"}\r\n\n{\"type\":\n{\"type\":\"typing\",\"room\":\"g\"}\n  \n"
	var got []string
	for r, err := range ParseRequests([]byte(frame), &limits) {
		if err != nil {
			got = append(got, string(err.Code))
		} else {
			got = append(got, r.Type)
		}
	}
	if want := []string{"pong", "bad_request", "typing"}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for _, empty := range []string{"", "\n", " \r\n\t"} {
		n := 0
		for _, err := range ParseRequests([]byte(empty), &limits) {
			if n++; err == nil || err.Code != BadRequest {
				t.Errorf("%q: got %v", empty, err)
			}
		}
		if n != 1 {
			t.Errorf("%q: %d results, want one error", empty, n)
		}
	}
	for range ParseRequests([]byte(strings.Repeat("x\n", 1000)), &limits) {
		break // a caller may stop
	}
}

func TestNames(t *testing.T) {
	for name, want := range map[string]bool{
		"general": true, "A-z_0.9:x": true, "": false, "ä": false, "a/b": false, "~a": false, "@a": false, "a b": false,
		strings.Repeat("a", 128): true, strings.Repeat("a", 129): false,
	} {
		if ValidRoom(name) != want {
			t.Errorf("ValidRoom(%q) = %v", name, !want)
		}
	}
	for name, want := range map[string]bool{
		"alice": true, "auth0|42": true, "Zoë ☺": true, "": false, "~sys": false, "@all": false, "a\nb": false, "a\u0085": false,
		"a\xff": false, "\ufffd": true, strings.Repeat("é", 128): true, strings.Repeat("é", 129): false,
	} {
		if ValidUser(name) != want {
			t.Errorf("ValidUser(%q) = %v", name, !want)
		}
	}
}

func TestCloseAction(t *testing.T) {
	for code, want := range map[CloseCode]Action{
		0: Retry, 1000: Retry, 1001: Retry, 1006: Retry, 1012: Retry, 1013: Retry, 4000: Retry, 4001: Retry, 4002: Retry, 4499: Retry,
		1003: NoRetrySame, 1007: NoRetrySame, 1008: NoRetrySame, 1009: NoRetrySame,
		4500: Stop, 4501: Stop, 4502: Stop, 4503: Stop, 4504: Stop, 4999: Stop, 5000: Retry,
	} {
		if got := CloseAction(code); got != want {
			t.Errorf("%d: %v, want %v", code, got, want)
		}
	}
}

func TestParseRequestAllocates(t *testing.T) {
	limits := DefaultLimits()
	object := []byte(`{"type":"send","id":3,"room":"general","cid":"c1","body":{"text":"hi"}}`)
	n := testing.AllocsPerRun(100, func() {
		if _, err := ParseRequest(object, &limits); err != nil {
			t.Fatal(err)
		}
	})
	if n > 4 { // type, room, cid and one to spare
		t.Errorf("%v allocations for a send", n)
	}
}

func BenchmarkParseRequest(b *testing.B) {
	limits := DefaultLimits()
	object := []byte(`{"type":"send","id":3,"room":"general","cid":"c1","body":{"text":"` + strings.Repeat("x", 100) + `"}}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseRequest(object, &limits); err != nil {
			b.Fatal(err)
		}
	}
}
