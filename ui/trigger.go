package ui

import (
	"net/http"
	"slices"
	"strings"

	"github.com/cjworkbench/unstuck/auth"
	"github.com/cjworkbench/unstuck/httpapi"
	"github.com/cjworkbench/unstuck/httpapi/brokers"
	"github.com/cjworkbench/unstuck/release/plan"
	"github.com/cjworkbench/unstuck/remediate/decide"
	"github.com/cjworkbench/unstuck/trigger"
)

// mayTrigger refuses what the caller may not do, or what is not there.
func (p pages) mayTrigger(r *http.Request, t trigger.Trigger) error {
	action := auth.Action{
		Verb: t.Verb, Service: r.PathValue("service"), Task: r.PathValue("task"), Node: r.PathValue("node"),
	}
	if slices.ContainsFunc(t.Fields, func(f trigger.Field) bool { return f.Kind == "path" }) {
		action.Secret = "any" // the right is the same for each
	}
	return p.Allows(r, action)
}

// button is a trigger where it can be done: a button, or why there is none.
type button struct {
	Label string
	Path  string // "": the caller may not
	Why   string
}

// buttons are the triggers that there are for what a page shows, for which topic says of what kind that is. A page that
// shows itself anew keeps the buttons that it has, for each costs a question or two to Kubernetes.
func (p pages) buttons(r *http.Request, topic string) []button {
	if !p.Asks() || r.Header.Get(httpapi.RefreshHeader) != "" {
		return nil
	}
	var all []button
	for _, t := range trigger.All() {
		if !p.Serves(t.Route()) {
			continue
		}
		for _, path := range p.placesOf(r, t, topic) {
			at := r.Clone(r.Context())
			for name, value := range path {
				at.SetPathValue(name, value)
			}
			a := button{Label: trigger.FillIn(t.Label, at.PathValue)}
			if err := p.mayTrigger(at, t); err != nil {
				a.Why = p.ProblemOf(r, err).Detail
			} else {
				a.Path = pageRoot + trigger.FillIn(t.Page, func(name string) string {
					return strings.TrimPrefix(pagePath(at.PathValue(name)), pageRoot+"/")
				})
			}
			all = append(all, a)
		}
	}
	return all
}

// placesOf gives the parts of the paths at which a trigger can be done on the page that is asked for, beside those that
// its own path has.
func (p pages) placesOf(r *http.Request, t trigger.Trigger, topic string) []map[string]string {
	kind, _, _ := strings.Cut(topic, "/")
	here := []map[string]string{{}}
	has := func(name string) bool { return strings.Contains(t.Page, "{"+name+"}") }
	switch {
	case has("pause"):
		return p.pausesOf(r, kind)
	case kind == "environment" && has("env"):
		i := slices.IndexFunc(p.environments(), func(e plan.Environment) bool { return e.Name == r.PathValue("env") })
		if i < 0 {
			return nil
		}
		var places []map[string]string
		switch env := p.environments()[i]; {
		case has("service"):
			for _, s := range env.Services {
				places = append(places, map[string]string{"service": s.Name})
			}
			return places
		case has("task"):
			for _, t := range env.Tasks {
				places = append(places, map[string]string{"task": t.Name})
			}
			return places
		case t.Verb == auth.Promote && env.PromoteFrom == "":
			return nil
		}
		return here
	case kind == "operation" && has("id"), kind == "node" && has("node"),
		kind == "target" && has("target") && !has("node"), kind == "all" && !strings.Contains(t.Page, "{"):
		return here
	}
	return nil
}

// pausesOf gives the pauses that hold for the target of the page, or on the page of all, for every broker.
func (p pages) pausesOf(r *http.Request, kind string) (places []map[string]string) {
	if kind != "target" && kind != "all" {
		return nil
	}
	list, err := get[brokers.PauseList](p, r, "/pauses")
	if err != nil {
		p.log.Warn("pauses not read", "error", err)
	}
	for _, one := range list.Pauses {
		if (kind == "all" && one.Target == "") || (kind == "target" && one.Target == r.PathValue("target")) {
			places = append(places, map[string]string{"pause": one.ID})
		}
	}
	return places
}

// overridable lists the guards that a person may override, who answers for it.
func overridable() []decide.GuardDoc {
	return slices.DeleteFunc(decide.Guards(), func(g decide.GuardDoc) bool { return g.Fixed != "" })
}
