package room

import (
	"strings"
	"testing"

	"github.com/parley-chat/parley/shared/event"
)

func TestNames(t *testing.T) {
	long := strings.Repeat("ä", 128)
	tests := []struct {
		name            string
		room, user, cid bool
	}{
		{"general", true, true, true},
		{"A.b_c:d-9", true, true, true},
		{"", false, false, false},
		{"~partition/3", false, false, true},
		{"~status", true, false, true},
		{"~operator", false, true, true},
		{"@bob", false, false, true},
		{"a b", false, true, true},
		{"a\nb", false, false, true},
		{"{p01}", false, true, true},
		{"\xff", false, false, false},
		{long, false, true, false},
		{long + "ä", false, false, false},
		{strings.Repeat("a", 64), true, true, true},
		{strings.Repeat("a", 65), true, true, false},
		{strings.Repeat("a", 129), false, false, false},
	}
	for _, test := range tests {
		if got := ValidName(event.RoomID(test.name)); got != test.room {
			t.Errorf("room %q: %t", test.name, got)
		}
		if got := ValidUser(event.UserID(test.name)); got != test.user {
			t.Errorf("user %q: %t", test.name, got)
		}
		if got := ValidCID(event.ClientID(test.name)); got != test.cid {
			t.Errorf("cid %q: %t", test.name, got)
		}
	}
}

func TestMay(t *testing.T) {
	for _, test := range []struct {
		user   event.UserID
		room   event.RoomID
		action Action
		may    bool
	}{
		{"alice", "r", Send, true},
		{"", "r", Send, false},
		{"alice", event.StatusRoom, Join, false},
		{"alice", event.StatusRoom, Send, false},
		{"alice", event.StatusRoom, Read, false},
		{"alice", event.StatusRoom, Members, false},
		{event.Operator, event.StatusRoom, Join, true},
		{event.Operator, event.StatusRoom, Send, false},
		{event.Operator, event.StatusRoom, Signal, false},
		{event.Operator, "r", Members, true},
		{event.Operator, "r", Join, false},
		{event.Operator, "r", Read, false},
	} {
		if err := May(test.user, test.room, test.action); (err == nil) != test.may {
			t.Errorf("%q may %s %s: %v, want %t", test.user, test.action, test.room, err, test.may)
		}
	}
}
