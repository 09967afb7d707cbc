package parley

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

// Whatever is asked for wrongly, or cannot be reached, is one line that says what is
// wrong; and nothing hangs.
func TestWhatCannotBeDone(t *testing.T) {
	const nowhere = "--bus=redis://user:hunter2@127.0.0.1:1/0"
	for name, c := range map[string]struct {
		args []string
		code int
		says string
	}{
		"nothing":           {nil, ExitUsage, "expected one of"},
		"unknown":           {[]string{"dance"}, ExitUsage, "unexpected argument dance"},
		"help":              {[]string{"--help"}, ExitOK, "Usage: parley"},
		"memory":            {[]string{"topology", "--bus=memory://"}, ExitUsage, "inside of one process"},
		"no broker":         {[]string{"topology", "--bus=amqp://x"}, ExitUsage, "want memory://, redis://"},
		"not there":         {[]string{"topology", nowhere, "--timeout=1s"}, ExitFailure, "connection refused"},
		"trace of nothing":  {[]string{"trace", "--room=r", nowhere}, ExitUsage, "give the message's id"},
		"trace of two":      {[]string{"trace", "m", "--seq=1", "--room=r", nowhere}, ExitUsage, "give the message's id"},
		"tail of nothing":   {[]string{"tail", "--topic=weather", nowhere}, ExitUsage, "want commands, events, deliveries"},
		"letters of none":   {[]string{"dead-letters", "drop", nowhere}, ExitUsage, "give ids, or --all"},
		"letters and all":   {[]string{"dead-letters", "replay", "1-1", "--all", nowhere}, ExitUsage, "give ids, or --all"},
		"no secret":         {[]string{"token", "alice"}, ExitUsage, "at least 32"},
		"no scenario":       {[]string{"bench", "--scenario=Z"}, ExitUsage, "there are A, B"},
		"less than one":     {[]string{"bench", "--processes=-1"}, ExitUsage, "0 or more"},
		"no time":           {[]string{"token", "alice", "--ttl=0s", "--secret=" + strings.Repeat("x", 32)}, ExitUsage, "more than 0"},
		"doctor is no hero": {[]string{"doctor", nowhere, "--timeout=1s"}, ExitFailure, "see that it runs"},
	} {
		t.Run(name, func(t *testing.T) {
			var out, errs bytes.Buffer
			code := Run(t.Context(), c.args, &out, &errs)
			text := out.String() + errs.String()
			if code != c.code || !strings.Contains(text, c.says) {
				t.Errorf("exit code %d, want %d and %q:\n%s", code, c.code, c.says, text)
			}
			if strings.Contains(text, "hunter2") {
				t.Errorf("it shows the password:\n%s", text)
			}
		})
	}
}

func TestBodiesAreHidden(t *testing.T) {
	value := map[string]any{"posted": map[string]any{"entry": map[string]any{"seq": 1, "body": map[string]any{"text": "secret"}}},
		"page": map[string]any{"entries": []any{map[string]any{"body": "secret"}}}}
	hidden := string(part{value: value}.json(false))
	if strings.Contains(hidden, "secret") || strings.Count(hidden, " bytes") != 2 {
		t.Errorf("hidden: %s", hidden)
	}
	if shown := string(part{value: value}.json(true)); strings.Count(shown, "secret") != 2 {
		t.Errorf("shown: %s", shown)
	}
}

func TestDoctorReadsReports(t *testing.T) {
	f := layout{Chats: []string{"a"}, Nodes: []node{{Name: "edge1", Bytes: 100 << 20}}, Letters: 2,
		Partitions: []partition{{Number: 0, Chat: owner{Process: "a"}}, {Number: 1}}}
	var r report
	c := doctor{HighWater: 64 << 20}
	c.leases(f, &r)
	c.lag(f, &r)
	raw, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, words := range []string{`"nobody owns partition 1"`, `"no notifier runs"`, `"there is one"`, "deliveries-edge1: 100.0 MiB of 64.0 MiB; its writers are refused", "parley dead-letters list"} {
		if !strings.Contains(string(raw), words) {
			t.Errorf("no %s in %s", words, raw)
		}
	}
	if !r.failed() {
		t.Error("all is well")
	}
}
