package crowd

import (
	"bytes"
	"encoding/gob"
	"testing"
	"time"
)

func TestHistogramTravelsAndAddsUp(t *testing.T) {
	one, two := newHistogram(3), newHistogram(3)
	for ms := range int64(100) {
		one.record((ms + 1) * int64(time.Millisecond))
	}
	two.record(int64(3 * time.Minute)) // longer than what is told apart
	two.record(-5)
	sent := Tally{Sent: 102, Ack: one, Reasons: map[string]int64{"refused: x": 2}, Last: map[int64]Seen{7: {Count: 2, At: 9}},
		Slices: []Slice{{Sent: 1}, {Sent: 2, Delivery: one}}}
	var b bytes.Buffer
	if err := gob.NewEncoder(&b).Encode(sent); err != nil {
		t.Fatal(err)
	}
	var got Tally
	if err := gob.NewDecoder(&b).Decode(&got); err != nil {
		t.Fatal(err)
	}
	var all Tally
	all.Add(got)
	all.Add(Tally{Sent: 1, Ack: two, Last: map[int64]Seen{7: {Count: 1, At: 12}, 8: {Count: 1, At: 10}}, Slices: []Slice{{Sent: 5}}})
	if all.Sent != 103 || all.Ack.TotalCount() != 102 || all.Delivery.Histogram != nil || all.Reasons["refused: x"] != 2 {
		t.Errorf("sent %d, %d latencies, reasons %v", all.Sent, all.Ack.TotalCount(), all.Reasons)
	}
	if p50 := all.Ack.ValueAtQuantile(50); p50 < 49_000 || p50 > 51_000 {
		t.Errorf("p50 is %d µs, want 50,000", p50)
	}
	if top := all.Ack.Max(); top < 119_000_000 {
		t.Errorf("the longest is %d µs, want the 2 minutes that are told apart", top)
	}
	if len(all.Slices) != 2 || all.Slices[0].Sent != 6 || all.Slices[1].Sent != 2 || all.Slices[1].Delivery.TotalCount() != 100 {
		t.Errorf("slices: %+v", all.Slices)
	}
	// The last of three deliveries of message 7 came at 12, and 8 did not reach all.
	if h := all.LastLatency(3); h.TotalCount() != 1 {
		t.Errorf("%d messages reached all three, want 1", h.TotalCount())
	}
}

func TestValidateNamesWhatIsWrong(t *testing.T) {
	good := Config{URLs: []string{"http://127.0.0.1:1"}, Dialect: "parley", Rooms: 3, Members: 2, Writer: true, Every: 2}
	if err := good.Validate(); err != nil || good.Shares != 1 || good.Connections() != 6 {
		t.Errorf("%v, shares %d, %d connections; want 2 rooms of 3", err, good.Shares, good.Connections())
	}
	for _, change := range []func(*Config){
		func(c *Config) { c.URLs = nil },
		func(c *Config) { c.Rooms = 0 },
		func(c *Config) { c.Share = 4 },
		func(c *Config) { c.Sources = 300 },
		func(c *Config) { c.Body = 2 << 20 },
	} {
		bad := good
		change(&bad)
		if err := bad.Validate(); err == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
	if _, err := New(Config{URLs: []string{"ws://127.0.0.1:1"}, Dialect: "parley", Rooms: 1, Members: 1}); err == nil {
		t.Error("a ws:// server is taken")
	}
	if _, err := New(Config{URLs: []string{"http://127.0.0.1:1"}, Dialect: "parley", Rooms: 1, Members: MaxConnections + 1}); err == nil {
		t.Error("more sockets than one process holds are taken")
	}
}
