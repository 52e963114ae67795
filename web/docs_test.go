package web

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the examples in docs/api.md anew")

const apiDoc = "../docs/api.md"

// example finds a request's example in the documentation: its heading, prose, and one block of code.
var example = regexp.MustCompile("(?s)\n#+ `GET ([^`]+)`\n(.*?\nFor `GET ([^`]+)`:\n)\n```(?:json|text)\n(.*?)```\n")

func TestTheDocumentationHasEveryEndpointWithItsTrueAnswer(t *testing.T) {
	atNoon(t, func(t *testing.T) {
		doc, err := os.ReadFile(apiDoc)
		if err != nil {
			t.Fatal(err)
		}
		o := fixture().withDefaults()
		serves := map[string]http.Handler{"/": NewAPI(o)}
		for _, r := range o.apiRoutes() {
			serves[r.Path] = NewAPI(o)
		}
		for _, r := range o.opsRoutes() {
			serves[r.Path] = NewOps(o)
		}
		fresh := string(doc)
		for _, m := range example.FindAllStringSubmatch(string(doc), -1) {
			route, request, block := m[1], m[3], m[4]
			h, ok := serves[route]
			if !ok {
				t.Errorf("documented, but not served (or documented twice): GET %s", route)
				continue
			}
			delete(serves, route)
			w := ask(h, "GET", request)
			answer := w.Body.Bytes()
			if json.Valid(answer) {
				var b bytes.Buffer
				if err := json.Indent(&b, answer, "", "  "); err != nil {
					t.Fatal(err)
				}
				answer = b.Bytes()
			}
			if w.Code >= 300 {
				t.Errorf("GET %s is documented with an answer of status %d", request, w.Code)
			}
			if diff := cmp.Diff(string(answer), block); diff != "" && !*update {
				t.Errorf("GET %s: the documented answer is not the true one (go test ./web -update writes it, + is documented):\n%s", request, diff)
			}
			fresh = strings.Replace(fresh, m[0], strings.Replace(m[0], block+"```\n", string(answer)+"```\n", 1), 1)
		}
		for route := range serves {
			t.Errorf("served, but not documented: GET %s", route)
		}
		if *update {
			if err := os.WriteFile(apiDoc, []byte(fresh), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestTheDocumentationNamesEveryProblemAndHeader(t *testing.T) {
	doc, err := os.ReadFile(apiDoc)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"application/problem+json", "`known`", "`late`", "`404`", "`405`", "`500`", "`503`",
		fmt.Sprint(maxKnown), DefaultStaleAfter.String(), shutdownTimeout.String(),
	} {
		if !strings.Contains(string(doc), want) {
			t.Errorf("docs/api.md does not say %s", want)
		}
	}
}
