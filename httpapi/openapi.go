package httpapi

import (
	"cmp"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// description is an OpenAPI 3.1 document, as far as this API needs one.
type description struct {
	OpenAPI    string                           `json:"openapi"`
	Info       map[string]string                `json:"info"`
	Servers    []map[string]string              `json:"servers"`
	Tags       []map[string]string              `json:"tags"`
	Paths      map[string]map[string]*operation `json:"paths"` // by path and lower-case method
	Components components                       `json:"components"`
	Security   []map[string][]string            `json:"security"`
}

type components struct {
	Schemas         map[string]*schema           `json:"schemas"`
	Responses       map[string]*content          `json:"responses"`
	SecuritySchemes map[string]map[string]string `json:"securitySchemes"`
}

type operation struct {
	ID         string                 `json:"operationId"`
	Tags       []string               `json:"tags"`
	Summary    string                 `json:"summary"`
	Parameters []parameter            `json:"parameters,omitempty"`
	Body       *content               `json:"requestBody,omitempty"`
	Responses  map[string]*content    `json:"responses"`
	Security   *[]map[string][]string `json:"security,omitempty"` // empty: nobody needs to say who they are
}

type parameter struct {
	Name     string  `json:"name"`
	In       string  `json:"in"` // path, query or header
	About    string  `json:"description,omitempty"`
	Required bool    `json:"required,omitempty"`
	Schema   *schema `json:"schema"`
}

// content is a body or an answer, or where one is described.
type content struct {
	Ref      string               `json:"$ref,omitempty"`
	About    string               `json:"description,omitempty"`
	Required bool                 `json:"required,omitempty"` // of a body
	Headers  map[string]header    `json:"headers,omitempty"`  // of an answer
	Content  map[string]mediaType `json:"content,omitempty"`
}

type mediaType struct {
	Schema *schema `json:"schema"`
}

type header struct {
	About  string  `json:"description"`
	Schema *schema `json:"schema"`
}

var wildcard = regexp.MustCompile(`\{(\w+)\}`)

// openAPI describes routes.
func openAPI(routes []Route, closed enums) description {
	s := schemas{make(map[string]*schema), closed}
	d := description{
		OpenAPI: "3.1.0",
		Info: map[string]string{
			"title": "Unstuck", "version": "1",
			"description": "What Unstuck knows of the brokers and environments that it watches, and what it can do to them. " +
				"GET never changes anything.",
		},
		Servers: []map[string]string{{"url": "/", "description": "the Unstuck that gives this document"}},
		Paths:   make(map[string]map[string]*operation),
		Components: components{
			Schemas:         s.named,
			Responses:       s.refusals(),
			SecuritySchemes: map[string]map[string]string{"token": {"type": "http", "scheme": "bearer"}},
		},
		Security: []map[string][]string{{"token": {}}},
	}
	for _, r := range routes {
		if d.Paths[r.Path] == nil {
			d.Paths[r.Path] = make(map[string]*operation)
		}
		o := s.operation(r)
		d.Paths[r.Path][strings.ToLower(r.Method)] = o
		if tag := map[string]string{"name": o.Tags[0]}; !slices.ContainsFunc(d.Tags, func(t map[string]string) bool {
			return t["name"] == tag["name"]
		}) {
			d.Tags = append(d.Tags, tag)
		}
	}
	return d
}

func (s schemas) operation(r Route) *operation {
	o := &operation{
		ID: operationName(r), Tags: []string{tagOf(r)}, Summary: r.Shows,
		Parameters: parametersOf(r), Responses: refusalsOf(r),
	}
	if r.Body != nil {
		ref := s.of(r.Body)
		o.Body = &content{
			Required: len(s.named[r.Body.Name()].Required) > 0, About: "what is asked for; at most 64 KiB",
			Content: map[string]mediaType{"application/json": {ref}},
		}
	}
	good := mediaType{&schema{Type: "object"}}
	if r.Answer != nil {
		good.Schema = s.of(r.Answer)
	}
	status := cmp.Or(r.Status, http.StatusOK)
	answer := &content{About: http.StatusText(status), Content: answersOf(r, good)}
	if r.Change != nil && (status == http.StatusAccepted || status == http.StatusCreated) {
		answer.Headers = map[string]header{"Location": {"where to look what becomes of it", &schema{Type: "string"}}}
	}
	o.Responses[strconv.Itoa(status)] = answer
	if r.Body != nil && status == http.StatusAccepted {
		if _, takes := s.named[r.Body.Name()].Properties["dry_run"]; takes {
			dry := good
			if r.Dry != nil {
				dry.Schema = s.of(r.Dry)
			}
			o.Responses["200"] = &content{
				About: "a dry run: what would be done", Content: map[string]mediaType{"application/json": dry},
			}
		}
	}
	if r.Stream != nil {
		o.Responses["204"] = &content{About: "it is over, and the client has seen how it ended"}
	}
	if r.Open {
		o.Security = &[]map[string][]string{}
	}
	return o
}

// parametersOf gives all that a request to a route may say besides its body.
func parametersOf(r Route) (all []parameter) {
	for _, m := range wildcard.FindAllStringSubmatch(r.Path, -1) {
		all = append(all, parameter{
			Name: m[1], In: "path", Required: true, Schema: &schema{Type: "string", MinLength: 1},
		})
	}
	if r.Stream == nil || r.Answer != nil {
		all = append(all, parameter{
			Name: "pretty", In: "query", About: "the answer on several lines", Schema: &schema{Type: "string"},
		})
	}
	if r.Stream != nil {
		all = append(all, parameter{
			Name: "Last-Event-ID", In: "header", About: "the id of the last event that arrived: those after it follow",
			Schema: &schema{Type: "string"},
		})
	}
	for _, p := range r.Query {
		all = append(all, parameter{
			Name: p.Name, In: "query", About: p.About, Schema: &schema{Type: p.Kind},
		})
	}
	if r.Change != nil {
		about := "taken, and not needed: the same request again changes nothing more"
		if r.TakesKey {
			about = "the same request with the same key again gives the same operation"
		}
		all = append(all, parameter{
			Name: "Idempotency-Key", In: "header", About: about,
			Schema: &schema{Type: "string", Pattern: idempotencyKey.String()},
		})
	}
	return all
}

// answersOf gives what a route answers with, by the type of its content: an object, a stream of events, or either.
func answersOf(r Route, object mediaType) map[string]mediaType {
	answers := make(map[string]mediaType)
	if r.Stream == nil || r.Answer != nil {
		answers["application/json"] = object
	}
	if r.Stream != nil {
		answers["text/event-stream"] = mediaType{&schema{Type: "string"}}
	}
	return answers
}

// operationName names an operation for those who make clients of the description: "post_environments_env_deploys".
func operationName(r Route) string {
	path := strings.NewReplacer("{", "", "}", "", "/", "_", ".", "_").Replace(strings.TrimPrefix(r.Path, "/api/v1"))
	return strings.ToLower(r.Method) + path
}
