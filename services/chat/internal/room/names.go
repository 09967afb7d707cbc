package room

import (
	"errors"
	"unicode"
	"unicode/utf8"

	"github.com/parley-chat/parley/shared/event"
)

// The longest names that are accepted, in characters.
const (
	MaxName = 128 // of a room or a user
	MaxCID  = 64
)

// ValidName tells whether a room may bear this name: 1–128 of [A-Za-z0-9_.:-], or
// that of the one reserved room.
// Edges check it first; chat does not build keys from what it has not checked.
func ValidName(id event.RoomID) bool {
	if id == event.StatusRoom {
		return true
	}
	if len(id) == 0 || len(id) > MaxName {
		return false
	}
	for i := range len(id) {
		c := id[i]
		letter := c|0x20 >= 'a' && c|0x20 <= 'z'
		if !letter && (c < '0' || c > '9') && c != '_' && c != '.' && c != ':' && c != '-' {
			return false
		}
	}
	return true
}

// ValidUser tells whether a user may bear this name: 1–128 characters of UTF-8,
// no control characters, not beginning with ~ or @; or be the operator.
func ValidUser(id event.UserID) bool {
	if id == event.Operator {
		return true
	}
	s := string(id)
	if s == "" || len(s) > MaxName*utf8.UTFMax || s[0] == '~' || s[0] == '@' || !utf8.ValidString(s) {
		return false
	}
	for _, c := range s {
		if unicode.IsControl(c) {
			return false
		}
	}
	return utf8.RuneCountInString(s) <= MaxName
}

// ValidCID tells whether a send may bear this cid: 1–64 characters of UTF-8.
func ValidCID(id event.ClientID) bool {
	s := string(id)
	return s != "" && len(s) <= MaxCID*utf8.UTFMax && utf8.ValidString(s) && utf8.RuneCountInString(s) <= MaxCID
}

// Action is something that a user does with a room.
type Action string

// What is asked of [May].
const (
	Join    Action = "join"
	Send    Action = "send"
	Read    Action = "read the history of"
	Members Action = "list the members of"
	Signal  Action = "signal in"
)

// May is the one place where a permission is decided: history, joining and live
// delivery ask here. A nil error permits. Today any authenticated user may do
// everything in every room but the one for operators; an operator, whose session
// bears no user's name, may watch and nothing else.
func May(user event.UserID, id event.RoomID, action Action) error {
	operator := user == event.Operator
	switch {
	case user == "":
		return errors.New("only an authenticated user may " + string(action) + " a room")
	case operator && (action == Members || action == Join && id == event.StatusRoom):
		return nil
	case operator:
		return errors.New("an operator may join " + string(event.StatusRoom) + " and list the members of rooms, not " + string(action) + " one")
	case id == event.StatusRoom:
		return errors.New("only an operator may " + string(action) + " " + string(event.StatusRoom) + ": hello with admin")
	}
	return nil
}
