package asyncapi

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"gopkg.in/yaml.v3"
)

// official is the JSON Schema of AsyncAPI that its makers publish, which
// package-lock.json pins.
func official(t *testing.T) *jsonschema.Schema {
	t.Helper()
	const path = "node_modules/@asyncapi/specs/schemas/" + version + ".json"
	if _, err := os.Stat(path); err != nil {
		if out, err := exec.CommandContext(t.Context(), "npm", "ci", "--no-audit", "--no-fund").CombinedOutput(); err != nil {
			t.Fatalf("npm ci: %v\n%s", err, out)
		}
	}
	schema, err := jsonschema.NewCompiler().Compile(path)
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// TestOfficialSchema: the documents are what tools for AsyncAPI expect, and the schema
// would say so if they were not.
func TestOfficialSchema(t *testing.T) {
	schema := official(t)
	for _, name := range []string{"bus.yaml", "client.yaml"} {
		if err := schema.Validate(read(t, name)); err != nil {
			t.Errorf("%s: %#v", name, err)
		}
		wrong := read(t, name)
		for _, channel := range wrong["channels"].(map[string]any) {
			channel.(map[string]any)["adress"] = "a slip of the pen"
		}
		if schema.Validate(wrong) == nil {
			t.Errorf("%s with an unknown field in its channels is taken", name)
		}
	}
}

func read(t *testing.T, name string) (document map[string]any) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(documents, name))
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(raw, &document); err != nil {
		t.Fatal(err)
	}
	return document
}
