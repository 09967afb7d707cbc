package ingress

import (
	"strings"
	"testing"
	"time"
)

func TestTicketKeepsTheName(t *testing.T) {
	now := time.UnixMilli(1_763_765_123_456)
	first, life := newTicket(now).next(now)
	back, ok := parseTicket(first.String())
	if !ok || back != first {
		t.Fatalf("%q was read as %+v, %t", first, back, ok)
	}
	second, later := back.next(now.Add(-time.Hour)) // another edge's clock is behind
	if later <= life {
		t.Errorf("life %d is not above %d", later, life)
	}
	if _, again := back.next(now.Add(time.Millisecond)); again <= later {
		t.Errorf("a later hello with the same ticket has life %d, not above %d", again, later)
	}
	if second.session("alice") != first.session("alice") {
		t.Error("the session has another name after a resumption")
	}
	if second.session("alice") == second.session("bob") {
		t.Error("two users have one session")
	}
	if strings.Contains(string(first.session("alice")), first.secret) {
		t.Error("the session's name shows the secret")
	}
}

func TestParseTicketRefuses(t *testing.T) {
	good := newTicket(time.Now()).secret
	for _, bad := range []string{
		"", ".", "..", good, good + ".", good + ".1", good + ".x.1", good + ".1.", good + ".-1.a", good + ".4194303.a",
		good + ".1.-a", good + ".1.zzzzzzzzzzzz", "short.1.a", good[1:] + "!.1.a", good + "AA.1.a",
	} {
		if got, ok := parseTicket(bad); ok {
			t.Errorf("%q was read as %+v", bad, got)
		}
	}
}

func FuzzTicket(f *testing.F) {
	f.Add(newTicket(time.Now()).String())
	f.Add("AAAAAAAAAAAAAAAAAAAAAAAA.1.mwr6ud5f")
	f.Fuzz(func(t *testing.T, s string) {
		got, ok := parseTicket(s)
		if !ok {
			return
		}
		if back, ok := parseTicket(got.String()); !ok || back != got {
			t.Errorf("%q was read as %+v, and that as %+v", s, got, back)
		}
		if next, life := got.next(time.Now()); next.count != got.count+1 || uint64(life)>>lifeTime != next.count {
			t.Errorf("after %+v comes %+v in life %d", got, next, life)
		}
	})
}
