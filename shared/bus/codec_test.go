package bus

import (
	"encoding/json"
	"maps"
	"reflect"
	"strings"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
)

type who struct {
	Node string `json:"node,omitempty"`
}

type part struct {
	who
	Text string          `json:"text"`
	Body json.RawMessage `json:"body,omitempty"`
	Seq  *uint64         `json:"seq,omitempty"`
}

func TestCodec(t *testing.T) {
	seq := uint64(0)
	for _, n := range []int{1, 23, 24, 255, 256, 1000} {
		var items [][]byte
		var want []part
		size := 0
		for range n {
			p := part{Text: "ü", Body: json.RawMessage(`{"a": 1}`), Seq: &seq}
			item, err := encode(p)
			if err != nil {
				t.Fatal(err)
			}
			items, size, want = append(items, item), size+len(item), append(want, p)
		}
		payload := joinItems(items, size)
		got, err := decode[part](payload, n)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%d events: %v, %v", n, got, err)
		}
		if _, err := decode[part](payload, n+1); err == nil {
			t.Errorf("%d events pass for %d", n, n+1)
		}
		if _, err := decode[part](payload[:len(payload)-1], n); err == nil {
			t.Error("a cut payload passes")
		}
	}
}

// Services are deployed one at a time: fields come and go.
func TestCodecIgnoresUnknownFields(t *testing.T) {
	type newer struct {
		Node string         `json:"node"`
		More map[string]int `json:"more"`
		Text string         `json:"text"`
	}
	item, err := encode(newer{Node: "n", More: map[string]int{"x": 1}, Text: "t"})
	if err != nil {
		t.Fatal(err)
	}
	type older struct {
		Text string `json:"text"`
	}
	got, err := decode[older](joinItems([][]byte{item}, len(item)), 1)
	if err != nil || got[0].Text != "t" {
		t.Fatalf("%v, %v", got, err)
	}
	if _, err := decode[[]string](joinItems([][]byte{item}, len(item)), 1); err == nil {
		t.Error("a wrong type passes")
	}
}

func TestHeader(t *testing.T) {
	want := header{scope: "chat-03", generation: 7, life: "x", number: 9, count: 2, trace: newTrace()}
	got, err := parseHeader(want.metadata())
	if err != nil || got != want {
		t.Fatalf("%+v, %v", got, err)
	}
	for name, value := range map[string]string{
		metaSchema: "2", metaScope: "", metaLife: "", metaGeneration: "-1", metaNumber: "0", metaCount: "x",
	} {
		m := maps.Clone(want.metadata())
		m[name] = value
		if _, err := parseHeader(m); err == nil {
			t.Errorf("%s %q passes", name, value)
		}
	}
	if _, err := parseHeader(message.Metadata{}); err == nil || !strings.Contains(err.Error(), "schema") {
		t.Errorf("a foreign message: %v", err)
	}
}

func TestPartitionOf(t *testing.T) {
	for key, want := range map[string]int{
		"general": 3, "": 5, "~partition/6": 6, "~partition/8": PartitionOf("~partition/8", 8),
	} {
		if got := PartitionOf(key, 8); got != want {
			t.Errorf("PartitionOf(%q, 8) is %d, want %d", key, got, want)
		}
	}
	if got := partitionTopic("commands", 3) + " " + partitionTopic("commands", 12); got != "commands-03 commands-12" {
		t.Error(got)
	}
}

func TestConfig(t *testing.T) {
	for _, cfg := range []Config{
		{Name: "a"}, {Partitions: -1, Name: "a"}, {Partitions: 8}, {Partitions: 8, Name: "a b"}, {Partitions: 1001, Name: "a"},
	} {
		if _, err := New(nil, cfg); err == nil {
			t.Errorf("%+v passes", cfg)
		}
	}
}
