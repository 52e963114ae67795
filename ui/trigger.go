package ui

import (
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/cjworkbench/unstuck/auth"
	"github.com/cjworkbench/unstuck/httpapi"
	"github.com/cjworkbench/unstuck/release/plan"
	"github.com/cjworkbench/unstuck/remediate/decide"
)

// trigger is something that can be done from the page: a form, of which a request to the API is made.
type trigger struct {
	path  string // of its page, under pageRoot
	route string // of the API that does it
	verb  auth.Verb
	title string // a name in braces stands for what the path has there
	label string // of the button
	what  string // what it comes to, in a sentence or two

	plans bool   // it is planned first, and the plan is shown
	typed string // the part of the path that must be typed to confirm; "": none

	fields []field
}

// field is a field of a trigger's form, and of the body of the request.
type field struct {
	Name     string
	Label    string
	Hint     string
	Kind     string // text, check, choice, guards, hidden; path: it is a part of the path; plan: only a plan fills it in
	Choices  []string
	Required bool
}

var (
	reason = field{
		Name: "reason", Label: "Reason", Hint: "Why, for the record and for those who must wait.", Kind: "text",
		Required: true,
	}
	bugReport = field{Name: "bug_report", Label: "Bug report", Hint: "Its address, if there is one.", Kind: "text"}
	onFailure = field{
		Name: "on_failure", Label: "If it fails", Hint: "Otherwise as the environment says.", Kind: "choice",
		Choices: []string{"leave", "rollback"},
	}
	forHow = field{
		Name: "for", Label: "For how long", Hint: "As in 90m or 8h; at most 31 days.", Kind: "text", Required: true,
	}
)

// triggers are all that can be done from the page.
var triggers = []trigger{
	{
		path: "/environments/{env}/deploy", route: "POST /api/v1/environments/{env}/deploys", verb: auth.Deploy,
		title: "Deploy to {env}", label: "Deploy", plans: true, typed: "env",
		what: "Runs the jobs, then moves every service to the commit.",
		fields: []field{{
			Name: "commit", Label: "Commit", Hint: "All 40 hexadecimal digits.", Kind: "text", Required: true,
		}, reason, bugReport, onFailure},
	},
	{
		path: "/environments/{env}/promote", route: "POST /api/v1/environments/{env}/promotions", verb: auth.Promote,
		title: "Promote to {env}", label: "Promote", plans: true, typed: "env",
		what:   "Deploys the commit that the environment's source runs.",
		fields: []field{{Name: "expect_commit", Kind: "plan"}, reason, bugReport, onFailure},
	},
	{
		path: "/environments/{env}/revert", route: "POST /api/v1/environments/{env}/reverts", verb: auth.Revert,
		title: "Revert {env}", label: "Revert", plans: true, typed: "env",
		what: "Goes back to an earlier commit.",
		fields: []field{
			{Name: "commit", Label: "Commit", Hint: "All 40 hexadecimal digits; empty: the previous good one.", Kind: "text"},
			{Name: "accept_migration_risk", Label: "Go back across a migration, and answer for it", Kind: "check"},
			reason, bugReport, onFailure,
		},
	},
	{
		path:  "/environments/{env}/services/{service}/restart",
		route: "POST /api/v1/environments/{env}/services/{service}/restarts", verb: auth.Restart,
		title: "Restart {service} of {env}", label: "Restart {service}", plans: true, typed: "service",
		what: "Starts its pods anew, with the same images.", fields: []field{reason, bugReport},
	},
	{
		path: "/environments/{env}/restart-secret", route: "POST /api/v1/environments/{env}/secrets/{secret}/restarts",
		verb:  auth.Restart,
		title: "Restart what reads a Secret in {env}", label: "Restart what reads a Secret", plans: true, typed: "env",
		what:   "Starts the pods of each service anew that reads it.",
		fields: []field{{Name: "secret", Label: "Name of the Secret", Kind: "path", Required: true}, reason, bugReport},
	},
	{
		path: "/environments/{env}/tasks/{task}/run", route: "POST /api/v1/environments/{env}/tasks/{task}/runs",
		verb: auth.RunTask, title: "Run {task} in {env}", label: "Run {task}", plans: true, typed: "task",
		fields: []field{{Name: "confirm", Label: "I have read its warning, if it has one", Kind: "check"}, reason, bugReport},
	},
	{
		path: "/operations/{id}/cancel", route: "POST /api/v1/operations/{id}/cancel", title: "Cancel {id}", label: "Cancel",
		what: "It stops as soon as that is safe.", fields: []field{reason},
	},
	{
		path: "/targets/{target}/nodes/{node}/probe", route: "POST /api/v1/targets/{target}/nodes/{node}/probes",
		verb: auth.Probe, title: "Look at {node} of {target} now", label: "Look at it now",
		what: "Runs each of its probes as soon as possible.",
	},
	{
		path: "/targets/{target}/nodes/{node}/delete", route: "POST /api/v1/targets/{target}/nodes/{node}/deletions",
		verb: auth.Delete, title: "Delete {node} of {target}", label: "Delete", plans: true, typed: "node",
		what: "Deletes the pod, behind the same guards as Unstuck's own deletions. An incident is kept.",
		fields: []field{{Name: "uid", Kind: "hidden"}, reason, {
			Name: "override", Label: "Guards that are not to hold it back", Hint: "You answer for those that you tick.",
			Kind: "guards",
		}},
	},
	{
		path: "/targets/{target}/pause", route: "POST /api/v1/targets/{target}/pauses", verb: auth.Pause,
		title: "Pause {target}", label: "Pause", what: "Unstuck deletes none of its nodes until the pause ends.",
		fields: []field{forHow, reason},
	},
	{
		path: "/targets/{target}/resume", route: "DELETE /api/v1/targets/{target}/pauses", verb: auth.Pause,
		title: "End the pauses of {target}", label: "End the pauses",
	},
	{
		path: "/pause", route: "POST /api/v1/pauses", verb: auth.Pause, title: "Pause every broker",
		label: "Pause every broker", what: "Unstuck deletes no node at all until the pause ends.",
		fields: []field{forHow, reason},
	},
	{
		path: "/resume", route: "DELETE /api/v1/pauses", verb: auth.Pause, title: "End the pauses of every broker",
		label: "End the pauses of every broker", what: "Those of single brokers go on.",
	},
}

// braces find what stands for a part of the path.
var braces = regexp.MustCompile(`\{(\w+)\}`)

// fillIn puts into text the parts of the path that it names.
func fillIn(text string, part func(name string) string) string {
	return braces.ReplaceAllStringFunc(text, func(name string) string { return part(strings.Trim(name, "{}")) })
}

// mayTrigger refuses what the caller may not do, or what is not there.
func (p pages) mayTrigger(r *http.Request, d trigger) error {
	action := auth.Action{
		Verb: d.verb, Service: r.PathValue("service"), Task: r.PathValue("task"), Node: r.PathValue("node"),
	}
	if slices.ContainsFunc(d.fields, func(f field) bool { return f.Kind == "path" }) {
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
	for _, d := range triggers {
		if !p.Serves(d.route) {
			continue
		}
		for _, path := range p.placesOf(r, d, topic) {
			at := r.Clone(r.Context())
			for name, value := range path {
				at.SetPathValue(name, value)
			}
			a := button{Label: fillIn(d.label, at.PathValue)}
			if err := p.mayTrigger(at, d); err != nil {
				a.Why = p.ProblemOf(r, err).Detail
			} else {
				a.Path = pageRoot + fillIn(d.path, func(name string) string {
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
func (p pages) placesOf(r *http.Request, d trigger, topic string) []map[string]string {
	kind, _, _ := strings.Cut(topic, "/")
	here := []map[string]string{{}}
	has := func(name string) bool { return strings.Contains(d.path, "{"+name+"}") }
	switch {
	case kind == "environment" && has("env"):
		i := slices.IndexFunc(p.Environments(), func(e plan.Environment) bool { return e.Name == r.PathValue("env") })
		if i < 0 {
			return nil
		}
		var places []map[string]string
		switch env := p.Environments()[i]; {
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
		case d.verb == auth.Promote && env.PromoteFrom == "":
			return nil
		}
		return here
	case kind == "operation" && has("id"), kind == "node" && has("node"),
		kind == "target" && has("target") && !has("node"), kind == "all" && !strings.Contains(d.path, "{"):
		return here
	}
	return nil
}

// overridable lists the guards that a person may override, who answers for it.
func overridable() []decide.GuardDoc {
	return slices.DeleteFunc(decide.Guards(), func(g decide.GuardDoc) bool { return g.Fixed != "" })
}
