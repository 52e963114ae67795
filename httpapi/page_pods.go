package httpapi

import (
	"errors"
	"net/http"
	"time"

	"github.com/cjworkbench/unstuck/auth"
	"github.com/cjworkbench/unstuck/release"
	"github.com/cjworkbench/unstuck/release/plan"
)

// logsData is what the page of a service's logs shows.
type logsData struct {
	Environment, Service string
	Asked                map[string]string // of the parameters, what was asked for
	Follows              bool              // it shows itself anew
	Log                  release.ServiceLog
	Problem              *Problem // with what was asked for
}

// logsPage shows the last lines of a service's log. The rights and the bounds are those of the API. To follow it is to
// have the page show itself anew: every five seconds, as long as nothing else happens.
func (p pages) logsPage(r *http.Request) (view, error) {
	env, err := p.releases.serviceTo(auth.Logs, r, &AuditEvent{}, "")
	if err != nil {
		return view{}, err
	}
	d := logsData{Environment: env.Name, Service: r.PathValue("service"), Asked: make(map[string]string)}
	for _, one := range logParams {
		d.Asked[one.name] = r.URL.Query().Get(one.name)
	}
	v := view{name: "logs", title: "Logs of " + d.Service + " of " + d.Environment}
	if d.Log, d.Follows, err = p.lastLines(r, env); err != nil {
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

// lastLines reads what the query asks for.
func (p pages) lastLines(r *http.Request, env plan.Environment) (all release.ServiceLog, follows bool, err error) {
	q, follows, err := logQueryOf(r, time.Now())
	if err != nil {
		return all, false, err
	}
	done, err := p.releases.openLog(r)
	if err != nil {
		return all, false, err
	}
	defer done()
	all, err = p.releases.readLog(r, env, q)
	return all, follows, err
}

// variablesPage shows with what variables the newest pod of a service runs, or the one that the path names. It is the
// API's own answer, of which the audit is told, and so the page does not show itself anew.
func (p pages) variablesPage() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r, seen, err := p.watch(r, p.releases.env)
		pod, err := as[release.PodEnv](seen, err)
		title := "Variables of " + r.PathValue("service") + " of " + r.PathValue("env")
		p.answer(w, r, view{name: "variables", title: title, data: struct {
			release.PodEnv

			Environment, Service string
		}{pod, r.PathValue("env"), r.PathValue("service")}}, err)
	})
}
