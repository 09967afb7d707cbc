package chaos

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestRunsMadeOneByOneComeToOnePage(t *testing.T) {
	dir := t.TempDir()
	save := func(seed uint64, commit string, more func(*Result)) {
		t.Helper()
		c := NewChecker()
		c.Add(Line{Kind: Looked, Code: "I12"})
		r := &Result{Config: Config{Seed: seed, Commit: commit, Command: "make campaign", For: time.Minute}, Verdicts: c.Verdicts(), Acked: 10,
			Faults: []Happened{{ID: "F7", About: "FLUSHALL", Healed: time.Second, Redelivered: 3, Dup: 2, Counted: true}, {ID: "F7", Healed: 3 * time.Second, InFlight: 4}}}
		if more != nil {
			more(r)
		}
		if err := r.Save(dir); err != nil {
			t.Fatal(err)
		}
	}
	save(2, "new", func(r *Result) { r.Troubles = []string{"F2, kill: no victim"} })
	save(1, "newer", nil)
	save(3, "old", nil)
	if err := (&Storm{Commit: "new", Command: "make campaign", Clients: 100, Connected: 100, Back: 3 * time.Second}).Save(dir); err != nil {
		t.Fatal(err)
	}
	all, err := ReadCampaign(dir, func(commit string) bool { return commit != "old" })
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := all.Write(&out); err != nil {
		t.Fatal(err)
	}
	page := out.String()
	for _, want := range []string{"at commit `new`, `newer`", "4 faults happened under load, 2 of them", "20 messages were acknowledged", "kept, 100 of 100 after 3s",
		"## Seed 1 on Redis", "## Seed 2 on Redis", "**Not whole: F2, kill: no victim**", "| F7 | FLUSHALL | 2 | 1 | 4 | 0s | 3s | 3s | 3 | 2 |", "Replay: `make campaign`"} {
		if !strings.Contains(page, want) {
			t.Errorf("it lacks %q:\n%s", want, page)
		}
	}
	if strings.Contains(page, "Seed 3") || strings.Index(page, "Seed 1 on") > strings.Index(page, "Seed 2 on") {
		t.Errorf("runs of another commit, or in another order:\n%s", page)
	}
}

func TestStormIsBrokenWhereSomebodyIsNotBackOrLacksSomething(t *testing.T) {
	good := Storm{Clients: 10, Connected: 10, Back: time.Second, Missed: 50}
	if err := good.Err(); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*Storm){
		"one is not back": func(s *Storm) { s.Connected-- },
		"too late":        func(s *Storm) { s.Back = stormTime + 1 },
		"one is missing":  func(s *Storm) { s.Missing++ },
		"one came twice":  func(s *Storm) { s.Repeated++ },
		"a hole":          func(s *Storm) { s.Skipped++ },
	} {
		s := good
		if change(&s); s.Err() == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestOnlyTimesAreExcusedOnABusyMachine(t *testing.T) {
	late, lost := NewChecker(), NewChecker()
	late.Add(Line{Kind: Healed, Took: 2, Bound: 1, Timed: true})
	lost.Add(Line{Kind: Looked, Code: "I12", Text: "a panic"})
	patient := Config{Patience: 6}
	for name, c := range map[string]struct {
		r      Result
		broken bool
	}{
		"late":                              {Result{Config: patient, Verdicts: late.Verdicts()}, true},
		"late, lag":                         {Result{Config: patient, Verdicts: late.Verdicts(), Lag: MostLag}, false},
		"late, stood still":                 {Result{Config: patient, Verdicts: late.Verdicts(), Stalled: time.Minute, Took: 5 * time.Minute}, false},
		"late, others ran":                  {Result{Config: patient, Verdicts: late.Verdicts(), Stolen: time.Minute, Took: 5 * time.Minute}, true},
		"late, slowed":                      {Result{Config: patient, Verdicts: late.Verdicts(), Slowed: true}, false},
		"late, a little lag, not patient":   {Result{Verdicts: late.Verdicts(), Lag: MostLag}, true},
		"lost, lag":                         {Result{Config: patient, Verdicts: lost.Verdicts(), Lag: 2 * MostLag}, true},
		"too busy to begin":                 {Result{Config: patient, Verdicts: NewChecker().Verdicts(), Stopped: ErrBusy}, false},
		"nothing flows":                     {Result{Config: patient, Verdicts: NewChecker().Verdicts(), Stopped: errIdle}, true},
		"nothing flows, lag":                {Result{Config: patient, Verdicts: NewChecker().Verdicts(), Stopped: errIdle, Lag: 2 * MostLag}, false},
		"a fault could not be done, busily": {Result{Config: patient, Verdicts: NewChecker().Verdicts(), Failed: errors.New("x"), Lag: 2 * MostLag}, true},
	} {
		if err := c.r.Err(); (err != nil) != c.broken {
			t.Errorf("%s: %v", name, err)
		}
	}
}
