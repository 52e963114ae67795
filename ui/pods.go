package ui

import (
	"errors"
	"net/http"

	"github.com/cjworkbench/unstuck/httpapi"
	"github.com/cjworkbench/unstuck/httpapi/environments"
	"github.com/cjworkbench/unstuck/release"
)

// logsData is what the page of a service's logs shows.
type logsData struct {
	Environment, Service string
	Asked                map[string]string // of the parameters, what was asked for
	Follows              bool              // it shows itself anew
	Log                  release.ServiceLog
	Problem              *httpapi.Problem // with what was asked for
}

// logsPage shows the last lines of a service's log. The rights and the bounds are those of the API. To follow it is to
// have the page show itself anew: every five seconds, as long as nothing else happens.
func (p pages) logsPage(r *http.Request) (view, error) {
	half, ok := httpapi.HalfOf[*environments.API](p.API)
	if !ok {
		return view{}, httpapi.NewProblem(http.StatusNotFound, "no logs are served here")
	}
	read, err := half.LastLines(r)
	if err != nil {
		return view{}, err
	}
	d := logsData{Environment: r.PathValue("env"), Service: r.PathValue("service"), Asked: make(map[string]string)}
	for name := range r.URL.Query() {
		d.Asked[name] = r.URL.Query().Get(name)
	}
	v := view{name: "logs", title: "Logs of " + d.Service + " of " + d.Environment}
	if d.Log, d.Follows, err = read(); err != nil {
		if !errors.As(err, &d.Problem) {
			return view{}, err
		}
		v.status, d.Follows = d.Problem.Status, false
	}
	if v.data = d; d.Follows {
		v.topic = ofEnvironment(d.Environment)
	}
	return v, nil
}

// variablesPage shows with what variables the newest pod of a service runs, or the one that the path names. It is the
// API's own answer, of which the audit is told, and so the page does not show itself anew.
func (p pages) variablesPage(path string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r, seen, err := p.GetWatched(r, apiRoot+path)
		pod, err := as[release.PodEnv](seen, err)
		title := "Variables of " + r.PathValue("service") + " of " + r.PathValue("env")
		p.answer(w, r, view{name: "variables", title: title, data: struct {
			release.PodEnv

			Environment, Service string
		}{pod, r.PathValue("env"), r.PathValue("service")}}, err)
	})
}
