package protocol

import (
	"unicode"
	"unicode/utf8"
)

// The rules for names, in the words error messages use.
const (
	RoomRule = "1–128 of A–Z a–z 0–9 _ . : -"
	UserRule = "1–128 characters, no control characters, not beginning with ~ or @"
)

const nameLen = 128

// StatusRoom is the one reserved name that a request may bear; only an operator
// may join it.
const StatusRoom = "~status"

// ValidRoom reports whether s may name a room (RoomRule). Reserved names, which
// begin with ~ or @, are not valid.
func ValidRoom(s string) bool {
	if len(s) == 0 || len(s) > nameLen {
		return false
	}
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case c == '_', c == '.', c == ':', c == '-':
		default:
			return false
		}
	}
	return true
}

// ValidUser reports whether s may name a user (UserRule). An edge asks it of a
// token's subject, too.
func ValidUser(s string) bool {
	if s == "" || len(s) > nameLen*utf8.UTFMax || s[0] == '~' || s[0] == '@' {
		return false
	}
	n := 0
	for i, r := range s {
		if unicode.IsControl(r) {
			return false
		}
		if r == utf8.RuneError {
			if _, size := utf8.DecodeRuneInString(s[i:]); size == 1 {
				return false
			}
		}
		n++
	}
	return n <= nameLen
}
