package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/cjworkbench/unstuck/release/plan"
	"github.com/cjworkbench/unstuck/remediate/decide"
)

// MaxBody bounds what a request may carry.
const MaxBody = 64 << 10

// DeployBody asks for a deploy.
type DeployBody struct {
	Commit    string         `json:"commit"`              // all 40 hexadecimal digits
	Reason    string         `json:"reason"`              // why, for the record
	BugReport string         `json:"bug_report,omitzero"` // its address
	OnFailure plan.OnFailure `json:"on_failure,omitzero"` // default: as the environment says
	DryRun    bool           `json:"dry_run,omitzero"`    // answer with the plan, and do nothing
}

// PromotionBody asks for a promotion, of the commit that the environment's source runs.
type PromotionBody struct {
	// ExpectCommit is the commit that the source is thought to run, as a dry run said; it is refused if that is another by
	// now. Default: whichever it runs.
	ExpectCommit string `json:"expect_commit,omitzero"`

	Reason    string         `json:"reason"`
	BugReport string         `json:"bug_report,omitzero"`
	OnFailure plan.OnFailure `json:"on_failure,omitzero"`
	DryRun    bool           `json:"dry_run,omitzero"`
}

// RevertBody asks for a revert.
type RevertBody struct {
	Commit              string         `json:"commit,omitzero"` // default: the previous good one
	AcceptMigrationRisk bool           `json:"accept_migration_risk,omitzero"`
	Reason              string         `json:"reason"`
	BugReport           string         `json:"bug_report,omitzero"`
	OnFailure           plan.OnFailure `json:"on_failure,omitzero"`
	DryRun              bool           `json:"dry_run,omitzero"`
}

// RestartBody asks for the restart of a service, or of all that read a Secret.
type RestartBody struct {
	Reason    string `json:"reason"`
	BugReport string `json:"bug_report,omitzero"`
	DryRun    bool   `json:"dry_run,omitzero"`
}

// TaskBody asks for the run of a task.
type TaskBody struct {
	Confirm   bool   `json:"confirm,omitzero"` // the task's warning was read
	Reason    string `json:"reason"`
	BugReport string `json:"bug_report,omitzero"`
	DryRun    bool   `json:"dry_run,omitzero"`
}

// CancelBody asks an operation to stop.
type CancelBody struct {
	Reason string `json:"reason"`
}

// DeletionBody asks for the deletion of a node.
type DeletionBody struct {
	Reason   string         `json:"reason"`
	UID      string         `json:"uid,omitzero"`      // of the node that is meant; default: the one that is there now
	Override []decide.Guard `json:"override,omitzero"` // the guards that are not to hold it back, each by name
	DryRun   bool           `json:"dry_run,omitzero"`  // say what the guards say, and do nothing
}

// ProbeBody asks for a look at a node. There is nothing to say.
type ProbeBody struct{}

// PauseBody asks for a pause. Exactly one of For and Until is given.
type PauseBody struct {
	Reason string `json:"reason"`
	For    string `json:"for,omitzero"`   // how long, "90m"; at most 31 days
	Until  string `json:"until,omitzero"` // when it ends, RFC 3339
}

// readBody reads a request's body strictly into a B: one JSON object that has only what a B has, each at most once and
// with that very name. No body at all is an empty object.
func readBody[B any](w http.ResponseWriter, r *http.Request) (b B, err error) {
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxBody))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return b, NewProblem(http.StatusRequestEntityTooLarge, "the body is larger than %d bytes", MaxBody)
	case err != nil:
		return b, NewProblem(http.StatusBadRequest, "the body did not come whole")
	case len(data) == 0:
		return b, nil
	}
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if charset := params["charset"]; err != nil || kind != "application/json" ||
		(charset != "" && !strings.EqualFold(charset, "utf-8")) {
		return b, NewProblem(http.StatusUnsupportedMediaType, "the content type is %q: send application/json",
			Short(r.Header.Get("Content-Type")))
	}
	if r.Header.Get("Content-Encoding") != "" {
		return b, NewProblem(http.StatusUnsupportedMediaType, "the content encoding is %q: send the body as it is",
			Short(r.Header.Get("Content-Encoding")))
	}
	if !utf8.Valid(data) {
		return b, NewProblem(http.StatusBadRequest, "the body is not UTF-8")
	}
	if err := strictly(data, fieldsOf(reflect.TypeFor[B]())); err != nil {
		return b, err
	}
	if err := json.Unmarshal(data, &b); err != nil {
		return b, badJSON(err)
	}
	return b, nil
}

// strictly checks what json.Unmarshal would let pass: fields that nobody knows, that come twice, or in other case, and
// data after the object.
func strictly(data []byte, known []string) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	if token, err := dec.Token(); err != nil {
		return badJSON(err)
	} else if token != json.Delim('{') {
		return NewProblem(http.StatusBadRequest, "the body is not a JSON object")
	}
	var seen []string
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return badJSON(err)
		}
		name, _ := token.(string)
		if !slices.Contains(known, name) {
			p := NewProblem(http.StatusBadRequest, "there is no field %q in this body", Short(name))
			p.Known = known
			return p
		}
		if slices.Contains(seen, name) {
			return NewProblem(http.StatusBadRequest, "the field %q comes twice", name)
		}
		seen = append(seen, name)
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return badJSON(err)
		}
	}
	if _, err := dec.Token(); err != nil { // the closing brace
		return badJSON(err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return NewProblem(http.StatusBadRequest, "the body goes on after its JSON object: send one object")
	}
	return nil
}

func badJSON(err error) error {
	var wrongType *json.UnmarshalTypeError
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &wrongType):
		return NewProblem(http.StatusBadRequest, "the field %q is a %s: want a %s", wrongType.Field, wrongType.Value,
			jsonName(wrongType.Type))
	case errors.As(err, &syntax):
		return NewProblem(http.StatusBadRequest, "the body is no JSON, at byte %d: %s", syntax.Offset, Short(err.Error()))
	}
	return NewProblem(http.StatusBadRequest, "the body is no JSON: it ends too early")
}

// jsonName names a Go type of a body's field as JSON does.
func jsonName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "boolean"
	case reflect.Slice:
		return "list"
	case reflect.Struct:
		return "object"
	}
	return t.Kind().String()
}

// fieldsOf names the fields of a body, as JSON names them.
func fieldsOf(t reflect.Type) []string {
	names := []string{}
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		names = append(names, name)
	}
	return names
}

// checkReason refuses a change that nobody gives a reason for. What becomes an operation is checked by release too.
func checkReason(reason string) error {
	if strings.TrimSpace(reason) == "" || len(reason) > MaxReason {
		return refused(http.StatusBadRequest, plan.Invalid, "a reason is required",
			fmt.Sprintf("say why, in at most %d bytes", MaxReason))
	}
	return nil
}

// MaxReason is as long as release takes a reason.
const MaxReason = 500
