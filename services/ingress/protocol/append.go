package protocol

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"unicode/utf8"
)

// Every Append function appends one JSON object without a line feed, so that
// objects can be batched into a frame with '\n' between them.

// AppendMessage appends a message event; m.Body must be valid JSON without a
// raw line feed, which every body that ParseRequest let through is.
func AppendMessage(dst []byte, m *Message) []byte {
	dst = append(dst, `{"type":"message"`...)
	if m.Room != "" {
		dst = appendText(dst, "room", m.Room)
	}
	dst = appendUint(dst, "seq", m.Seq)
	dst = appendText(dst, "mid", m.MID)
	dst = appendText(dst, "from", m.From)
	if m.CID != "" {
		dst = appendText(dst, "cid", m.CID)
	}
	dst = appendInt(dst, "ts", m.TS)
	return append(appendRaw(dst, "body", m.Body), '}')
}

// AppendOK appends an ok reply.
func AppendOK(dst []byte, o *OK) []byte {
	dst = append(dst, `{"type":"ok"`...)
	if o.ID != 0 {
		dst = appendUint(dst, "id", o.ID)
	}
	if o.Room != "" {
		dst = appendText(dst, "room", o.Room)
	}
	if o.Seq != 0 {
		dst = appendUint(dst, "seq", o.Seq)
		dst = appendInt(dst, "ts", o.TS)
	}
	if o.Dup {
		dst = append(dst, `,"dup":true`...)
	}
	if o.ExpiresMS != 0 {
		dst = appendInt(dst, "expires_ms", o.ExpiresMS)
	}
	return append(dst, '}')
}

// AppendPage appends a page; entries are written without their room.
func AppendPage(dst []byte, p *Page) []byte {
	dst = append(dst, `{"type":"page"`...)
	if p.ID != 0 {
		dst = appendUint(dst, "id", p.ID)
	}
	if p.Room != "" {
		dst = appendText(dst, "room", p.Room)
	}
	dst = append(dst, `,"entries":`...)
	if p.Encoded != nil {
		dst = append(dst, p.Encoded...)
	} else {
		dst = AppendEntries(dst, p.Entries)
	}
	dst = append(dst, `,"more":`...)
	dst = strconv.AppendBool(dst, p.More)
	dst = appendUint(dst, "floor", p.Floor)
	dst = appendUint(dst, "head", p.Head)
	dst = appendText(dst, "epoch", p.Epoch)
	return append(dst, '}')
}

// AppendEntries appends the entries of a page as a list, each without its room.
func AppendEntries(dst []byte, entries []Message) []byte {
	dst = append(dst, '[')
	for i := range entries {
		if i > 0 {
			dst = append(dst, ',')
		}
		e := entries[i]
		e.Room = ""
		dst = AppendMessage(dst, &e)
	}
	return append(dst, ']')
}

// AppendTyping appends a typing event.
func AppendTyping(dst []byte, t *Typing) []byte {
	dst = append(dst, `{"type":"typing"`...)
	dst = appendText(dst, "room", t.Room)
	return append(appendText(dst, "from", t.From), '}')
}

// AppendSignal appends a signal event; of Body the same is asked as in AppendMessage.
func AppendSignal(dst []byte, s *Signal) []byte {
	dst = append(dst, `{"type":"signal"`...)
	dst = appendText(dst, "room", s.Room)
	dst = appendText(dst, "from", s.From)
	return append(appendRaw(dst, "body", s.Body), '}')
}

// AppendPing appends a ping.
func AppendPing(dst []byte) []byte { return append(dst, `{"type":"ping"}`...) }

// AppendRequest appends a client's request. A Body that is pretty-printed is
// put on one line; one that is not JSON is an error.
func AppendRequest(dst []byte, r *Request) ([]byte, error) {
	var line bytes.Buffer
	enc := json.NewEncoder(&line)
	enc.SetEscapeHTML(false) // bodies go as they are
	if err := enc.Encode(r); err != nil {
		return dst, fmt.Errorf("encode %s: %w", r.Type, err)
	}
	return append(dst, bytes.TrimSuffix(line.Bytes(), []byte{'\n'})...), nil
}

// AppendWelcome appends a welcome reply.
func AppendWelcome(dst []byte, w *Welcome) []byte {
	dst = slices.Grow(dst, 320+len(w.User)+len(w.Node)) // about as long as it gets without URLs
	dst = append(dst, `{"type":"welcome"`...)
	if w.ID != 0 {
		dst = appendUint(dst, "id", w.ID)
	}
	dst = appendText(dst, "session", w.Session)
	dst = appendText(dst, "resume", w.Resume)
	dst = appendText(dst, "user", w.User)
	dst = appendText(dst, "node", w.Node)
	dst = appendInt(dst, "ping_ms", w.PingMS)
	if w.ExpiresMS != 0 {
		dst = appendInt(dst, "expires_ms", w.ExpiresMS)
	}
	if len(w.URLs) > 0 {
		dst = append(appendName(dst, "urls"), '[')
		for i, url := range w.URLs {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = AppendString(dst, url)
		}
		dst = append(dst, ']')
	}
	l := &w.Limits
	dst = append(appendName(dst, "limits"), `{"frame_bytes":`...)
	dst = strconv.AppendInt(dst, int64(l.FrameBytes), 10)
	dst = appendInt(dst, "body_bytes", int64(l.BodyBytes))
	dst = appendInt(dst, "rooms", int64(l.Rooms))
	dst = strconv.AppendFloat(appendName(dst, "rate"), l.Rate, 'f', -1, 64)
	dst = appendInt(dst, "burst", int64(l.Burst))
	return append(dst, "}}"...)
}

// AppendJoined appends a joined reply.
func AppendJoined(dst []byte, j *Joined) []byte {
	dst = slices.Grow(dst, 128+len(j.Room)+len(j.Epoch))
	dst = append(dst, `{"type":"joined"`...)
	if j.ID != 0 {
		dst = appendUint(dst, "id", j.ID)
	}
	dst = appendText(dst, "room", j.Room)
	dst = appendText(dst, "epoch", j.Epoch)
	dst = appendUint(dst, "seq", j.Seq)
	dst = appendUint(dst, "after", j.After)
	dst = appendUint(dst, "floor", j.Floor)
	if j.Gap != nil {
		dst = append(appendName(dst, "gap"), `{"from":`...)
		dst = strconv.AppendUint(dst, j.Gap.From, 10)
		dst = append(appendUint(dst, "to", j.Gap.To), '}')
	}
	if j.Reset {
		dst = append(appendName(dst, "reset"), "true"...)
	}
	return append(dst, '}')
}

// AppendReset appends a reset event.
func AppendReset(dst []byte, r *Reset) []byte { return appendTyped(dst, TypeReset, r) }

// AppendGap appends a gap event.
func AppendGap(dst []byte, g *Gap) []byte { return appendTyped(dst, TypeGap, g) }

// AppendPresence appends a presence reply.
func AppendPresence(dst []byte, p *Presence) []byte { return appendTyped(dst, TypePresence, p) }

// AppendPresenceEvent appends a presence event.
func AppendPresenceEvent(dst []byte, p *PresenceEvent) []byte {
	return appendTyped(dst, TypePresence, p)
}

// AppendMigrate appends a migrate event.
func AppendMigrate(dst []byte, m *Migrate) []byte { return appendTyped(dst, TypeMigrate, m) }

// AppendStatus appends a status event.
func AppendStatus(dst []byte, s *Status) []byte { return appendTyped(dst, TypeStatus, s) }

// AppendError appends an error reply.
func AppendError(dst []byte, e *Error) []byte { return appendTyped(dst, TypeError, e) }

// appendTyped puts the type before the fields of a struct that always has
// some. The structs hold nothing that could fail to marshal but raw bodies,
// and those have an encoder above.
func appendTyped(dst []byte, typ string, v any) []byte {
	fields, err := json.Marshal(v)
	if err != nil {
		return AppendError(dst, &Error{Code: Internal, Message: "a " + typ + " could not be encoded"})
	}
	dst = append(dst, `{"type":"`...)
	dst = append(dst, typ...)
	dst = append(dst, `",`...)
	return append(dst, fields[1:]...)
}

func appendName(dst []byte, name string) []byte {
	dst = append(dst, ',', '"')
	dst = append(dst, name...)
	return append(dst, '"', ':')
}

func appendText(dst []byte, name, s string) []byte { return AppendString(appendName(dst, name), s) }

func appendUint(dst []byte, name string, n uint64) []byte {
	return strconv.AppendUint(appendName(dst, name), n, 10)
}

func appendInt(dst []byte, name string, n int64) []byte {
	return strconv.AppendInt(appendName(dst, name), n, 10)
}

func appendRaw(dst []byte, name string, raw json.RawMessage) []byte {
	dst = appendName(dst, name)
	if len(raw) == 0 {
		return append(dst, "null"...)
	}
	return append(dst, raw...)
}

// AppendString appends s as a JSON string; invalid UTF-8 becomes U+FFFD.
func AppendString(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && size == 1 {
				dst = append(append(dst, s[start:i]...), "\ufffd"...)
				start = i + size
			}
			i += size
			continue
		}
		if c >= 0x20 && c != '"' && c != '\\' {
			i++
			continue
		}
		dst = append(dst, s[start:i]...)
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
		i++
		start = i
	}
	return append(append(dst, s[start:]...), '"')
}
