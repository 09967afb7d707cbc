package page

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/parley-chat/parley/deploy/loadgen"
)

func report() loadgen.Report {
	r := loadgen.Report{
		Scenario: "B", Target: "parley <1>", About: "one room", Began: time.Unix(0, 0).UTC(), Sent: 30, Acked: 30, Seconds: 3,
		Warnings: []string{"the generator sent late"}, CPU: map[string]float64{"chat-1": 1.5},
	}
	for i := range 4 {
		r.Timeline = append(r.Timeline, loadgen.Second{Acked: 10, Delivered: int64(100 * i), Delivery: loadgen.Latency{P50: 1, P99: float64(i)}})
		r.Samples = append(r.Samples, loadgen.Sample{At: float64(i), CPU: map[string]float64{"chat-1": 0.5}, RSS: map[string]int64{"chat-1": 20 << 20}})
	}
	return r
}

func TestHTMLStandsAlone(t *testing.T) {
	raw, err := HTML(report())
	if err != nil {
		t.Fatal(err)
	}
	text := string(raw)
	if n := strings.Count(text, "<svg"); n != 4 {
		t.Errorf("%d plots, want throughput, latency, CPU and memory", n)
	}
	for _, want := range []string{"parley &lt;1&gt;", "Warning: the generator sent late", "chat-1", "delivery p99"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in the page", want)
		}
	}
	for _, link := range regexp.MustCompile(`(?:src|href|url)\s*[=(]\s*["']?([^"')\s>]+)`).FindAllStringSubmatch(text, -1) {
		if !strings.HasPrefix(link[1], "#") {
			t.Errorf("the page loads %s", link[1])
		}
	}
}

func TestNothingMeasuredIsNotDrawn(t *testing.T) {
	raw, err := HTML(loadgen.Report{Scenario: "A", Target: "parley"})
	if err != nil || bytes.Contains(raw, []byte("<svg")) {
		t.Errorf("%v; plots of nothing", err)
	}
}

// TestGridIsXML: a browser shows nothing at all of an SVG that is not well-formed.
func TestGridIsXML(t *testing.T) {
	line := Line{Name: "a & b", Dots: true, Points: []Point{{1, 5}, {10, 0}, {100, 7}}}
	svg, err := Grid([]Plot{
		{Title: "linear", Lines: []Line{line}},
		{Title: "logarithmic", LogX: true, LogY: true, Lines: []Line{line}},
		{Title: "one value", LogY: true, Lines: []Line{{Name: "c", Points: []Point{{1, 3}}}}},
		{Title: "nothing above 0", LogY: true, Lines: []Line{{Name: "d", Points: []Point{{1, 0}}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	d := xml.NewDecoder(bytes.NewReader(svg))
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
}
