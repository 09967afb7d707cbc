// Package asyncapi describes in AsyncAPI 3 what travels: the client protocol and
// the bus. The documents in docs/asyncapi are made from the types that the code
// sends and reads, so that they cannot say anything else; a test compares them, and
// holds them against every constant of the protocol.
package asyncapi

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// version of AsyncAPI that the documents are written in.
const version = "3.0.0"

// object is a mapping in the order that it was written in.
type object []field

type field struct {
	name  string
	value any
}

// MarshalYAML is yaml's. Every name is a string, also one that looks like a number
// (a close code): AsyncAPI knows no others.
func (o object) MarshalYAML() (any, error) {
	node := &yaml.Node{Kind: yaml.MappingNode}
	for _, f := range o {
		var value yaml.Node
		if err := value.Encode(f.value); err != nil {
			return nil, err
		}
		node.Content = append(node.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: f.name}, &value)
	}
	return node, nil
}

func ref(path string) object { return object{{"$ref", path}} }

// marshal writes a document.
func marshal(document object) ([]byte, error) {
	var b bytes.Buffer
	encoder := yaml.NewEncoder(&b)
	encoder.SetIndent(2)
	if err := encoder.Encode(document); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// schemas are those of named structs, made when they are first met.
type schemas struct {
	byName map[string]object
	doc    func(typeName string) string // its sentence in the source
}

// of is the schema of a type: a reference for a struct with a name.
func (s *schemas) of(t reflect.Type) object {
	switch t.Kind() {
	case reflect.Pointer:
		return s.of(t.Elem())
	case reflect.Struct:
		if _, known := s.byName[t.Name()]; !known {
			s.byName[t.Name()] = nil // it may hold itself
			s.byName[t.Name()] = s.structure(t, nil)
		}
		return ref("#/components/schemas/" + t.Name())
	case reflect.Slice:
		if t == reflect.TypeFor[json.RawMessage]() {
			return object{{"description", "Any JSON."}}
		}
		return object{{"type", "array"}, {"items", s.of(t.Elem())}}
	case reflect.Map:
		return object{{"type", "object"}, {"additionalProperties", s.of(t.Elem())}}
	case reflect.String:
		return object{{"type", "string"}}
	case reflect.Bool:
		return object{{"type", "boolean"}}
	case reflect.Float64:
		return object{{"type", "number"}}
	case reflect.Uint, reflect.Uint64:
		return object{{"type", "integer"}, {"minimum", 0}}
	default:
		return object{{"type", "integer"}}
	}
}

// structure is the schema of a struct by its JSON tags: of all fields, or of those
// that keep says. What is not omitted when empty is required.
func (s *schemas) structure(t reflect.Type, keep func(name string) bool) object {
	properties, required := s.properties(t, keep)
	schema := object{{"type", "object"}}
	if doc := s.doc(t.Name()); doc != "" && keep == nil {
		schema = append(schema, field{"description", doc})
	}
	if len(properties) > 0 {
		schema = append(schema, field{"properties", properties})
	}
	if len(required) > 0 {
		schema = append(schema, field{"required", required})
	}
	return schema
}

func (s *schemas) properties(t reflect.Type, keep func(string) bool) (properties object, required []string) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "":
			inner, more := s.properties(f.Type, keep)
			properties, required = append(properties, inner...), append(required, more...)
			continue
		case name == "-" || keep != nil && !keep(name):
			continue
		}
		properties = append(properties, field{name, s.of(f.Type)})
		if !strings.Contains(options, "omit") {
			required = append(required, name)
		}
	}
	return properties, required
}

// sorted is all schemas by name.
func (s *schemas) sorted() (all object) {
	for name, schema := range s.byName {
		all = append(all, field{name, schema})
	}
	slices.SortFunc(all, func(a, b field) int { return strings.Compare(a.name, b.name) })
	return all
}
