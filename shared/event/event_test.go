package event

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew; only for kinds that were never released")

// kinds lists, for one struct of the bus, a value of each of its kinds with every
// field set, by filling one part after the other.
func kinds[T any](t *testing.T) map[string]T {
	t.Helper()
	out := map[string]T{}
	shape := reflect.TypeFor[T]()
	for i := range shape.NumField() {
		if shape.Field(i).Type.Kind() != reflect.Pointer {
			continue
		}
		var v T
		fillExcept(reflect.ValueOf(&v).Elem())
		fill(reflect.ValueOf(&v).Elem().Field(i))
		name, _, _ := strings.Cut(shape.Field(i).Tag.Get("json"), ",")
		out[name] = v
	}
	return out
}

func fillExcept(v reflect.Value) {
	for i := range v.NumField() {
		if v.Field(i).Kind() != reflect.Pointer {
			fill(v.Field(i))
		}
	}
}

func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i))
		}
	case reflect.Slice:
		if v.Type() == reflect.TypeFor[json.RawMessage]() {
			v.SetBytes([]byte(`{"text":"hi"}`))
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0))
	case reflect.String:
		v.SetString("s")
	case reflect.Int, reflect.Int64:
		v.SetInt(7)
	case reflect.Uint64:
		v.SetUint(9)
	case reflect.Bool:
		v.SetBool(true)
	default:
		panic("no filling for " + v.Kind().String())
	}
}

// A renamed, retyped or removed field changes what services of two versions say
// to each other; the golden files stay for ever.
func TestWireFormIsGolden(t *testing.T) {
	golden(t, "command", kinds[Command](t))
	golden(t, "event", kinds[Event](t))
	golden(t, "delivery", kinds[Delivery](t))
	golden(t, "finding", kinds[Finding](t))
}

func golden[T interface{ Kind() string }](t *testing.T, family string, values map[string]T) {
	for name, v := range values {
		t.Run(family+"/"+name, func(t *testing.T) {
			if v.Kind() != name {
				t.Errorf("Kind() = %q, want %q", v.Kind(), name)
			}
			got, err := json.MarshalIndent(v, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, '\n')
			file := filepath.Join("testdata", family+"-"+name+".json")
			if *update {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("%s changed on the wire:\n%s\nwas\n%s", name, got, want)
			}
			var back T
			if err := json.Unmarshal(want, &back); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(back, compact(v)) {
				t.Errorf("read back %+v, want %+v", back, v)
			}
		})
	}
}

// compact undoes the indentation that MarshalIndent put into raw bodies.
func compact[T any](v T) T {
	raw, _ := json.Marshal(v)
	indented, _ := json.MarshalIndent(json.RawMessage(raw), "", "  ")
	var out T
	_ = json.Unmarshal(indented, &out)
	return out
}

func TestUnknownFieldsAreIgnoredAndUnknownKindsAreNamedSo(t *testing.T) {
	var c Command
	if err := json.Unmarshal([]byte(`{"room":"general","at":1,"colour":"red","join":{"last":3,"mood":"good"}}`), &c); err != nil {
		t.Fatal(err)
	}
	if c.Kind() != "join" || c.Join.Last != 3 {
		t.Errorf("got %+v", c)
	}
	var e Event
	if err := json.Unmarshal([]byte(`{"room":"general","at":1,"pinned":{"seq":4}}`), &e); err != nil {
		t.Fatal(err)
	}
	if e.Kind() != "" {
		t.Errorf("Kind() = %q, want none", e.Kind())
	}
}

func TestPartitionsAreStable(t *testing.T) {
	for _, c := range []struct {
		key  string
		n    int
		want int
	}{
		{"", 8, 5}, {"general", 8, 3}, {"random", 8, 2}, {"alice", 8, 7}, {"general", 16, 11}, {"general", 1, 0},
	} {
		if got := PartitionOf(c.key, c.n); got != c.want {
			t.Errorf("PartitionOf(%q, %d) = %d, want %d", c.key, c.n, got, c.want)
		}
	}
	for p := range 8 {
		if got := PartitionFor(PartitionKey(p), 8); got != p {
			t.Errorf("PartitionFor(PartitionKey(%d)) = %d", p, got)
		}
	}
	if got, want := PartitionFor(PartitionKey(9), 8), PartitionOf(PartitionKey(9), 8); got != want {
		t.Errorf("a partition beyond P goes to %d, want its hash %d", got, want)
	}
}

func TestRoomHashIgnoresOrderAndSeesLives(t *testing.T) {
	a, b := Who{Session: "s_a", Life: 1}, Who{Session: "s_b", Life: 1}
	if RoomHash([]Who{a, b}) != RoomHash([]Who{b, a}) {
		t.Error("order matters")
	}
	if RoomHash([]Who{a}) == RoomHash([]Who{{Session: "s_a", Life: 2}}) {
		t.Error("a newer life is not seen")
	}
	if RoomHash(nil) == 0 {
		t.Error("the hash of nobody must not be 0")
	}
}
