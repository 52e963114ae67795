package httpapi

import (
	"encoding"
	"encoding/json"
	"reflect"
	"strings"
	"time"

	"github.com/cjworkbench/unstuck/release/plan"
	"github.com/cjworkbench/unstuck/remediate/decide"
)

// schema is a JSON Schema, of the dialect of OpenAPI 3.1 (2020-12).
type schema struct {
	Ref        string             `json:"$ref,omitempty"`
	Type       string             `json:"type,omitempty"`
	Format     string             `json:"format,omitempty"`
	Pattern    string             `json:"pattern,omitempty"`
	MinLength  int                `json:"minLength,omitempty"`
	MaxLength  int                `json:"maxLength,omitempty"`
	Enum       []string           `json:"enum,omitempty"`
	Items      *schema            `json:"items,omitempty"`
	Properties map[string]*schema `json:"properties,omitempty"`
	Required   []string           `json:"required,omitempty"`

	// AdditionalProperties is false where a field that is not listed is refused, and a schema for a map.
	AdditionalProperties any `json:"additionalProperties,omitempty"`
}

// enums are the types of text with a closed list.
type enums map[reflect.Type][]string

// ownEnums are those of problems.
var ownEnums = enums{
	reflect.TypeFor[Code](): Listed([]Code{
		plan.Invalid, plan.NotFound, plan.NotReady, plan.Changed, plan.Migrated, plan.Unconfirmed, plan.Busy,
		plan.KeyReused, plan.NotRunning, plan.Unavailable,
	}),
	reflect.TypeFor[decide.Guard](): guardNames(),
}

// Listed are the texts of a closed list.
func Listed[S ~string](all []S) []string {
	texts := make([]string, len(all))
	for i, s := range all {
		texts[i] = string(s)
	}
	return texts
}

func guardNames() []string {
	var names []string
	for _, g := range decide.Guards() {
		names = append(names, string(g.Guard))
	}
	return names
}

// fields says of the fields of bodies what their types do not.
var fields = map[string]schema{
	"commit":     {Type: "string", Pattern: "^[0-9a-f]{40}$"},
	"reason":     {Type: "string", MinLength: 1, MaxLength: MaxReason},
	"bug_report": {Type: "string", Format: "uri", MaxLength: 200},
	"until":      {Type: "string", Format: "date-time"},
	"for":        {Type: "string", Pattern: `^([0-9]+(\.[0-9]+)?(h|m|s))+$`},
}

// schemas makes schemas of Go types, and keeps those of structs by name.
type schemas struct {
	named  map[string]*schema
	closed enums
}

var (
	textType = reflect.TypeFor[encoding.TextMarshaler]()
	jsonType = reflect.TypeFor[json.Marshaler]()
)

// of gives the schema of what encoding/json makes of a t.
func (s schemas) of(t reflect.Type) *schema {
	if t.Kind() == reflect.Pointer {
		return s.of(t.Elem())
	}
	if enum, ok := s.closed[t]; ok {
		return &schema{Type: "string", Enum: enum}
	}
	switch {
	case t == reflect.TypeFor[time.Time]():
		return &schema{Type: "string", Format: "date-time"}
	case t.Implements(jsonType):
		return &schema{Type: "object"} // of a form of its own
	case t.Implements(textType):
		return &schema{Type: "string"}
	}
	switch t.Kind() {
	case reflect.Struct:
		return s.structOf(t)
	case reflect.Slice, reflect.Array:
		return &schema{Type: "array", Items: s.of(t.Elem())}
	case reflect.Map:
		return &schema{Type: "object", AdditionalProperties: s.of(t.Elem())}
	case reflect.String:
		return &schema{Type: "string"}
	case reflect.Bool:
		return &schema{Type: "boolean"}
	case reflect.Float32, reflect.Float64:
		return &schema{Type: "number"}
	}
	return &schema{Type: "integer"}
}

// structOf gives a reference to the schema of a struct, which it makes once.
func (s schemas) structOf(t reflect.Type) *schema {
	name := t.Name()
	_, path, _ := strings.Cut(t.PkgPath(), "/unstuck/")
	if pkg, _, _ := strings.Cut(path, "/"); pkg != "" && pkg != "httpapi" && pkg != "trigger" {
		name = strings.ToUpper(pkg[:1]) + pkg[1:] + name // release/plan.Operation and an httpapi.Operation must differ
	}
	if s.named[name] == nil {
		made := &schema{Type: "object", Properties: map[string]*schema{}}
		s.named[name] = made // before its fields, which may have it again
		s.addFields(made, t)
		if strings.HasSuffix(name, "Body") {
			made.AdditionalProperties = false
		}
	}
	return &schema{Ref: "#/components/schemas/" + name}
}

func (s schemas) addFields(to *schema, t reflect.Type) {
	for f := range t.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "-" || (!f.IsExported() && !f.Anonymous):
		case name == "" && f.Anonymous:
			s.addFields(to, f.Type)
		default:
			property := s.of(f.Type)
			if known, ok := fields[name]; ok && strings.HasSuffix(t.Name(), "Body") {
				property = &known
			}
			to.Properties[name] = property
			if !strings.Contains(options, "omit") {
				to.Required = append(to.Required, name)
			}
		}
	}
}
