package store

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/parley-chat/parley/shared/event"
)

func TestEntrySurvives(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := event.Entry{
			Seq:  rapid.Uint64Min(1).Draw(t, "seq"),
			ID:   event.MessageID(rapid.String().Draw(t, "id")),
			From: event.UserID(rapid.String().Draw(t, "from")),
			CID:  event.ClientID(rapid.String().Draw(t, "cid")),
			Kind: rapid.StringN(1, 20, -1).Draw(t, "kind"),
			At:   rapid.Int64().Draw(t, "at"),
		}
		e.Body, _ = json.Marshal(rapid.String().Draw(t, "body"))
		f := fields(e)
		values := map[string]any{"later": "a field of another version"}
		for i := 0; i < len(f); i += 2 {
			switch v := f[i+1].(type) {
			case []byte:
				values[f[i].(string)] = string(v)
			default:
				values[f[i].(string)] = v
			}
		}
		got, ok := decode(streamID(e.Seq), values)
		if !ok || !reflect.DeepEqual(got, e) {
			t.Fatalf("got %+v %t, want %+v", got, ok, e)
		}
	})
}

func FuzzEntry(f *testing.F) {
	f.Add("7-0", "m1", "alice", "c1", "message", "1763765123456", `{"text":"hi"}`)
	f.Add("0-0", "", "", "", "", "", "")
	f.Add("7-1", "m1", "alice", "c1", "message", "x", "{}\n")
	f.Fuzz(func(t *testing.T, id, mid, from, cid, kind, at, body string) {
		e, ok := decode(id, map[string]any{"id": mid, "from": from, "cid": cid, "kind": kind, "at": at, "body": body, "n": 3})
		if !ok {
			return
		}
		if e.Seq == 0 || e.Kind == "" || !json.Valid(e.Body) || strings.Contains(string(e.Body), "\n") {
			t.Fatalf("decoded %+v", e)
		}
	})
}

func FuzzGuardAndRecord(f *testing.F) {
	f.Add("1763765123456.7", "k3f9 run 3 true false")
	f.Add("", "")
	f.Fuzz(func(t *testing.T, g, r string) {
		if parsed := parseGuard(g); parseGuard(parsed.String()) != parsed {
			t.Fatalf("guard %q is %+v", g, parsed)
		}
		if parsed := parseRecord(r); parsed.epoch != "" && parseRecord(parsed.String()) != parsed {
			t.Fatalf("record %q is %+v", r, parsed)
		}
	})
}
