package bench

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"github.com/parley-chat/parley/deploy/loadgen"
)

// Section is a generated part of the page.
type Section string

// The generated parts.
const (
	Compared   Section = "compare"
	Grown      Section = "growth"
	Overloaded Section = "overload"
)

func (s Section) begin() string { return "<!-- generated: begin " + string(s) + " -->" }
func (s Section) end() string   { return "<!-- generated: end " + string(s) + " -->" }

// Put puts a generated part into the page at path, in the place of what was
// between its markers; a page without them gets them at its end. What is written by
// hand stays.
func Put(path string, s Section, text string) error {
	raw, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	page, err := put(string(raw), s, text)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return os.WriteFile(path, []byte(page), 0o644)
}

func put(page string, s Section, text string) (string, error) {
	text = s.begin() + "\n" + strings.TrimSpace(text) + "\n" + s.end()
	from, to := strings.Index(page, s.begin()), strings.Index(page, s.end())
	switch {
	case from < 0 && to < 0:
		if page != "" {
			page = strings.TrimRight(page, "\n") + "\n\n"
		}
		return page + text + "\n", nil
	case from < 0 || to < from:
		return "", fmt.Errorf("the markers %s and %s must both stand there, in this order", s.begin(), s.end())
	}
	return page[:from] + text + page[to+len(s.end()):], nil
}

// Markdown is the results as a part of the page.
func (r *Results) Markdown() string {
	var b strings.Builder
	speed := r.median("C", baseline, acked) / referenceC
	fmt.Fprintf(&b, "%s, Parley %s: %s.\n", r.Began, r.Machine.Version, r.Machine)
	how := "`make bench-compare`"
	if r.Quick {
		how = "`make bench-compare QUICK=1` (short periods: the figures scatter)"
	}
	fmt.Fprintf(&b, "Measured by %s, medians of %d rounds in turn for B, Bslow and C. ", how, rounds)
	if speed > 0 {
		fmt.Fprintf(&b, "The durable baseline acknowledges %s messages/s in C here, %.2f of the %s where the targets were set; the column *here* is the target scaled by that.",
			number(speed*referenceC), speed, number(referenceC))
	}
	b.WriteString("\n\n| scenario | figure | target | here | measured | times the target | |\n|---|---|--:|--:|--:|--:|---|\n")
	for _, o := range r.outcomes() {
		sign, mark := "≥", "reached"
		if o.atMost {
			sign = "≤"
		}
		if !o.reached {
			mark = "**not reached**"
		}
		fmt.Fprintf(&b, "| %s | %s | %s %s | %s | %s | %.2f | %s |\n", o.scenario, o.what,
			sign, unit(o.target, o.unit), unit(o.here, o.unit), unit(o.measured, o.unit), o.factor, mark)
	}
	r.ratios(&b)
	r.mosts(&b)
	r.doubts(&b)
	return b.String()
}

// ratios is the table of the systems side by side.
func (r *Results) ratios(b *strings.Builder) {
	b.WriteString("\n| scenario | system | acknowledged/s | deliveries/s | deliveries per CPU-second | CPU µs a message: services + Redis | answer p50 / p99 ms | delivery p50 / p99 ms | KiB a connection |\n|---|---|--:|--:|--:|--:|--:|--:|--:|\n")
	for _, scenario := range []string{"A", "B", "Bslow", "B800", "C", "C half", "D", "E", "E10", "F", "quiet"} {
		for _, system := range []string{baseline, parley, stock, standalone} {
			if len(r.of(scenario, system)) == 0 {
				continue
			}
			m := func(figure func(loadgen.Report) float64) float64 { return r.median(scenario, system, figure) }
			fmt.Fprintf(b, "| %s | %s | %s | %s | %s | %s + %s | %.2f / %.2f | %.2f / %.2f | %s |\n", scenario, system,
				number(m(acked)), number(m(func(r loadgen.Report) float64 { return r.DeliveredPerSecond })), number(m(perCPU)),
				number(m(micros)), number(m(func(r loadgen.Report) float64 { return r.RedisMicros })),
				m(func(r loadgen.Report) float64 { return r.Ack.P50 }), m(func(r loadgen.Report) float64 { return r.Ack.P99 }),
				m(deliveryP50), m(deliveryP99), perConnection(r.of(scenario, system)))
		}
	}
	if other := r.median("C", stock, acked); other > 0 {
		fmt.Fprintf(b, "\nThe default Redis driver against Watermill's own (`?driver=stock`) in C: %.2f × the messages, %.2f × the CPU of the services a message.\n",
			r.median("C", parley, acked)/other, r.median("C", parley, micros)/r.median("C", stock, micros))
	}
}

// perConnection is the memory of idle connections; elsewhere it is that of the load.
func perConnection(of []loadgen.Report) string {
	if of[0].Scenario != "A" {
		return "–"
	}
	return fmt.Sprintf("%.1f", of[0].Memory.EdgeKiB)
}

func (r *Results) mosts(b *strings.Builder) {
	if len(r.Most) == 0 {
		return
	}
	b.WriteString("\nThe most with delivery p99 below 100 ms, offered in steps:\n\n| scenario | system | messages/s | deliveries/s |\n|---|---|--:|--:|\n")
	for _, m := range r.Most {
		fmt.Fprintf(b, "| %s | %s | %s | %s |\n", m.Scenario, m.Target, number(m.Rate), number(m.Deliveries))
	}
}

// doubts are the notes and warnings, each once.
func (r *Results) doubts(b *strings.Builder) {
	seen := map[string]bool{}
	say := func(text string) {
		if !seen[text] {
			seen[text] = true
			fmt.Fprintf(b, "* %s\n", text)
		}
	}
	b.WriteString("\n")
	for _, n := range r.Notes {
		say(n)
	}
	for _, report := range r.Reports {
		for _, w := range report.Warnings {
			say(fmt.Sprintf("%s, %s: %s.", report.Scenario, report.Target, w))
		}
	}
}

func unit(n float64, unit string) string {
	if unit == "" {
		return number(n)
	}
	return number(n) + " " + unit
}

// number writes three digits of what is small and thousands of what is large.
func number(n float64) string {
	switch {
	case n >= 1000:
		digits := strconv.FormatFloat(n, 'f', 0, 64)
		var out []byte
		for i, c := range []byte(digits) {
			if i > 0 && (len(digits)-i)%3 == 0 {
				out = append(out, ',')
			}
			out = append(out, c)
		}
		return string(out)
	case n >= 100:
		return strconv.FormatFloat(n, 'f', 0, 64)
	}
	return strconv.FormatFloat(n, 'g', 3, 64)
}
