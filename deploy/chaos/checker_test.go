package chaos

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// check runs a history, given as a list of lines, and returns the invariants it breaks.
func check(t *testing.T, history ...Line) []string {
	t.Helper()
	var text strings.Builder
	enc := json.NewEncoder(&text)
	for _, l := range history {
		if err := enc.Encode(l); err != nil {
			t.Fatal(err)
		}
	}
	c, err := Check(strings.NewReader(text.String()))
	if err != nil {
		t.Fatal(err)
	}
	var broken []string
	for _, v := range c.Verdicts() {
		if v.Violations > 0 {
			broken = append(broken, v.Invariant)
			t.Logf("%s: %s", v.Invariant, v.First)
		}
	}
	return broken
}

func by(client string, l Line) Line {
	l.Client, l.Conn = client, 1
	if l.User == "" && l.Kind != Delivered {
		l.User = client
	}
	if l.Kind != Opened && l.Kind != Closed {
		l.Room = "r"
	}
	return l
}

func opened(client string) Line { return by(client, Line{Kind: Opened}) }
func joined(client string, after uint64) Line {
	return by(client, Line{Kind: Joined, Epoch: "e1", After: after})
}
func sent(client, cid string) Line { return by(client, Line{Kind: Sent, CID: cid, Hash: 7}) }
func acked(client, cid string, seq uint64) Line {
	return by(client, Line{Kind: Acked, CID: cid, Seq: seq, Epoch: "e1"})
}
func entry(kind Kind, client string, seq uint64, user, cid string) Line {
	return by(client, Line{Kind: kind, Seq: seq, MID: "m-" + cid, User: user, CID: cid, Hash: 7})
}
func got(client string, seq uint64, user, cid string) Line {
	return entry(Delivered, client, seq, user, cid)
}
func final(seq uint64, user, cid string) Line {
	l := entry(Final, "", seq, user, cid)
	l.Epoch = "e1"
	return l
}
func head(seq uint64) Line { return Line{Kind: Head, Room: "r", Seq: seq, Epoch: "e1"} }

func with(l Line, change func(*Line)) Line {
	change(&l)
	return l
}

func TestCheckerLetsAHealthyHistoryPass(t *testing.T) {
	broken := check(t,
		opened("a"), joined("a", 0), opened("b"), joined("b", 0),
		sent("a", "1"), got("b", 1, "a", "1"), acked("a", "1", 1), got("a", 1, "a", "1"),
		sent("b", "x"), sent("b", "x"), acked("b", "x", 2), acked("b", "x", 2), got("b", 2, "b", "x"),
		by("a", Line{Kind: Closed}),
		with(opened("a"), func(l *Line) { l.Conn = 2 }),
		with(joined("a", 1), func(l *Line) { l.Conn, l.Since = 2, &Since{"e1", 1} }),
		with(got("a", 2, "b", "x"), func(l *Line) { l.Conn = 2 }),
		Line{Kind: Fault, Code: "F1"}, Line{Kind: Healed, Room: "r", Code: "F1", Took: 10, Bound: 5000},
		final(1, "a", "1"), final(2, "b", "x"), head(2),
		Line{Kind: Presence, Room: "r", Client: "edge", Users: []string{"b", "a"}},
		Line{Kind: Looked, Code: "I12"})
	if broken != nil {
		t.Errorf("broken: %v", broken)
	}
}

func TestCheckerFindsEachViolation(t *testing.T) {
	begin := []Line{opened("a"), joined("a", 0), sent("a", "1"), sent("a", "2"), sent("a", "3")}
	for name, c := range map[string]struct {
		history []Line
		want    []string
	}{
		"an acked message is not in the log": {
			[]Line{acked("a", "1", 1), head(0)}, []string{"I1"}},
		"an acked message is another in the log": {
			[]Line{acked("a", "1", 1), final(1, "a", "2"), final(2, "a", "1"), head(2)}, []string{"I1", "I6", "I13"}},
		"never sent": {
			[]Line{got("a", 1, "a", "9")}, []string{"I2"}},
		"another body": {
			[]Line{with(got("a", 1, "a", "1"), func(l *Line) { l.Hash = 8 })}, []string{"I2"}},
		"twice in the log": {
			[]Line{final(1, "a", "1"), with(final(2, "a", "1"), func(l *Line) { l.MID = "other" })}, []string{"I2"}},
		"delivered twice under two numbers": {
			[]Line{got("a", 1, "a", "1"), got("a", 2, "a", "1")}, []string{"I2"}},
		"delivered again": {
			[]Line{got("a", 1, "a", "1"), got("a", 1, "a", "1")}, []string{"I3"}},
		"delivered backwards": {
			[]Line{got("a", 1, "a", "1"), got("a", 2, "a", "2"), got("a", 1, "a", "1")}, []string{"I3"}},
		"one number, two messages": {
			[]Line{opened("b"), joined("b", 0), got("a", 1, "a", "1"), got("b", 1, "a", "2")}, []string{"I4", "I8"}},
		"acknowledged under two numbers": {
			[]Line{acked("a", "1", 1), acked("a", "1", 2), final(1, "a", "3"), final(2, "a", "1")}, []string{"I4", "I6"}},
		"a hole": {
			[]Line{got("a", 1, "a", "1"), got("a", 3, "a", "3")}, []string{"I5"}},
		"a hole at the resumption": {
			[]Line{got("a", 1, "a", "1"), with(joined("a", 2), func(l *Line) { l.Since = &Since{"e1", 1} })}, []string{"I5"}},
		"a hole in the log": {
			[]Line{final(1, "a", "1"), final(3, "a", "2")}, []string{"I5"}},
		"delivered after leaving": {
			[]Line{by("a", Line{Kind: Left}), got("a", 1, "a", "1")}, []string{"I5"}},
		"a gap of what is there": {
			[]Line{by("a", Line{Kind: Gap, From: 1, To: 1}), final(1, "a", "1")}, []string{"I5"}},
		"a gap somewhere else": {
			[]Line{by("a", Line{Kind: Gap, From: 5, To: 6})}, []string{"I5"}},
		"a reset without a reason": {
			[]Line{by("a", Line{Kind: Reset, Epoch: "e2"})}, []string{"I5"}},
		"a reset of what is there": {
			[]Line{got("a", 1, "a", "1"), {Kind: Fault, Excuse: true}, by("a", Line{Kind: Reset, Epoch: "e2"}), final(1, "a", "1")}, []string{"I5"}},
		"out of the sender's order": {
			[]Line{final(1, "a", "2"), final(2, "a", "1")}, []string{"I6"}},
		"out of the sender's order, in a log that is gone": {
			[]Line{got("a", 1, "a", "2"), got("a", 2, "a", "1"), {Kind: Fault, Excuse: true}, by("a", Line{Kind: Reset, Epoch: "e2"})}, []string{"I6"}},
		"acked as another": {
			[]Line{acked("a", "1", 2), got("a", 1, "a", "1")}, []string{"I7"}},
		"an epoch comes back": {
			[]Line{{Kind: Fault, Excuse: true}, by("a", Line{Kind: Reset, Epoch: "e2"}), by("a", Line{Kind: Reset, Epoch: "e1"})}, []string{"I8"}},
		"the same epoch again": {
			[]Line{{Kind: Fault, Excuse: true}, by("a", Line{Kind: Reset, Epoch: "e1"})}, []string{"I8"}},
		"a ghost": {
			[]Line{{Kind: Presence, Room: "r", Users: []string{"a", "b"}}}, []string{"I9"}},
		"one too few": {
			[]Line{{Kind: Presence, Room: "r"}}, []string{"I9"}},
		"healed too late": {
			[]Line{{Kind: Healed, Room: "r", Took: 5001, Bound: 5000}}, []string{"I10"}},
		"goroutines are left": {
			[]Line{{Kind: Looked, Code: "I11", Text: "chat-1 has 900 goroutines, had 40"}}, []string{"I11"}},
		"a data race": {
			[]Line{{Kind: Looked, Code: "I12", Text: "WARNING: DATA RACE"}}, []string{"I12"}},
		"behind at rest": {
			[]Line{final(1, "a", "1"), head(1)}, []string{"I13"}},
		"a lost message that the reset kept": {
			[]Line{got("a", 1, "a", "1"), acked("a", "1", 1), {Kind: Fault, Excuse: true}, by("a", Line{Kind: Reset, Epoch: "e2", Seq: 1}), head(0)}, []string{"I1", "I13"}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := check(t, slices.Concat(begin, c.history)...); !slices.Equal(got, c.want) {
				t.Errorf("broken %v, want %v", got, c.want)
			}
		})
	}
}

// The acknowledgement of a send under the new epoch may overtake the reset.
func TestCheckerAllowsForAnAckBeforeItsReset(t *testing.T) {
	in2 := func(l Line) Line { l.Epoch = "e2"; return l }
	broken := check(t,
		opened("a"), joined("a", 0), sent("a", "0"), sent("a", "1"), got("a", 1, "a", "0"), got("a", 2, "a", "1"),
		Line{Kind: Fault, Code: "F7", Excuse: true},
		sent("a", "1"), acked("a", "1", 1), // under e2
		by("a", Line{Kind: Reset, Epoch: "e2"}), got("a", 1, "a", "1"),
		in2(final(1, "a", "1")), in2(head(1)))
	if broken != nil {
		t.Errorf("broken: %v", broken)
	}
}

func TestCheckerExcusesWhatWasToldAndIsGone(t *testing.T) {
	broken := check(t,
		opened("a"), joined("a", 0), sent("a", "1"), got("a", 1, "a", "1"), acked("a", "1", 1),
		sent("a", "2"), got("a", 2, "a", "2"), acked("a", "2", 2),
		Line{Kind: Fault, Code: "F8", Excuse: true},
		by("a", Line{Kind: Reset, Epoch: "e2", Seq: 1}),
		sent("a", "3"), got("a", 2, "a", "3"),
		with(final(1, "a", "1"), func(l *Line) { l.Epoch = "e2" }), with(final(2, "a", "3"), func(l *Line) { l.Epoch = "e2" }),
		with(head(2), func(l *Line) { l.Epoch = "e2" }))
	if broken != nil {
		t.Errorf("broken: %v", broken)
	}
}

func TestCheckerHoldsMeasuresAgainstTheirBounds(t *testing.T) {
	within := Line{Kind: Measured, Code: "I10", Text: "ms until /readyz is red", Took: 10_000, Bound: 10_000}
	if broken := check(t, within); len(broken) != 0 {
		t.Errorf("within the bound: %v is broken", broken)
	}
	for _, invariant := range []string{"I5", "I9", "I10", "I11"} {
		late := with(within, func(l *Line) { l.Code, l.Took = invariant, 10_001 })
		if broken := check(t, within, late); !slices.Equal(broken, []string{invariant}) {
			t.Errorf("over the bound of %s: %v is broken", invariant, broken)
		}
	}
}
