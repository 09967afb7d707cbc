package client

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/parley-chat/parley/services/ingress/protocol"
)

// After a deliberate change of behaviour: go test ./client -run Vectors -record,
// then read the diff as carefully as code; other languages are held to it.
var record = flag.Bool("record", false, "write what the machine does into protocol/testdata")

type vector struct {
	Name   string       `json:"name"`
	Why    string       `json:"why"`
	Config vectorConfig `json:"config"`
	Steps  []*step      `json:"steps"`
}

type vectorConfig struct {
	URLs    []string `json:"urls"`
	User    string   `json:"user,omitempty"`
	Agent   string   `json:"agent,omitempty"`
	Renew   bool     `json:"renew,omitempty"`
	Rand    float64  `json:"rand"`
	BaseMS  int64    `json:"base_ms"`
	CapMS   int64    `json:"cap_ms"`
	Pending int      `json:"pending"`
	Window  int      `json:"window,omitempty"`
}

type step struct {
	At      int64                       `json:"at"`
	In      map[string]json.RawMessage  `json:"in"`
	Out     []json.RawMessage           `json:"out"`
	Cursors map[string]*protocol.Cursor `json:"cursors,omitempty"`
}

func TestVectors(t *testing.T) {
	files, err := filepath.Glob("../testdata/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no vectors in ../testdata (%v)", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var vectors []vector
			if err := json.Unmarshal(raw, &vectors); err != nil {
				t.Fatal(err)
			}
			for _, v := range vectors {
				t.Run(v.Name, func(t *testing.T) { v.run(t) })
			}
			if *record {
				if err := os.WriteFile(file, format(t, vectors), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func (v *vector) run(t *testing.T) {
	c := v.Config
	m := newMachine(machineConfig{
		urls: c.URLs, user: c.User, agent: c.Agent, renew: c.Renew, baseMS: c.BaseMS, capMS: c.CapMS,
		pending: c.Pending, window: c.Window, rand: func() float64 { return c.Rand },
	})
	for i, s := range v.Steps {
		apply(t, m, s)
		got := []json.RawMessage{}
		for _, e := range m.take() {
			got = append(got, effectJSON(t, e))
		}
		cursors := map[string]*protocol.Cursor{}
		for name := range s.Cursors {
			cursors[name] = nil
			if rs := m.rooms[name]; rs != nil && rs.cursor != nil {
				c := *rs.cursor
				cursors[name] = &c
			}
		}
		if *record {
			s.Out = got
			if s.Cursors != nil {
				s.Cursors = cursors
			}
			continue
		}
		if !sameJSON(t, got, s.Out) {
			t.Fatalf("step %d, in %s\n got %s\nwant %s", i, encode(t, s.In), encode(t, got), encode(t, s.Out))
		}
		if s.Cursors != nil && !reflect.DeepEqual(cursors, s.Cursors) {
			t.Fatalf("step %d: cursors %s, want %s", i, encode(t, cursors), encode(t, s.Cursors))
		}
	}
}

func apply(t *testing.T, m *machine, s *step) {
	t.Helper()
	number := func(key string) (n int) {
		if raw, ok := s.In[key]; ok && json.Unmarshal(raw, &n) != nil {
			t.Fatalf("%s: %s is no number", key, raw)
		}
		return n
	}
	text := func(key string) (v string) {
		if raw, ok := s.In[key]; ok && json.Unmarshal(raw, &v) != nil {
			t.Fatalf("%s: %s is no string", key, raw)
		}
		return v
	}
	has := func(key string) bool { return s.In[key] != nil }
	switch {
	case has("start"):
		m.start(s.At)
	case has("opened"):
		m.opened(s.At, number("opened"), text("token"))
	case has("frame"):
		f, err := protocol.ParseFrame(s.In["data"])
		if err != nil {
			t.Fatal(err)
		}
		m.frame(s.At, number("frame"), f)
	case has("closed"):
		m.closed(s.At, number("closed"), protocol.CloseCode(number("code")), int64(number("retry_ms")), false, nil)
	case has("tick"):
		m.tick(s.At)
	case has("join"):
		var since *protocol.Cursor
		if raw, ok := s.In["since"]; ok && json.Unmarshal(raw, &since) != nil {
			t.Fatalf("since: %s", raw)
		}
		m.join(s.At, number("join"), text("room"), since, number("last"))
	case has("leave"):
		m.leave(s.At, number("leave"), text("room"))
	case has("send"):
		m.send(s.At, number("send"), text("room"), text("cid"), s.In["body"])
	case has("request"):
		var r protocol.Request
		if err := json.Unmarshal(s.In["data"], &r); err != nil {
			t.Fatal(err)
		}
		if r.Type == protocol.TypeTyping || r.Type == protocol.TypeSignal {
			m.volatile(s.At, number("request"), r)
		} else {
			m.request(s.At, number("request"), r)
		}
	case has("cancel"):
		m.cancel(s.At, number("cancel"))
	case has("close"):
		m.close(s.At)
	default:
		t.Fatalf("unknown input %s", encode(t, s.In))
	}
}

type object map[string]any

func effectJSON(t *testing.T, e effect) json.RawMessage {
	var o object
	switch e.kind {
	case doDial:
		o = object{"dial": e.link, "url": e.url}
	case doSend:
		raw, err := protocol.AppendRequest(nil, &e.req)
		if err != nil {
			t.Fatal(err)
		}
		o = object{"send": e.link, "frame": json.RawMessage(raw)}
	case doClose:
		o = object{"close": e.link, "code": e.code}
	case doToken:
		o = object{"token": true}
	case doDeliver:
		o = object{"deliver": e.room, "frame": frameJSON(e.frame)}
	case doEnd:
		o = object{"end": e.room, "error": errorName(e.err)}
	case doReply:
		o = object{"reply": e.ref}
		switch {
		case e.err != nil:
			o["error"] = errorName(e.err)
		case e.ack.Seq != 0:
			o["ack"] = object{"seq": e.ack.Seq, "ts": e.ack.TS, "dup": e.ack.Dup, "cid": e.ack.CID}
		case e.frame.Type != "":
			o["frame"] = frameJSON(e.frame)
		}
	case doStatus:
		o = object{"status": e.status.State}
		switch e.status.State {
		case Reconnecting:
			o["retry_ms"], o["code"] = e.status.RetryMS, e.status.Code
		case Closed:
			o["code"] = e.status.Code
		}
	case doNotice:
		o = object{"notice": errorName(e.err)}
	}
	return encode(t, o)
}

func frameJSON(f protocol.Frame) any {
	switch {
	case f.Raw != nil:
		return f.Raw
	case f.Type == protocol.TypeGap:
		return object{"type": f.Type, "room": f.Room, "from": f.Gap.From, "to": f.Gap.To}
	default:
		return object{"type": f.Type, "room": f.Room, "epoch": f.Epoch, "seq": f.Seq}
	}
}

func errorName(err error) string {
	var pe *protocol.Error
	var ne *NotRetriedError
	switch {
	case errors.Is(err, ErrClosed):
		return "closed"
	case errors.Is(err, ErrLeft):
		return "left"
	case errors.Is(err, ErrMaybeSent):
		return "maybe_sent"
	case errors.As(err, &ne):
		return "not_retried"
	case errors.As(err, &pe):
		return string(pe.Code)
	}
	return err.Error()
}

func encode(t *testing.T, v any) json.RawMessage {
	t.Helper()
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		t.Fatal(err)
	}
	return bytes.TrimSpace(b.Bytes())
}

func sameJSON(t *testing.T, a, b any) bool {
	var x, y any
	for v, into := range map[*any]any{&x: a, &y: b} {
		if err := json.Unmarshal(encode(t, into), v); err != nil {
			t.Fatal(err)
		}
	}
	return reflect.DeepEqual(x, y)
}

// format writes one effect a line, so that a diff reads well.
func format(t *testing.T, vectors []vector) []byte {
	var b bytes.Buffer
	b.WriteString("[\n")
	for i, v := range vectors {
		b.WriteString("{\"name\": " + string(encode(t, v.Name)) + ",\n \"why\": " + string(encode(t, v.Why)) +
			",\n \"config\": " + string(encode(t, v.Config)) + ",\n \"steps\": [\n")
		for j, s := range v.Steps {
			b.WriteString("  {\"at\": " + string(encode(t, s.At)) + ", \"in\": " + string(ordered(t, encode(t, s.In))) + ",\n   \"out\": [")
			for k, o := range s.Out {
				if k > 0 {
					b.WriteString(",\n           ")
				}
				b.Write(ordered(t, o))
			}
			b.WriteString("]")
			if s.Cursors != nil {
				b.WriteString(",\n   \"cursors\": " + string(encode(t, s.Cursors)))
			}
			b.WriteString("}" + comma(j, len(v.Steps)) + "\n")
		}
		b.WriteString(" ]}" + comma(i, len(vectors)) + "\n")
	}
	b.WriteString("]\n")
	return b.Bytes()
}

// ordered puts what an input or effect is first, and long things last.
func ordered(t *testing.T, raw json.RawMessage) []byte {
	var o map[string]json.RawMessage
	if err := json.Unmarshal(raw, &o); err != nil {
		t.Fatal(err)
	}
	keys := slices.SortedFunc(maps.Keys(o), func(a, b string) int {
		return cmp.Or(cmp.Compare(slices.Index(keyOrder, a), slices.Index(keyOrder, b)), cmp.Compare(a, b))
	})
	b := []byte{'{'}
	for i, k := range keys {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(append(b, encode(t, k)...), ':'), o[k]...)
	}
	return append(b, '}')
}

var keyOrder = strings.Fields(`start opened closed tick join leave send request cancel
	dial close token deliver end reply status notice
	room since last cid url code retry_ms ack error frame data body`)

func comma(i, n int) string {
	if i < n-1 {
		return ","
	}
	return ""
}
