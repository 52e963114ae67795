// Package ui is the status page: what the API knows, and can do, for people. It asks the API for all that it shows, and
// for all that it does, on behalf of who has signed in. docs/page.md describes it.
package ui

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/cjworkbench/unstuck/httpapi"
	"github.com/cjworkbench/unstuck/httpapi/environments"
	"github.com/cjworkbench/unstuck/release/plan"
	"github.com/cjworkbench/unstuck/remediate"
	"github.com/cjworkbench/unstuck/trigger"
)

// pageRoot is where the page is.
const pageRoot = httpapi.PageRoot

// What the paths of the API begin with, and those of a service, there and here.
const (
	apiRoot     = "/api/v1"
	servicePath = "/environments/{env}/services/{service}"
)

// pagePolicy lets a browser run the one script and use the one style sheet that we serve, and nothing that a log line
// or a broker's error might bring along.
const pagePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

//go:embed page
var pageFiles embed.FS

// pages serves the status page.
type pages struct {
	*httpapi.API // with a memory of what callers may read

	api   *httpapi.API // without: what changes something is asked of it
	seen  func() []remediate.Snapshot
	pulse *Pulse
	log   *slog.Logger
}

// environments are those of which something can be shown.
func (p pages) environments() []plan.Environment {
	if half, ok := httpapi.HalfOf[*environments.API](p.API); ok {
		return half.Environments
	}
	return nil
}

// view is what is shown: a template, and what it shows.
type view struct {
	name   string // of the template
	title  string
	topic  string // a change of which makes the page show itself anew; "": it does not
	status int    // of HTTP; 0: 200
	data   any
}

// pageFunc answers one request for a page.
type pageFunc func(r *http.Request) (view, error)

// shell is what every page has.
type shell struct {
	Title      string
	Root       string
	Topic      string
	Now        time.Time
	Who        string // is signed in
	SignIn     bool   // one can sign in, and out
	Operations bool   // there are some
	Data       any
}

// New gives the handler of everything under httpapi.PageRoot. The snapshots are those that the API shows. Without a
// pulse it draws no logins, and pages ask again and again whether something has changed.
func New(api *httpapi.API, snapshots func() []remediate.Snapshot, pulse *Pulse, log *slog.Logger) http.Handler {
	p := pages{API: api.WithAccess(remembering), api: api, seen: snapshots, pulse: pulse, log: log}
	m := http.NewServeMux()
	for path, f := range p.views() {
		m.Handle("GET "+pageRoot+path, p.show(f))
	}
	for _, file := range []string{"style.css", "live.js", "icon.svg"} {
		m.HandleFunc("GET "+pageRoot+"/"+file, func(w http.ResponseWriter, r *http.Request) {
			http.ServeFileFS(w, r, pageFiles, "page/"+file)
		})
	}
	if len(p.environments()) > 0 {
		for _, path := range []string{servicePath + "/env", servicePath + "/pods/{pod}/env"} {
			m.Handle("GET "+pageRoot+path, p.variablesPage(path))
		}
	}
	for _, t := range trigger.All() {
		if p.Serves(t.Route()) {
			m.Handle("GET "+pageRoot+t.Page, p.show(p.triggerPage(t)))
			m.Handle("POST "+pageRoot+t.Page, p.do(t))
		}
	}
	if p.Asks() {
		m.HandleFunc("GET "+pageRoot+"/sign-in", p.signInPage)
		m.HandleFunc("POST "+pageRoot+"/sign-in", p.signIn)
		m.HandleFunc("GET "+pageRoot+"/signed-in", p.afterSignIn)
		m.HandleFunc("POST "+pageRoot+"/sign-out", p.signOut)
	}
	m.HandleFunc("GET "+pageRoot+"/live", p.live)
	for _, path := range []string{"/{$}", pageRoot} {
		m.Handle("GET "+path, http.RedirectHandler(pageRoot+"/", http.StatusSeeOther))
	}
	m.Handle("/", p.show(func(r *http.Request) (view, error) {
		return view{}, httpapi.NewProblem(http.StatusNotFound, "there is no page %q", httpapi.Short(r.URL.Path))
	}))
	return withToken(m)
}

// views are the pages, by their paths under pageRoot.
func (p pages) views() map[string]pageFunc {
	all := map[string]pageFunc{
		"/{$}":                           p.overview,
		"/targets/{target}":              p.targetPage,
		"/targets/{target}/nodes/{node}": p.nodePage,
		"/incidents":                     p.incidentsPage,
		"/incidents/{id}":                p.incidentPage,
	}
	if len(p.environments()) > 0 {
		all["/environments/{env}"] = p.environmentPage
		all[servicePath+"/logs"] = p.logsPage
		all["/operations"], all["/operations/{id}"] = p.operationsPage, p.operationPage
	}
	return all
}

// show answers with a page to who may see it.
func (p pages) show(f pageFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r, err := p.Authenticate(r)
		var v view
		if err == nil {
			v, err = f(r)
		}
		p.answer(w, r, v, err)
	})
}

// answer writes a page, or what is wrong in its place.
func (p pages) answer(w http.ResponseWriter, r *http.Request, v view, err error) {
	if isProblem(err, http.StatusUnauthorized) {
		toSignIn(w, r)
		return
	}
	if err != nil {
		v = p.trouble(r, err)
	}
	p.render(w, r, v)
}

// trouble is the page that says what is wrong.
func (p pages) trouble(r *http.Request, err error) view {
	problem := p.ProblemOf(r, err)
	return view{name: "trouble", title: problem.Title, status: problem.Status, data: problem}
}

// render writes a page. Nothing is sent before all of it is made.
func (p pages) render(w http.ResponseWriter, r *http.Request, v view) {
	who, _ := httpapi.CallerOf(r.Context())
	s := shell{
		Title: v.title, Root: pageRoot, Topic: v.topic, Now: time.Now(), Who: who.Name, SignIn: p.Asks(),
		Operations: len(p.environments()) > 0, Data: v.data,
	}
	var page bytes.Buffer
	if err := templates[v.name].ExecuteTemplate(&page, "shell", s); err != nil {
		p.log.Error("page not made", "path", httpapi.Short(r.URL.Path), "request_id", httpapi.RequestIDOf(r.Context()),
			"error", err)
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(page.Len()))
	h.Set("Content-Security-Policy", pagePolicy)
	h.Set("Referrer-Policy", "same-origin") // or browsers would not say where a form was sent from
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	if v.status != 0 {
		w.WriteHeader(v.status)
	}
	if r.Method == http.MethodHead {
		return
	}
	if _, err := page.WriteTo(w); err != nil {
		p.log.Debug("client went away", "path", httpapi.Short(r.URL.Path), "error", err)
	}
}

// templates are the pages, each in the shell and with the parts that they share.
var templates = parsePages(pageFiles)

func parsePages(files fs.FS) map[string]*template.Template {
	shared := template.Must(template.New("").Funcs(pageFuncs).ParseFS(files, "page/shell.html", "page/parts.html"))
	all := make(map[string]*template.Template)
	names, _ := fs.Glob(files, "page/*.html") // the pattern is a good one
	for _, name := range names {
		page := strings.TrimSuffix(strings.TrimPrefix(name, "page/"), ".html")
		all[page] = template.Must(template.Must(shared.Clone()).ParseFS(files, name))
	}
	return all
}

// pagePath gives the path of a page: each part is escaped.
func pagePath(parts ...string) string {
	var path strings.Builder
	path.WriteString(pageRoot)
	for _, part := range parts {
		path.WriteString("/" + url.PathEscape(part))
	}
	return path.String()
}

// isProblem says whether err is a Problem with that status.
func isProblem(err error, status int) bool {
	p, ok := errors.AsType[*httpapi.Problem](err)
	return ok && p.Status == status
}

// get gives what a GET of the API at that path answers with, which is a T.
func get[T any](p pages, r *http.Request, path string) (T, error) {
	answer, err := p.Get(r, apiRoot+path)
	return as[T](answer, err)
}

func as[T any](answer any, err error) (T, error) {
	t, ok := answer.(T)
	if err == nil && !ok {
		err = fmt.Errorf("want a %T, got a %T", t, answer)
	}
	return t, err
}
