package parley

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// output is where results go, for people or for programs.
type output struct {
	stdout, stderr io.Writer
	json           bool
}

// document prints one result: as JSON, or by text.
func (o *output) document(value any, text func(io.Writer)) error {
	if o.json {
		encoder := json.NewEncoder(o.stdout)
		encoder.SetIndent("", "  ")
		return encoder.Encode(value)
	}
	text(o.stdout)
	return nil
}

// line prints one of many results on a line of its own.
func (o *output) line(value any, text string) error {
	if o.json {
		return json.NewEncoder(o.stdout).Encode(value)
	}
	_, err := fmt.Fprintln(o.stdout, text)
	return err
}

// table prints rows in columns.
func table(w io.Writer, rows ...[]string) {
	columns := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(columns, strings.Join(row, "\t"))
	}
	_ = columns.Flush()
}

// watched tells whether somebody looks at stderr, who wants to see how far it is.
func (o *output) watched() bool {
	f, ok := o.stderr.(*os.File)
	return ok && !o.json && term.IsTerminal(int(f.Fd()))
}

// progress shows how far something is that takes long, where somebody looks: on a
// terminal, and not for programs.
func (o *output) progress(total int, doing string) *progressbar.ProgressBar {
	return progressbar.NewOptions(total, progressbar.OptionSetWriter(o.stderr), progressbar.OptionSetVisibility(o.watched()),
		progressbar.OptionSetDescription(doing), progressbar.OptionShowCount(), progressbar.OptionClearOnFinish(),
		progressbar.OptionThrottle(100*time.Millisecond))
}

func clock(ms int64) string { return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z") }

// size is bytes for people.
func size(bytes int64) string {
	switch {
	case bytes >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20))
	case bytes >= 1<<10:
		return fmt.Sprintf("%.1f KiB", float64(bytes)/(1<<10))
	}
	return fmt.Sprintf("%d B", bytes)
}
