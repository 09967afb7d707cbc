package chaos

import (
	"strings"
	"testing"
	"time"
)

func TestReportSaysWhatHappenedAndHowToReplay(t *testing.T) {
	c := NewChecker()
	c.Add(Line{Kind: Healed, Room: "r", Code: "F2", Took: 7000, Bound: 5000, Timed: true})
	c.Add(Line{Kind: Looked, Code: "I12"})
	r := &Result{Config: Config{Seed: 7, Clients: 10, Only: []string{"F2"}, Commit: "abc", Command: "make chaos"}, Verdicts: c.Verdicts(), Acked: 11, Delivered: 22,
		Faults: []Happened{{ID: "F2", About: "kill -9 of a chat", Victim: "chat-1", AckedBefore: 60, Counted: true, Healed: 7 * time.Second}}}
	var out strings.Builder
	if err := (Campaign{Runs: []*Result{r}}).Write(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"commit `abc`", "1 fault happened under load, 1 of them", "| it heals by itself | I10 | **broken** 1 times of 1 |",
		"| presence is right | I9 | not looked at |", "| nothing is left behind, nothing crashes | I11, I12 | kept, 0 of 1 |",
		"**I10 violated 1 time.** First: after F2 room r", "Replay: `make chaos SEED=7 ONLY=F2`"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it lacks %q:\n%s", want, out.String())
		}
	}
	if err := r.Err(); err == nil || !strings.Contains(err.Error(), "I10 is violated") {
		t.Errorf("on a quiet machine: %v", err)
	}
	r.Lag = 2 * MostLag
	if err := r.Err(); err != nil {
		t.Errorf("on a busy machine: %v", err)
	}
}

func TestReportTellsWhatHealedLateAndWasLetPass(t *testing.T) {
	c := NewChecker()
	c.Add(Line{Kind: Healed, Room: "r", Code: "F8", Took: 5470, Bound: 6200, Timed: true})
	r := &Result{Verdicts: c.Verdicts(), Faults: []Happened{{ID: "F8", Counted: true, Healed: 5470 * time.Millisecond}, {ID: "F2", Counted: true, Healed: 15 * time.Second},
		{ID: "F8", AckedBefore: 900}}} // the last could not be done
	var out strings.Builder
	if err := (Campaign{Runs: []*Result{r}}).Write(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"is allowed: F8 after 5.47s, promised are 5s.\n", "2 faults happened under load", "| F8 | power cut: the AOF's tail is cut off | 1 | 1 |"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it lacks %q:\n%s", want, out.String())
		}
	}
}
