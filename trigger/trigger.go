// Package trigger has the table of triggers: all that a person can have Unstuck do. From a row follow the route of the
// API and its description by OpenAPI, the form of the status page, the path that a command asks for, and the line in
// docs/triggers.md.
package trigger

import (
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/cjworkbench/unstuck/auth"
)

// Trigger is a row of the table.
type Trigger struct {
	// The API.
	Method, Path string       // the path in the notation of http.ServeMux
	Does         string       // in the imperative, in lower case: "deploy a commit"
	Verb         auth.Verb    // the right to it; "": the right to what it cancels
	Body         reflect.Type // of the request; nil: none
	Status       int          // of a good answer
	TakesKey     bool         // of idempotency

	// The status page. A name in braces stands for what the path has there.
	Page   string // the path of the form, below the page's root
	Title  string
	Label  string // of the button
	What   string // what it comes to, in a sentence or two
	Plans  bool   // it is planned first, and the plan is shown
	Typed  string // the part of the path that must be typed to confirm; "": none
	Fields []Field

	// The runbook, docs/triggers.md.
	Instead string // what people did before
	Command string // on the command line
}

// Field is a field of a trigger's form, and of the body of its request.
type Field struct {
	Name     string
	Label    string
	Hint     string
	Kind     string // text, check, choice, guards, hidden; path: it is a part of the path; plan: only a plan fills it in
	Choices  []string
	Required bool
}

// all are the triggers, in the order in which a page shows them.
var all []Trigger

// row adds a row to the table.
func row(t Trigger) Trigger {
	all = append(all, t)
	return t
}

// All gives the whole table.
func All() []Trigger { return slices.Clone(all) }

// Route names the trigger's route by its method and path, as http.ServeMux does.
func (t Trigger) Route() string { return t.Method + " " + t.Path }

// Summary is what the trigger does, as a heading says it.
func (t Trigger) Summary() string { return strings.ToUpper(t.Does[:1]) + t.Does[1:] }

// At gives the path with these parts in the places of its names, which may hold anything.
func (t Trigger) At(parts ...string) string {
	i := -1
	return names.ReplaceAllStringFunc(t.Path, func(string) string { i++; return url.PathEscape(parts[i]) })
}

// names find what stands for a part of a path.
var names = regexp.MustCompile(`\{(\w+)\}`)

// FillIn puts into text the parts of a path that it names in braces.
func FillIn(text string, part func(name string) string) string {
	return names.ReplaceAllStringFunc(text, func(name string) string { return part(strings.Trim(name, "{}")) })
}
