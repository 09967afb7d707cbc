package chaos

import (
	"path/filepath"
	"testing"
)

// TestMutantsApply: a patch that no longer applies shows nothing.
func TestMutantsApply(t *testing.T) {
	paths, err := filepath.Glob("mutants/*.patch")
	if err != nil || len(paths) != 18 {
		t.Fatalf("%d patches, want 18: %v", len(paths), err)
	}
	for _, path := range paths {
		m, err := readMutant(path)
		if err != nil {
			t.Error(err)
			continue
		}
		_, touched, err := m.overlay(t.Context(), t.TempDir())
		if err != nil {
			t.Errorf("%s: %v", m.name(), err)
		}
		if len(touched) == 0 {
			t.Errorf("%s changes no service", m.name())
		}
		for _, f := range m.faults {
			if _, err := choose([]string{f}, false); err != nil {
				t.Errorf("%s: %v", m.name(), err)
			}
		}
	}
}
