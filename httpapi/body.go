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
)

// MaxBody bounds what a request may carry.
const MaxBody = 64 << 10

// ReadBody reads a request's body strictly into a B: one JSON object that has only what a B has, each at most once and
// with that very name. No body at all is an empty object.
func ReadBody[B any](w http.ResponseWriter, r *http.Request) (b B, err error) {
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
	maskBody(&b)
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

// CheckReason refuses a change that nobody gives a reason for. What becomes an operation is checked by release too.
func CheckReason(reason string) error {
	if strings.TrimSpace(reason) == "" || len(reason) > MaxReason {
		return Refused(http.StatusBadRequest, Invalid, "a reason is required",
			fmt.Sprintf("say why in the field reason, in at most %d bytes", MaxReason))
	}
	return nil
}

// MaxReason is as long as release takes a reason.
const MaxReason = 500
