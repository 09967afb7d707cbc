package protocol

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
)

// The scanner exists because encoding/json cannot bound depth, matches field
// names regardless of case, and needs a second pass to say which field was
// wrong. This one validates (RFC 8259, strictly), bounds depth and hands out
// the top-level fields in one pass without allocating.

var errNotObject = errors.New("not a JSON object")

type scanner struct {
	b    []byte
	i    int
	max  int
	deep bool // something nested deeper than max; it was skipped, not validated
}

// scanObject calls field with every top-level field of the object in b: the
// unescaped name and the raw value without the space around it. Both alias b
// wherever they can. Fields before a syntax error have been handed out.
func scanObject(b []byte, maxDepth int, field func(name, value []byte)) (deep bool, err error) {
	s := scanner{b: b, max: maxDepth}
	s.space()
	if s.i >= len(b) || b[s.i] != '{' {
		return false, errNotObject
	}
	if err := s.object(1, field); err != nil {
		return s.deep, err
	}
	s.space()
	if s.i < len(b) {
		return s.deep, s.fail("after the object")
	}
	return s.deep, nil
}

func (s *scanner) fail(where string) error {
	if s.i >= len(s.b) {
		return fmt.Errorf("ends too early at byte %d (%s)", s.i, where)
	}
	return fmt.Errorf("unexpected %q at byte %d (%s)", s.b[s.i], s.i, where)
}

func (s *scanner) space() {
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case ' ', '\t', '\r', '\n':
			s.i++
		default:
			return
		}
	}
}

// eat consumes c if it comes next after space.
func (s *scanner) eat(c byte) bool {
	s.space()
	if s.i < len(s.b) && s.b[s.i] == c {
		s.i++
		return true
	}
	return false
}

func (s *scanner) object(depth int, field func(name, value []byte)) error {
	s.i++ // the brace
	if s.eat('}') {
		return nil
	}
	for {
		s.space()
		name := s.i
		if s.i >= len(s.b) || s.b[s.i] != '"' {
			return s.fail("want a field name in quotes")
		}
		if err := s.string(); err != nil {
			return err
		}
		end := s.i
		if !s.eat(':') {
			return s.fail("want ':' after a field name")
		}
		s.space()
		start := s.i
		if err := s.value(depth); err != nil {
			return err
		}
		if field != nil {
			field(unquoteBytes(s.b[name:end]), s.b[start:s.i:s.i])
		}
		if s.eat('}') {
			return nil
		}
		if !s.eat(',') {
			return s.fail("want ',' or '}' in an object")
		}
	}
}

func (s *scanner) array(depth int) error {
	s.i++ // the bracket
	if s.eat(']') {
		return nil
	}
	for {
		if err := s.value(depth); err != nil {
			return err
		}
		if s.eat(']') {
			return nil
		}
		if !s.eat(',') {
			return s.fail("want ',' or ']' in an array")
		}
	}
}

func (s *scanner) value(depth int) error {
	s.space()
	if s.i >= len(s.b) {
		return s.fail("want a value")
	}
	switch c := s.b[s.i]; {
	case c == '"':
		return s.string()
	case (c == '{' || c == '[') && depth >= s.max:
		s.deep = true
		return s.skip()
	case c == '{':
		return s.object(depth+1, nil)
	case c == '[':
		return s.array(depth + 1)
	case c == 't':
		return s.literal("true")
	case c == 'f':
		return s.literal("false")
	case c == 'n':
		return s.literal("null")
	default:
		return s.number()
	}
}

// skip passes over a nested value by its brackets alone, so that the fields
// after one that is too deep (an id, a cid) are still found.
func (s *scanner) skip() error {
	for open := 0; s.i < len(s.b); {
		switch s.b[s.i] {
		case '"':
			if err := s.string(); err != nil {
				return err
			}
			continue
		case '{', '[':
			open++
		case '}', ']':
			open--
		}
		s.i++
		if open == 0 {
			return nil
		}
	}
	return s.fail("in a nested value")
}

func (s *scanner) literal(word string) error {
	for j := range len(word) {
		if s.i >= len(s.b) || s.b[s.i] != word[j] {
			return s.fail("want " + word)
		}
		s.i++
	}
	return nil
}

func (s *scanner) string() error {
	s.i++ // the quote
	for s.i < len(s.b) {
		switch c := s.b[s.i]; {
		case c == '"':
			s.i++
			return nil
		case c == '\\':
			if err := s.escape(); err != nil {
				return err
			}
		case c < 0x20:
			return s.fail("control character in a string")
		default:
			s.i++
		}
	}
	return s.fail("in a string")
}

func (s *scanner) escape() error {
	s.i++ // the backslash
	if s.i >= len(s.b) {
		return s.fail("in an escape")
	}
	switch s.b[s.i] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		s.i++
		return nil
	case 'u':
		s.i++
		for range 4 {
			if s.i >= len(s.b) || !isHex(s.b[s.i]) {
				return s.fail("want four hex digits after \\u")
			}
			s.i++
		}
		return nil
	}
	return s.fail("unknown escape")
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

func (s *scanner) number() error {
	if s.b[s.i] == '-' {
		s.i++
	}
	if s.i < len(s.b) && s.b[s.i] == '0' {
		s.i++
	} else if !s.digits() {
		return s.fail("want a value")
	}
	if s.i < len(s.b) && s.b[s.i] == '.' {
		s.i++
		if !s.digits() {
			return s.fail("want a digit")
		}
	}
	if s.i < len(s.b) && (s.b[s.i] == 'e' || s.b[s.i] == 'E') {
		s.i++
		if s.i < len(s.b) && (s.b[s.i] == '+' || s.b[s.i] == '-') {
			s.i++
		}
		if !s.digits() {
			return s.fail("want a digit")
		}
	}
	return nil
}

func (s *scanner) digits() bool {
	start := s.i
	for s.i < len(s.b) && s.b[s.i] >= '0' && s.b[s.i] <= '9' {
		s.i++
	}
	return s.i > start
}

// unquoteBytes returns the text of a valid JSON string. It copies only when
// there is an escape in it.
func unquoteBytes(quoted []byte) []byte {
	text := quoted[1 : len(quoted)-1]
	for _, c := range text {
		if c == '\\' {
			var s string
			if json.Unmarshal(quoted, &s) != nil {
				return nil // not reached: the scanner has validated it
			}
			return []byte(s)
		}
	}
	return text
}

// The readers below take one validated value; ok is false for another type.

func readString(raw []byte) (s string, ok bool) {
	if len(raw) < 2 || raw[0] != '"' {
		return "", false
	}
	return string(unquoteBytes(raw)), true
}

// readUint takes plain decimal integers below 2^63, so that every language
// and every store can hold them with a sign.
func readUint(raw []byte) (n uint64, ok bool) {
	if len(raw) == 0 {
		return 0, false
	}
	for _, c := range raw {
		if c < '0' || c > '9' {
			return 0, false
		}
		d := uint64(c - '0')
		if n > (math.MaxInt64-d)/10 {
			return 0, false
		}
		n = n*10 + d
	}
	return n, true
}

func readCursor(raw []byte) (c Cursor, ok bool) {
	epoch, seq := false, false
	_, err := scanObject(raw, MaxDepth, func(name, value []byte) {
		switch string(name) {
		case "epoch":
			c.Epoch, epoch = readString(value)
		case "seq":
			c.Seq, seq = readUint(value)
		}
	})
	return c, err == nil && epoch && seq && c.Epoch != "" && len(c.Epoch) <= nameLen
}

func isNull(raw []byte) bool { return string(raw) == "null" }
