package notify

import (
	"bytes"
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"
)

const schemaFile = "../docs/notify.schema.json"

// TestBodySchema compares the JSON Schema in the documentation with Body, and each golden file with the schema. -update
// writes it.
func TestBodySchema(t *testing.T) {
	root := schemaOf(reflect.TypeFor[Body]())
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["title"] = "What Unstuck sends to a receiver of type json"
	properties := root["properties"].(map[string]any)
	properties["version"] = map[string]any{"const": bodyVersion}
	properties["event"] = map[string]any{"enum": Kinds()}
	properties["severity"] = map[string]any{"enum": []string{"critical", "warning", "info"}}
	want, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	want = append(want, '\n')
	if *update {
		if err := os.WriteFile(schemaFile, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not Body: go test ./notify -run Schema -update writes it", schemaFile)
	}
	for _, kind := range Kinds() {
		data, err := os.ReadFile("testdata/json-" + string(kind) + ".json")
		if err != nil {
			t.Fatal(err)
		}
		var body, schema map[string]any
		if err := json.Unmarshal(data, &body); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(got, &schema); err != nil {
			t.Fatal(err)
		}
		fits(t, string(kind), schema, body)
	}
}

// schemaOf gives the JSON Schema of a type. Keys may be added later, and so others are allowed.
func schemaOf(of reflect.Type) map[string]any {
	switch {
	case of == reflect.TypeFor[time.Time]():
		return map[string]any{"type": "string", "format": "date-time"}
	case of.Kind() == reflect.Pointer:
		return schemaOf(of.Elem())
	case of.Kind() == reflect.Slice:
		return map[string]any{"type": "array", "items": schemaOf(of.Elem())}
	case of.Kind() == reflect.Bool:
		return map[string]any{"type": "boolean"}
	case of.Kind() != reflect.Struct:
		return map[string]any{"type": "string"}
	}
	properties, required := make(map[string]any), []string{}
	for f := range of.Fields() {
		name, optional, _ := strings.Cut(f.Tag.Get("json"), ",")
		properties[name] = schemaOf(f.Type)
		if optional == "" {
			required = append(required, name)
		}
	}
	return map[string]any{"type": "object", "properties": properties, "required": required}
}

// fits holds a value to as much of JSON Schema as schemaOf uses.
func fits(t *testing.T, path string, schema map[string]any, value any) {
	t.Helper()
	kind := map[bool]string{true: "boolean"}[reflect.ValueOf(value).Kind() == reflect.Bool]
	switch v := value.(type) {
	case string:
		kind = "string"
	case []any:
		kind = "array"
		for _, e := range v {
			fits(t, path+"[]", schema["items"].(map[string]any), e)
		}
	case map[string]any:
		kind = "object"
		properties := schema["properties"].(map[string]any)
		for _, name := range schema["required"].([]any) {
			if _, there := v[name.(string)]; !there {
				t.Errorf("%s: %s is missing", path, name)
			}
		}
		for name, e := range v {
			of, known := properties[name].(map[string]any)
			if !known {
				t.Errorf("%s.%s is not in the schema", path, name)
				continue
			}
			fits(t, path+"."+name, of, e)
		}
	}
	if want, there := schema["type"]; there && want != kind {
		t.Errorf("%s is of type %s, want %s", path, kind, want)
	}
}
