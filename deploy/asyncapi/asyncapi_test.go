package asyncapi

import (
	"bytes"
	"encoding/json"
	"flag"
	"go/ast"
	"go/constant"
	"go/doc"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"github.com/parley-chat/parley/services/ingress/protocol"
	"github.com/parley-chat/parley/shared/event"
)

var update = flag.Bool("update", false, "write the documents anew")

const (
	eventFolder    = "../../shared/event"
	protocolFolder = "../../services/ingress/protocol"
	documents      = "../../docs/asyncapi"
)

func TestDocumentsAreThoseOfTheCode(t *testing.T) {
	compare(t, "bus.yaml", busDocument(sentences(t, eventFolder)))
	compare(t, "client.yaml", clientDocument(sentences(t, protocolFolder)))
}

// compare holds the file against the document, and looks whether it is a sound one.
func compare(t *testing.T, name string, document object) {
	t.Helper()
	want, err := marshal(document)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(documents, name)
	if *update {
		if err := os.WriteFile(file, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, want) {
		t.Errorf("%s says something else than the code; write it anew: cd deploy && go test ./asyncapi -update", name)
	}
	var tree map[string]any
	if err := yaml.Unmarshal(have, &tree); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"asyncapi", "info", "channels", "operations", "components"} {
		if tree[part] == nil {
			t.Errorf("%s has no %s", name, part)
		}
	}
	checkRefs(t, name, tree, tree)
}

// checkRefs wants every reference to lead somewhere.
func checkRefs(t *testing.T, name string, root map[string]any, node any) {
	switch v := node.(type) {
	case map[string]any:
		if path, ok := v["$ref"].(string); ok && !resolves(root, path) {
			t.Errorf("%s: %s leads nowhere", name, path)
		}
		for _, inner := range v {
			checkRefs(t, name, root, inner)
		}
	case []any:
		for _, inner := range v {
			checkRefs(t, name, root, inner)
		}
	}
}

func resolves(root map[string]any, path string) bool {
	var at any = root
	for part := range strings.SplitSeq(strings.TrimPrefix(path, "#/"), "/") {
		m, ok := at.(map[string]any)
		if !ok || m[part] == nil {
			return false
		}
		at = m[part]
	}
	return true
}

// Every constant of the protocol is in the document, and nothing else.
func TestEveryTypeAndCode(t *testing.T) {
	types := map[string]bool{}
	for _, r := range requests() {
		types[r.name] = true
	}
	for _, f := range frames() {
		types[f.name] = true
	}
	same(t, "frame types", constants(t, "protocol.go", "Type"), slices.Sorted(maps.Keys(types)))
	var codes []string
	for _, c := range errorCodes() {
		codes = append(codes, string(c))
	}
	same(t, "error codes", constants(t, "errors.go", ""), codes)
	var closes []string
	for _, c := range closeCodes() {
		closes = append(closes, strconv.Itoa(int(c)))
	}
	sent := slices.DeleteFunc(constants(t, "close.go", "Close"), func(c string) bool { return c == "1005" || c == "1006" }) // never on the wire
	same(t, "close codes", sent, closes)
}

func same(t *testing.T, what string, code, document []string) {
	t.Helper()
	slices.Sort(code)
	slices.Sort(document)
	if !slices.Equal(code, document) {
		t.Errorf("%s: the code has %v, the document %v", what, code, document)
	}
}

// constants are the values of a file's constants whose names begin so.
func constants(t *testing.T, file, prefix string) (values []string) {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(protocolFolder, file), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(parsed, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 || !strings.HasPrefix(spec.Names[0].Name, prefix) {
			return true
		}
		if literal, ok := spec.Values[0].(*ast.BasicLit); ok {
			value := constant.MakeFromLiteral(literal.Value, literal.Kind, 0)
			if value.Kind() == constant.String {
				values = append(values, constant.StringVal(value))
			} else {
				values = append(values, value.ExactString())
			}
		}
		return true
	})
	return values
}

// What a request must have is what the server's parser misses; all fields that it
// reads are in some request.
func TestRequests(t *testing.T) {
	samples := map[string]string{
		"token": `"t"`, "admin": `"s"`, "user": `"alice"`, "resume": `"r"`, "agent": `"a"`, "rooms": `{}`, "room": `"general"`,
		"since": `{"epoch":"e","seq":1}`, "last": `1`, "body": `{}`, "cid": `"c"`, "before": `2`, "after": `1`, "limit": `1`,
	}
	limits := protocol.DefaultLimits()
	parse := func(r request, fields []string) *protocol.Error {
		text := `{"type":"` + r.name + `","id":1`
		for _, f := range fields {
			text += `,"` + f + `":` + samples[f]
		}
		for _, err := range protocol.ParseRequests([]byte(text+"}"), &limits) {
			return err
		}
		return nil
	}
	mentioned := map[string]bool{"type": true, "id": true}
	for _, r := range requests() {
		for _, f := range slices.Concat(r.required, r.others) {
			mentioned[f] = true
			fields := slices.Clone(r.required)
			if !slices.Contains(fields, f) {
				fields = append(fields, f)
			}
			if r.name == protocol.TypeHello && f != "user" && f != "token" && f != "admin" {
				fields = append(fields, "user")
			}
			if err := parse(r, fields); err != nil {
				t.Errorf("%s with %v: %v", r.name, fields, err)
			}
		}
		for i := range r.required {
			if parse(r, slices.Delete(slices.Clone(r.required), i, i+1)) == nil {
				t.Errorf("%s without %s is taken", r.name, r.required[i])
			}
		}
	}
	shape := reflect.TypeFor[protocol.Request]()
	for i := range shape.NumField() {
		name, _, _ := strings.Cut(shape.Field(i).Tag.Get("json"), ",")
		if !mentioned[name] {
			t.Errorf("no request has the field %s", name)
		}
	}
}

// A frame on the wire has the fields that the document gives it.
func TestFramesOnTheWire(t *testing.T) {
	body := json.RawMessage(`1`)
	for name, raw := range map[string][]byte{
		"welcome": protocol.AppendWelcome(nil, &protocol.Welcome{}), "joined": protocol.AppendJoined(nil, &protocol.Joined{}),
		"ok": protocol.AppendOK(nil, &protocol.OK{ID: 1, Room: "r", Seq: 1, TS: 1, Dup: true, ExpiresMS: 1}), "page": protocol.AppendPage(nil, &protocol.Page{}),
		"message": protocol.AppendMessage(nil, &protocol.Message{Body: body}), "reset": protocol.AppendReset(nil, &protocol.Reset{}),
		"gap": protocol.AppendGap(nil, &protocol.Gap{}), "typingEvent": protocol.AppendTyping(nil, &protocol.Typing{}),
		"signalEvent": protocol.AppendSignal(nil, &protocol.Signal{Body: body}), "presenceReply": protocol.AppendPresence(nil, &protocol.Presence{}),
		"presenceEvent": protocol.AppendPresenceEvent(nil, &protocol.PresenceEvent{}), "ping": protocol.AppendPing(nil), "status": protocol.AppendStatus(nil, &protocol.Status{}),
		"migrate": protocol.AppendMigrate(nil, &protocol.Migrate{}), "error": protocol.AppendError(nil, &protocol.Error{}),
	} {
		i := slices.IndexFunc(frames(), func(f frame) bool { return f.id() == name })
		if i < 0 {
			t.Errorf("no frame %s", name)
			continue
		}
		payload, _ := get(frames()[i].message(&schemas{byName: map[string]object{}, doc: func(string) string { return "" }}), "payload").(object)
		properties, _ := get(payload, "properties").(object)
		required, _ := get(payload, "required").([]string)
		var fields map[string]any
		if err := json.Unmarshal(raw, &fields); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for f := range fields {
			if get(properties, f) == nil {
				t.Errorf("%s has %s on the wire, and not in the document", name, f)
			}
		}
		for _, f := range required {
			if _, there := fields[f]; !there {
				t.Errorf("%s lacks %s on the wire, which the document requires", name, f)
			}
		}
	}
}

func get(o object, name string) any {
	for _, f := range o {
		if f.name == name {
			return f.value
		}
	}
	return nil
}

// Every kind of the golden files is in the document, and nothing else.
func TestEveryKindOnTheBus(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(eventFolder, "testdata", "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	var golden, document []string
	for _, f := range files {
		golden = append(golden, strings.Replace(strings.TrimSuffix(filepath.Base(f), ".json"), "-", ".", 1))
	}
	for _, f := range families() {
		for _, k := range kinds(f.shape) {
			document = append(document, f.name+"."+k.name)
		}
	}
	same(t, "kinds", golden, document)
	if (event.Command{Join: &event.JoinRoom{}}).Kind() != "join" {
		t.Error("kinds are not named by their fields any more")
	}
}

// sentences gives the first sentence over each type of a package.
func sentences(t *testing.T, folder string) func(string) string {
	t.Helper()
	files := token.NewFileSet()
	names, err := filepath.Glob(filepath.Join(folder, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var parsed []*ast.File
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(files, name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		parsed = append(parsed, f)
	}
	pkg, err := doc.NewFromFiles(files, parsed, "x")
	if err != nil {
		t.Fatal(err)
	}
	byType := map[string]string{}
	for _, one := range pkg.Types {
		byType[one.Name] = pkg.Synopsis(one.Doc)
	}
	return func(name string) string { return byType[name] }
}
