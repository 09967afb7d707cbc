package protocol

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

var requestSeeds = []string{
	`{"type":"hello","id":1,"user":"alice","rooms":{"a":{"epoch":"e","seq":1}}}`,
	`{"type":"send","id":3,"room":"general","cid":"c1","body":{"text":"hi","x":[1,-2.5e+3,true,null,"\ud83d\ude00"]},"since":{"epoch":"e","seq":0}}`,
	`{"type":"history","room":"g","before":10,"limit":5}` + "\n" + `{"type":"presence","user":"bob"}`,
	`{"type":"join","room":"g","last":20}`, `{"type":"pong"}`, `{"id":1`, `[]`, "\n\n", `{"type":"send","room":"g","body":` + strings.Repeat("[", 20),
}

// FuzzParseRequests checks that a request is let through only if it is JSON as
// encoding/json sees it, that its parts are as promised, and that the body is
// what was sent.
func FuzzParseRequests(f *testing.F) {
	for _, s := range requestSeeds {
		f.Add([]byte(s))
	}
	limits := DefaultLimits()
	f.Fuzz(func(t *testing.T, frame []byte) {
		lines := [][]byte{}
		for line := range bytes.SplitSeq(frame, []byte{'\n'}) {
			if !blank(line) {
				lines = append(lines, line)
			}
		}
		i := 0
		for r, err := range ParseRequests(frame, &limits) {
			var line []byte
			if len(lines) > 0 {
				line = lines[i]
			}
			i++
			if err != nil {
				if err.Code == "" || err.Message == "" || len(err.Message) > 400 {
					t.Fatalf("%q: error %+v", line, err)
				}
				if out := AppendError(nil, err); !json.Valid(out) {
					t.Fatalf("%q: error is no JSON: %s", line, out)
				}
				continue
			}
			checkRequest(t, line, &r)
		}
		if len(lines) != i && len(lines) != 0 {
			t.Fatalf("%d results for %d objects", i, len(lines))
		}
	})
}

func checkRequest(t *testing.T, line []byte, r *Request) {
	var object map[string]json.RawMessage
	if err := json.Unmarshal(line, &object); err != nil {
		t.Fatalf("%q was let through: %v", line, err)
	}
	if r.Room != "" && !ValidRoom(r.Room) || r.User != "" && !ValidUser(r.User) || utf8.RuneCountInString(r.CID) > 64 {
		t.Fatalf("%q: %+v", line, r)
	}
	if r.Body != nil && (!json.Valid(r.Body) || !bytes.Contains(line, r.Body) || bytes.IndexByte(r.Body, '\n') >= 0) {
		t.Fatalf("%q: body %q", line, r.Body)
	}
	again, err := AppendRequest(nil, r)
	if err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	limits := DefaultLimits()
	if _, err := ParseRequest(again, &limits); err != nil && utf8.Valid(line) {
		t.Fatalf("%q became %q: %v", line, again, err)
	}
}

// FuzzScan compares the scanner with encoding/json.
func FuzzScan(f *testing.F) {
	for _, s := range requestSeeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		deep, err := scanObject(b, 64, func([]byte, []byte) {})
		trimmed := bytes.TrimLeft(b, " \t\r\n")
		valid := json.Valid(b) && len(trimmed) > 0 && trimmed[0] == '{'
		if !deep && (err == nil) != valid {
			t.Fatalf("%q: scan says %v, encoding/json %v", b, err, valid)
		}
	})
}

// FuzzParseFrame must not panic, and what it reads must be JSON.
func FuzzParseFrame(f *testing.F) {
	for _, g := range golden {
		f.Add([]byte(g.want))
	}
	f.Add([]byte(`{"type":"edited","room":"g","seq":8,"users":5}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		for fr, err := range ParseFrames(b) {
			if err == nil && !json.Valid(fr.Raw) {
				t.Fatalf("%q was read", fr.Raw)
			}
		}
	})
}

// FuzzAppendString: what comes out is a JSON string that reads back as the
// input with invalid UTF-8 replaced.
func FuzzAppendString(f *testing.F) {
	f.Add("a\"\\\n\x00é\xff☺")
	f.Fuzz(func(t *testing.T, s string) {
		var back string
		if err := json.Unmarshal(AppendString(nil, s), &back); err != nil {
			t.Fatalf("%q: %v", s, err)
		}
		want := string([]rune(s))
		if back != want {
			t.Fatalf("%q came back as %q", s, back)
		}
	})
}
