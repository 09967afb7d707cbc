package chaos

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// Campaign is what one report is about: runs of one state of the product, perhaps made
// one by one, and the storm.
type Campaign struct {
	Runs  []*Result
	Storm *Storm // nil: there was none
}

// ReadCampaign reads what was saved in a folder of the commits with the same product.
// A folder that does not exist has nothing.
func ReadCampaign(dir string, same func(commit string) bool) (Campaign, error) {
	var c Campaign
	paths, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return c, err
	}
	for _, path := range paths {
		if filepath.Base(path) == stormFile {
			var s Storm
			if err := readJSON(path, &s); err != nil {
				return c, err
			}
			if same(s.Commit) {
				c.Storm = &s
			}
			continue
		}
		var r Result
		if err := readJSON(path, &r); err != nil {
			return c, err
		}
		if same(r.Config.Commit) && len(r.Verdicts) == len(invariants) {
			c.Runs = append(c.Runs, &r)
		}
	}
	slices.SortFunc(c.Runs, func(a, b *Result) int {
		return cmp.Or(cmp.Compare(a.Config.broker(), b.Config.broker())*-1, cmp.Compare(a.Config.Seed, b.Config.Seed))
	})
	return c, nil
}

// Save writes a result where ReadCampaign finds it, over the one of an earlier run
// with the same seed on the same broker.
func (r *Result) Save(dir string) error {
	return writeJSON(dir, fmt.Sprintf("%s-%d.json", r.Config.broker(), r.Config.Seed), r)
}

func (c Config) broker() string {
	if c.NATS {
		return "NATS"
	}
	return "Redis"
}

func readJSON(path string, to any) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, to); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func writeJSON(dir, name string, what any) error {
	raw, err := json.MarshalIndent(what, "", "\t")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, name), append(raw, '\n'), 0o644)
}
