package bus

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestJudge(t *testing.T) {
	at := func(generation uint64, life string, number uint64, count int) header {
		return header{scope: "s", generation: generation, life: life, number: number, count: count}
	}
	known := []header{at(5, "old", 9, 1), at(5, "a", 1, 1), at(5, "a", 2, 1), at(5, "a", 3, 1)}
	for _, c := range []struct {
		name  string
		known []header
		h     header
		want  verdict
	}{
		{"first sight: any number", nil, at(5, "a", 17, 1), handle},
		{"first sight of a repeat", nil, at(5, "a", 17, 0), nothing},
		{"the next one", known, at(5, "a", 4, 1), handle},
		{"the last again", known, at(5, "a", 3, 1), handled},
		{"an old one again", known, at(5, "a", 1, 1), handled},
		{"one is missing", known, at(5, "a", 5, 1), hole},
		{"repeat of the last", known, at(5, "a", 3, 0), nothing},
		{"repeat of an earlier one", known, at(5, "a", 2, 0), nothing},
		{"repeat that shows a loss", known, at(5, "a", 4, 0), hole},
		{"lower generation", known, at(4, "b", 1, 1), stale},
		{"repeat of a lower generation", known, at(4, "b", 7, 0), stale},
		{"higher generation from its start", known, at(6, "b", 1, 1), handle},
		{"higher generation from its middle", known, at(6, "b", 2, 1), hole},
		{"repeat of a higher generation", known, at(6, "b", 2, 0), hole},
		{"another life from its start", known, at(5, "b", 1, 1), handle},
		{"another life from its middle", known, at(5, "b", 2, 1), hole},
		{"late repeat of the past life", known, at(5, "old", 9, 1), stale},
		{"the past life under a higher generation", known, at(6, "old", 1, 1), handle},
		{"another scope", known, header{scope: "other", life: "x", number: 9, count: 1}, handle},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBook()
			for _, h := range c.known {
				b.note(h, 0, time.Now())
			}
			if got := b.judge(c.h); got != c.want {
				t.Errorf("judge is %d, want %d", got, c.want)
			}
		})
	}
}

func TestScopesAreForgotten(t *testing.T) {
	b, now := newBook(), time.Now()
	b.note(header{scope: "quiet", life: "a", number: 1, count: 1}, 0, now)
	b.note(header{scope: "heard", life: "a", number: 1, count: 1}, 0, now)
	b.hears("heard", now.Add(6*time.Minute))
	b.note(header{scope: "busy", life: "a", number: 1, count: 1}, 0, now.Add(11*time.Minute))
	if b.lastAttempt("quiet") != -1 || b.lastAttempt("heard") != 0 || b.lastAttempt("busy") != 0 {
		t.Errorf("remembered: %v", b.scopes)
	}
}

// Whatever is lost, doubled or comes late: nothing is handled twice or out of
// order, and nothing that was said after the first sight is missing without a hole.
func TestNumberingProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sent := script(t)
		b := newBook()
		done := map[string]uint64{} // life → last handled
		holes, lost := 0, 0
		for _, s := range sent {
			if s.lost {
				lost++
				continue
			}
			life := fmt.Sprint(s.generation, s.life)
			switch b.judge(s.header) {
			case hole:
				holes++
				if last, known := done[life]; known && s.count > 0 && s.number == last+1 {
					t.Fatalf("%+v follows %d and is called a hole", s.header, last)
				}
			case handle:
				if last, known := done[life]; known && s.number != last+1 {
					t.Fatalf("%+v handled after %d", s.header, last)
				}
			default:
				continue
			}
			done[life] = s.number
			b.note(s.header, 0, time.Now())
		}
		if lost == 0 && holes > 0 {
			t.Fatalf("%d holes though nothing was lost", holes)
		}
	})
}

type spoken struct {
	header
	lost bool
}

// script is what one scope says: generations and lives one after another, some
// messages lost, some published twice.
func script(t *rapid.T) []spoken {
	var out []spoken
	generation := uint64(1)
	for life := range rapid.IntRange(1, 4).Draw(t, "lives") {
		if rapid.Bool().Draw(t, "new generation") {
			generation++
		}
		for n := range rapid.IntRange(1, 8).Draw(t, "messages") {
			s := spoken{header: header{scope: "s", generation: generation, life: fmt.Sprint(life), number: uint64(n + 1), count: 1}}
			s.lost = rapid.IntRange(0, 9).Draw(t, "luck") == 0
			out = append(out, s)
			if rapid.IntRange(0, 4).Draw(t, "twice") == 0 {
				out = append(out, s)
			}
			if rapid.IntRange(0, 4).Draw(t, "repeat") == 0 {
				s.count, s.lost = 0, false
				out = append(out, s)
			}
		}
	}
	return out
}
