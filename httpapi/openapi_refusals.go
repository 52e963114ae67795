package httpapi

import (
	"net/http"
	"reflect"
	"strconv"
	"strings"
)

// refusal is a status with which requests are refused, always with a Problem.
type refusal struct {
	status int
	about  string
	later  bool // the answer says after how many seconds to ask again
	of     func(Route) bool
}

func ofEvery(Route) bool    { return true }
func ofClosed(r Route) bool { return !r.Open }
func ofChange(r Route) bool { return r.Change != nil }
func ofOneOf(r Route) bool {
	return strings.Contains(r.Path, "{") || len(r.Query) > 0 || r.Change != nil
}

// refusals are those that a client may want to tell from each other. Any other status is the default.
var refusals = []refusal{
	{http.StatusBadRequest, "the request is wrong: detail says what was found, and what was expected", false, ofEvery},
	{http.StatusUnauthorized, "the token is missing, unknown or expired", false, ofClosed},
	{http.StatusForbidden, "the caller may not do this", false, ofClosed},
	{http.StatusNotFound, "there is no such thing, or the caller may not know of it", false, ofOneOf},
	{http.StatusConflict, "it cannot be done as things are; nothing was changed", false, ofChange},
	{http.StatusRequestEntityTooLarge, "the body is too large", false, ofChange},
	{http.StatusUnsupportedMediaType, "the body is no JSON by its Content-Type", false, ofChange},
	{http.StatusTooManyRequests, "there are too many requests of this caller or address", true, ofClosed},
	{http.StatusServiceUnavailable, "it cannot be told now; nothing was changed", true, ofEvery},
}

// name is what a refusal is called in the description.
func (one refusal) name() string { return strings.ReplaceAll(http.StatusText(one.status), " ", "") }

// refusals describes each refusal, and what stands for all others.
func (s schemas) refusals() map[string]*content {
	problem := map[string]mediaType{"application/problem+json": {s.of(reflect.TypeFor[Problem]())}}
	all := map[string]*content{"Problem": {About: "a problem, in the format of RFC 9457", Content: problem}}
	for _, one := range refusals {
		c := &content{About: one.about, Content: problem}
		if one.later {
			c.Headers = map[string]header{"Retry-After": {
				"after how many seconds to ask again, if that is known", &schema{Type: "integer"},
			}}
		}
		all[one.name()] = c
	}
	return all
}

// refusalsOf says how requests to a route are refused.
func refusalsOf(r Route) map[string]*content {
	const at = "#/components/responses/"
	all := map[string]*content{"default": {Ref: at + "Problem"}}
	for _, one := range refusals {
		if one.of(r) {
			all[strconv.Itoa(one.status)] = &content{Ref: at + one.name()}
		}
	}
	return all
}

// tagOf puts operations into groups, by what they are about: those of one path's beginning.
func tagOf(r Route) string {
	path, inAPI := strings.CutPrefix(r.Path, "/api/v1/")
	if !inAPI {
		return "health"
	}
	first, _, _ := strings.Cut(path, "/")
	return strings.TrimSuffix(first, ".json")
}
