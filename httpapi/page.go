package httpapi

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// pageRoot is where the status page is: what the API knows, and can do, for people. docs/page.md describes it.
const pageRoot = "/status"

// pagePolicy lets a browser run the one script and use the one style sheet that we serve, and nothing that a log line
// or a broker's error might bring along.
const pagePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

//go:embed page
var pageFiles embed.FS

// pages serves the status page over the same halves as the API.
type pages struct {
	*gate // remembering, as the halves are here

	brokers  *brokerAPI
	releases *releaseAPI // nil: there is none

	api     *api // not remembering: what changes something is asked of it
	pulse   *Pulse
	changes map[string]Route // of the API, by method and path
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

// newPages gives the handler of everything under pageRoot.
func newPages(a *api, pulse *Pulse) http.Handler {
	g := a.remembering()
	p := pages{gate: g, brokers: newBrokerAPI(g, a.brokers.Brokers), api: a, pulse: pulse, changes: make(map[string]Route)}
	if a.releases != nil {
		p.releases = a.releases.behind(g)
	}
	for _, r := range a.routes() {
		if r.change != nil {
			p.changes[r.Method+" "+r.Path] = r
		}
	}
	m := http.NewServeMux()
	for path, f := range p.views() {
		m.Handle("GET "+pageRoot+path, p.show(f))
	}
	for _, file := range []string{"style.css", "live.js", "icon.svg"} {
		m.HandleFunc("GET "+pageRoot+"/"+file, func(w http.ResponseWriter, r *http.Request) {
			http.ServeFileFS(w, r, pageFiles, "page/"+file)
		})
	}
	if p.releases != nil {
		for _, path := range []string{"", "/pods/{pod}"} {
			m.Handle("GET "+pageRoot+"/environments/{env}/services/{service}"+path+"/env", p.variablesPage())
		}
	}
	for _, d := range triggers {
		if _, served := p.changes[d.route]; served {
			m.Handle("GET "+pageRoot+d.path, p.show(p.triggerPage(d)))
			m.Handle("POST "+pageRoot+d.path, p.do(d))
		}
	}
	if p.identity != nil {
		m.HandleFunc("GET "+pageRoot+"/sign-in", p.signInPage)
		m.HandleFunc("POST "+pageRoot+"/sign-in", p.signIn)
		m.HandleFunc("GET "+pageRoot+"/signed-in", p.afterSignIn)
		m.HandleFunc("POST "+pageRoot+"/sign-out", p.signOut)
	}
	m.Handle("GET "+pageRoot+"/live", p.signedIn(Route{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := p.live(w, r); err != nil {
			p.fail(w, r, err)
		}
	})))
	for _, path := range []string{"/{$}", pageRoot} {
		m.Handle("GET "+path, http.RedirectHandler(pageRoot+"/", http.StatusSeeOther))
	}
	m.Handle("/", p.show(func(r *http.Request) (view, error) {
		return view{}, problem(http.StatusNotFound, "there is no page %q", short(r.URL.Path))
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
	if p.releases != nil {
		all["/environments/{env}"] = p.environmentPage
		all["/environments/{env}/services/{service}/logs"] = p.logsPage
		all["/operations"], all["/operations/{id}"] = p.operationsPage, p.operationPage
	}
	return all
}

// pageOrAPI gives the page what is under pageRoot, and a browser that asks for the root; the rest is the API's.
func pageOrAPI(page, api http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reads := r.Method == http.MethodGet || r.Method == http.MethodHead
		browser := r.URL.Path == "/" && reads && strings.Contains(r.Header.Get("Accept"), "text/html")
		if browser || r.URL.Path == pageRoot || strings.HasPrefix(r.URL.Path, pageRoot+"/") {
			page.ServeHTTP(w, r)
			return
		}
		api.ServeHTTP(w, r)
	})
}

// show answers with a page to whoever may see it.
func (p pages) show(f pageFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r, err := p.authenticate(r)
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
	problem := p.problemOf(r, err)
	return view{name: "trouble", title: problem.Title, status: problem.Status, data: problem}
}

// render writes a page. Nothing is sent before all of it is made.
func (p pages) render(w http.ResponseWriter, r *http.Request, v view) {
	who, _ := callerOf(r.Context())
	s := shell{
		Title: v.title, Root: pageRoot, Topic: v.topic, Now: time.Now(), Who: who.Name, SignIn: p.identity != nil,
		Operations: p.releases != nil, Data: v.data,
	}
	var page bytes.Buffer
	if err := templates[v.name].ExecuteTemplate(&page, "shell", s); err != nil {
		p.log.Error("page not made", "path", short(r.URL.Path), "request_id", requestOf(r.Context()), "error", err)
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
		p.log.Debug("client went away", "path", short(r.URL.Path), "error", err)
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
	p, ok := errors.AsType[*Problem](err)
	return ok && p.Status == status
}

// as makes what an endpoint of the API answers with a T.
func as[T any](answer any, err error) (T, error) {
	t, ok := answer.(T)
	if err == nil && !ok {
		err = fmt.Errorf("want a %T, got a %T", t, answer)
	}
	return t, err
}
