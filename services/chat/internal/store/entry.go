package store

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/parley-chat/parley/shared/event"
)

// KindDamaged is the kind of an entry whose fields cannot be read. It keeps its
// place, so that the log has no hole and cursors get past it.
const KindDamaged = "damaged"

// fields is the stored form of an entry besides its seq, which is its stream ID:
// field, value, field, value … Readers ignore fields that they do not know.
func fields(e event.Entry) [12]any {
	return [12]any{"id", string(e.ID), "from", string(e.From), "cid", string(e.CID),
		"kind", e.Kind, "at", strconv.FormatInt(e.At, 10), "body", []byte(e.Body)}
}

// decode reads an entry from its stream ID and fields. ok is false when the ID
// is not of the form <seq>-0: then it is no entry of a log at all.
func decode(id string, values map[string]any) (e event.Entry, ok bool) {
	seq, ok := parseSeq(id)
	if !ok {
		return event.Entry{}, false
	}
	text := func(field string) string { s, _ := values[field].(string); return s }
	at, err := strconv.ParseInt(text("at"), 10, 64)
	e = event.Entry{Seq: seq, ID: event.MessageID(text("id")), From: event.UserID(text("from")),
		CID: event.ClientID(text("cid")), Kind: text("kind"), Body: json.RawMessage(text("body")), At: at}
	if err != nil || e.Kind == "" || !json.Valid(e.Body) || strings.Contains(text("body"), "\n") {
		return event.Entry{Seq: seq, ID: e.ID, Kind: KindDamaged, Body: json.RawMessage("null"), At: at}, true
	}
	return e, true
}

func streamID(seq uint64) string { return strconv.FormatUint(seq, 10) + "-0" }

func parseSeq(id string) (uint64, bool) {
	digits, ok := strings.CutSuffix(id, "-0")
	if !ok {
		return 0, false
	}
	seq, err := strconv.ParseUint(digits, 10, 64)
	return seq, err == nil && seq > 0
}

// entrySize estimates the bytes of an entry on the wire.
func entrySize(e event.Entry) int {
	const names = 96 // field names, seq, time, punctuation
	return names + len(e.ID) + len(e.From) + len(e.CID) + len(e.Body)
}

func ascending(entries []event.Entry, backward bool) []event.Entry {
	if backward {
		slices.Reverse(entries)
	}
	return entries
}
