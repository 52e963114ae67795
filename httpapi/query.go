package httpapi

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
)

// Param is a parameter in a query.
type Param struct {
	Name  string
	About string
	Kind  string // as JSON names types
}

// check refuses what a request has that its route does not take: nothing that a client sends is ignored, for it may be
// what the client relies on.
func (route Route) check(r *http.Request) error {
	if err := CheckQuery(r, route.Query, route.Body != nil); err != nil {
		return err
	}
	if route.Body == nil && hasBody(r) {
		return NewProblem(http.StatusBadRequest, "%s %s takes no body: leave it out", r.Method, Short(r.URL.Path))
	}
	return nil
}

// CheckQuery refuses parameters that nobody knows, or that come twice.
func CheckQuery(r *http.Request, known []Param, takesBody bool) error {
	names := []string{"pretty"}
	for _, p := range known {
		names = append(names, p.Name)
	}
	asked, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return NewProblem(http.StatusBadRequest, "the address has a query that cannot be read")
	}
	for name, values := range asked {
		switch {
		case slices.Contains(names, name) && len(values) > 1:
			return NewProblem(http.StatusBadRequest, "the parameter %q comes twice", name)
		case slices.Contains(names, name):
		case takesBody:
			return NewProblem(http.StatusBadRequest, "the address asks for %q: say what is wanted in the body", Short(name))
		default:
			return UnknownAs(http.StatusBadRequest, "parameter", name, names)
		}
	}
	return nil
}

// hasBody says whether the request has anything in its body. One of unknown length is looked into.
func hasBody(r *http.Request) bool {
	switch {
	case r.Body == nil || r.Body == http.NoBody: // the page asks so, whatever length its form had
		return false
	case r.ContentLength >= 0:
		return r.ContentLength > 0
	}
	n, err := io.ReadFull(r.Body, make([]byte, 1))
	return n > 0 || !errors.Is(err, io.EOF)
}
