package chaos

import (
	"errors"
	"fmt"
	"slices"
)

// promises are what docs/guarantees.md says, as far as a run can show it.
var promises = []promise{
	{"an acknowledged message is never lost, or its loss is told", []string{"I1", "I8"}},
	{"a client sees each entry once, in the room's one order", []string{"I2", "I3", "I4", "I5", "I6", "I7"}},
	{"whoever resumes gets everything or is told, and at rest everybody has everything", []string{"I5", "I13"}},
	{"it heals by itself", []string{"I10"}},
	{"presence is right", []string{"I9"}},
	{"nothing is left behind, nothing crashes", []string{"I11", "I12"}},
}

type promise struct {
	text string
	by   []string // invariants
}

// verdict over all runs. What was never looked at is not kept.
func (p promise) verdict(results []*Result) string {
	checked, violations, late := 0, 0, 0
	for _, r := range results {
		for _, v := range r.Verdicts {
			if !slices.Contains(p.by, v.Invariant) {
				continue
			}
			checked += v.Checked
			violations += v.Violations
			if r.Busy() {
				late += v.Late
			}
		}
	}
	switch {
	case violations > 0 && violations == late:
		return fmt.Sprintf("not shown: the machine was too busy (%d of %d)", violations, checked)
	case violations > 0:
		return fmt.Sprintf("**broken** %d times of %d", violations, checked)
	case checked == 0:
		return "not looked at"
	}
	return fmt.Sprintf("kept, 0 of %d", checked)
}

// Err tells what the run found to be broken; nil: nothing. Times do not count where
// the machine was too busy to take them.
func (r *Result) Err() error {
	errs := []error{r.Failed, r.Incomplete}
	if !errors.Is(r.Stopped, ErrBusy) && (!r.Busy() || !errors.Is(r.Stopped, errIdle)) {
		errs = append(errs, r.Stopped)
	}
	return errors.Join(append(errs, r.violated())...)
}

// violated tells which invariants the run found violated; nil: none.
func (r *Result) violated() error {
	var errs []error
	for _, v := range r.Verdicts {
		if v.Violations > v.Late || v.Violations > 0 && !r.Busy() {
			errs = append(errs, fmt.Errorf("%s is violated %d times: %s", v.Invariant, v.Violations, v.First))
		}
	}
	return errors.Join(errs...)
}
