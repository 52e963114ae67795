package httpapi_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cjworkbench/unstuck/httpapi"
	"github.com/cjworkbench/unstuck/httpapi/apitest"
	"github.com/cjworkbench/unstuck/httpapi/brokers"
)

var update = flag.Bool("update", false, "write the examples in docs/api.md and docs/openapi.json anew")

const apiDoc = "../docs/api.md"

// heading finds the sections of the documentation that are about an endpoint.
var heading = regexp.MustCompile("(?m)^### `(GET|POST|DELETE) ([^`]+)`$")

// What an endpoint's section has: the request, or the line of curl that sends it, and the answer.
var (
	requested = regexp.MustCompile("\nFor `GET ([^`]+)`:\n")
	curled    = regexp.MustCompile("\n```sh\n(curl [^\n]+)\n```\n\nAnswers `([0-9]+)`:\n")
	answered  = regexp.MustCompile("(?s)\n```(?:json|text)\n(.*?)```\n")
)

// documented is the site of the examples: one operation is under way.
func documented() *site {
	s := newSite()
	s.releases.Put(apitest.Running())
	return s
}

//promise:44
func TestDocsHaveEveryEndpointWithItsTrueAnswer(t *testing.T) {
	apitest.AtNoon(t, func(t *testing.T) {
		doc, err := os.ReadFile(apiDoc)
		if err != nil {
			t.Fatal(err)
		}
		a := documented().api()
		serves := map[string]bool{"GET /": true}
		for _, r := range append(slices.Clone(a.Routes()), httpapi.OpsRoutes(nil, metrics)...) {
			serves[r.Method+" "+r.Path] = true
		}
		fresh := string(doc)
		found := heading.FindAllStringSubmatchIndex(string(doc), -1)
		for i, m := range found {
			route := string(doc[m[2]:m[3]]) + " " + string(doc[m[4]:m[5]])
			end := len(doc)
			if i+1 < len(found) {
				end = found[i+1][0]
			}
			if !serves[route] {
				t.Errorf("documented, but not served (or documented twice): %s", route)
				continue
			}
			delete(serves, route)
			section := string(doc[m[0]:end])
			if strings.HasSuffix(route, "/openapi.json") { // which is a file of its own
				continue
			}
			fresh = strings.Replace(fresh, section, checkSection(t, route, section), 1)
		}
		for route := range serves {
			t.Errorf("served, but not documented: %s", route)
		}
		if *update {
			if err := os.WriteFile(apiDoc, []byte(fresh), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// checkSection sends what a section says should be sent, compares the answer, and gives the section with the true one.
func checkSection(t *testing.T, route, section string) string {
	t.Helper()
	block := answered.FindStringSubmatchIndex(section)
	var r *http.Request
	status := "200"
	if get := requested.FindStringSubmatch(section); get != nil {
		r = apitest.Request("ada", "GET", get[1], "")
	} else if line := curled.FindStringSubmatch(section); line != nil {
		r, status = curl(t, line[1]), line[2]
	}
	if block == nil || r == nil {
		t.Errorf("%s: want an example of a request and its answer", route)
		return section
	}
	if method, path, _ := strings.Cut(route, " "); r.Method != method || !matches(path, r.URL.Path) {
		t.Errorf("%s: the example asks for %s %s", route, r.Method, r.URL.Path)
	}
	w := httptest.NewRecorder()
	s := documented()
	h := s.handler
	if !strings.HasPrefix(r.URL.Path, "/api/") && r.URL.Path != "/" {
		h = s.ops()
	}
	h.ServeHTTP(w, r)
	answer := w.Body.Bytes()
	if json.Valid(answer) {
		var b bytes.Buffer
		if err := json.Indent(&b, answer, "", "  "); err != nil {
			t.Fatal(err)
		}
		answer = b.Bytes()
	}
	if fmt.Sprint(w.Code) != status {
		t.Errorf("%s: documented with %s, answers %d: %s", route, status, w.Code, w.Body)
	}
	if diff := cmp.Diff(string(answer), section[block[2]:block[3]]); diff != "" && !*update {
		t.Errorf("%s: the documented answer is not the true one (go test ./httpapi -update writes it, + is documented):\n%s",
			route, diff)
	}
	return section[:block[2]] + string(answer) + section[block[3]:]
}

// matches says whether a request's path is one of the route's.
func matches(route, path string) bool {
	pattern := regexp.MustCompile(`\\\{\w+\\\}`).ReplaceAllString(regexp.QuoteMeta(route), "[^/]+")
	return regexp.MustCompile("^" + pattern + "$").MatchString(path)
}

// curl makes the request that a line of curl sends, as far as the examples need it.
func curl(t *testing.T, line string) *http.Request {
	t.Helper()
	parts := regexp.MustCompile(`^curl -K ~/token (?:-H '([^:']+): ([^']+)' )?(?:--json '([^']*)'|-X (DELETE)) "\$UNSTUCK(/[^"]*)"$`).FindStringSubmatch(line)
	if parts == nil {
		t.Fatalf("%s: not a line of curl that this test understands", line)
	}
	method := "POST"
	if parts[4] != "" {
		method = parts[4]
	}
	r := apitest.Request("ada", method, parts[5], parts[3])
	if parts[1] != "" {
		r.Header.Set(parts[1], parts[2])
	}
	return r
}

func TestDocsNameEveryProblemAndHeader(t *testing.T) {
	doc, err := os.ReadFile(apiDoc)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"application/problem+json", "`known`", "`late`", "`crossed`", "`closed`", "`retry_after`", "`Retry-After`", "`Idempotency-Key`", "`X-Request-Id`",
		"`400`", "`401`", "`403`", "`404`", "`405`", "`409`", "`413`", "`415`", "`422`", "`429`", "`500`", "`503`", "`Last-Event-ID`", "64 KiB",
		fmt.Sprint(httpapi.MaxKnown), brokers.DefaultStaleAfter.String(), httpapi.ShutdownTimeout.String(), fmt.Sprintf("%d s", int(httpapi.ChangeTimeout.Seconds())),
		fmt.Sprintf("every %d s", int(httpapi.EventHeartbeat.Seconds())), fmt.Sprintf("%d minutes", int(httpapi.EventLife.Minutes())),
		fmt.Sprintf("%d streams", httpapi.MaxStreamsEach),
		fmt.Sprintf("%g a second and %d at once", httpapi.DefaultRate.PerSecond, httpapi.DefaultRate.Burst), fmt.Sprintf("%d bytes", httpapi.MaxReason),
	} {
		if !strings.Contains(string(doc), want) {
			t.Errorf("docs/api.md does not say %s", want)
		}
	}
}
