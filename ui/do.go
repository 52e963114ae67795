package ui

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/cjworkbench/unstuck/httpapi"
	"github.com/cjworkbench/unstuck/httpapi/brokers"
	"github.com/cjworkbench/unstuck/release/plan"
	"github.com/cjworkbench/unstuck/remediate/decide"
	"github.com/cjworkbench/unstuck/trigger"
)

// triggerData is what the page of a trigger shows: its form or, once that is filled in, the plan.
type triggerData struct {
	Title, What, Label string
	Warning            string // of a task
	Fields             []fieldData
	Guards             []decide.GuardDoc
	Problem            *httpapi.Problem
	Plans              bool

	Planned bool
	Plan    *plan.Plan             // of an operation
	Deleted *brokers.DeletionReply // of a deletion
	Typed   string                 // what is to be typed to confirm
	Key     string                 // of idempotency: however often the button is pressed, it is one operation
	Back    string
}

// fieldData is a field with what it has.
type fieldData struct {
	trigger.Field

	Value  string
	Values []string
}

// Has says whether one of several is chosen.
func (f fieldData) Has(value any) bool {
	for _, v := range f.Values {
		if v == fmt.Sprint(value) {
			return true
		}
	}
	return false
}

// triggerPage shows a trigger's form to who may do it.
func (p pages) triggerPage(t trigger.Trigger) pageFunc {
	return func(r *http.Request) (view, error) {
		if err := p.mayTrigger(r, t); err != nil {
			return view{}, err
		}
		return p.formOf(r, t, nil), nil
	}
}

func (p pages) formOf(r *http.Request, t trigger.Trigger, problem *httpapi.Problem) view {
	data := triggerData{
		Title: trigger.FillIn(t.Title, r.PathValue), Label: trigger.FillIn(t.Label, r.PathValue), What: t.What,
		Problem: problem, Plans: t.Plans,
		Guards: overridable(), Back: r.URL.Path[:strings.LastIndex(r.URL.Path, "/")+1],
	}
	if t.Typed != "" && !t.Plans {
		data.Typed = r.PathValue(t.Typed)
	}
	for _, f := range t.Fields {
		value := r.PostForm.Get(f.Name)
		if f.Name == "uid" && value == "" {
			value = p.uidOf(r)
		}
		data.Fields = append(data.Fields, fieldData{Field: f, Value: value, Values: r.PostForm[f.Name]})
	}
	data.Warning = p.warningOf(r)
	v := view{name: "trigger", title: data.Title, data: data}
	if problem != nil {
		v.status = problem.Status
	}
	return v
}

// warningOf gives the warning of the task that the path names, if it names one that has a warning.
func (p pages) warningOf(r *http.Request) string {
	for _, env := range p.environments() {
		for _, t := range env.Tasks {
			if env.Name == r.PathValue("env") && t.Name == r.PathValue("task") {
				return t.Warning
			}
		}
	}
	return ""
}

// uidOf gives the UID of the node that the path names: the very one that somebody looks at is to be deleted.
func (p pages) uidOf(r *http.Request) string {
	return nodeOf(p.snapshotOf(r.PathValue("target")), r.PathValue("node")).UID // none on other pages
}

// do takes a trigger's form: it shows the plan, or does it and goes on to what came of it.
func (p pages) do(t trigger.Trigger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r, err := p.Authenticate(r)
		if err == nil {
			err = httpapi.ReadForm(w, r)
		}
		for _, f := range t.Fields {
			if f.Kind == "text" && r.PostForm.Has(f.Name) { // which a page shows again
				r.PostForm.Set(f.Name, httpapi.Cut(r.PostForm.Get(f.Name), httpapi.MaxBody))
			}
		}
		if err == nil {
			err = p.mayTrigger(r, t)
		}
		if err != nil {
			why := p.ProblemOf(r, err)
			p.refusedHere(r, t, why)
			p.render(w, r, p.trouble(r, why))
			return
		}
		typed := t.Typed == "" || r.PostForm.Get("typed") == r.PathValue(t.Typed)
		if t.Plans && (r.PostForm.Get("step") != "do" || !typed) {
			p.render(w, r, p.planned(w, r, t))
			return
		}
		location, _, err := p.ask(w, r, t, false)
		if err != nil {
			p.render(w, r, p.formOf(r, t, p.ProblemOf(r, err)))
			return
		}
		next := strings.TrimPrefix(location, apiRoot)
		if next == "" {
			next = strings.TrimPrefix(r.URL.Path[:strings.LastIndex(r.URL.Path, "/")], pageRoot)
		}
		http.Redirect(w, r, pageRoot+cmp.Or(next, "/"), http.StatusSeeOther)
	})
}

// planned is the page that shows what would be done, and asks for it to be confirmed.
func (p pages) planned(w http.ResponseWriter, r *http.Request, t trigger.Trigger) view {
	_, answer, err := p.ask(w, r, t, true)
	if err != nil {
		return p.formOf(r, t, p.ProblemOf(r, err))
	}
	v := p.formOf(r, t, nil)
	data, _ := v.data.(triggerData)
	data.Planned, data.Typed = true, r.PathValue(t.Typed)
	data.Key = r.PostForm.Get("key")
	if r.PostForm.Get("step") == "do" {
		data.Problem = httpapi.NewProblem(http.StatusBadRequest, "type %s to confirm", data.Typed)
		p.refusedHere(r, t, data.Problem)
		v.status = http.StatusBadRequest
	} else {
		data.Key = rand.Text()
	}
	switch reply := answer.(type) {
	case plan.Plan:
		data.Plan = &reply
		data.pin(reply.Commit, "commit", "expect_commit")
	case brokers.DeletionReply:
		data.Deleted = &reply
		data.pin(reply.UID, "uid")
	}
	v.data = data
	return v
}

// pin has the form send what the plan says, where it was left open: what is confirmed is what was shown, and not what
// the same question would be answered with by then.
func (d *triggerData) pin(value string, names ...string) {
	for i := range d.Fields {
		if slices.Contains(names, d.Fields[i].Name) {
			d.Fields[i].Value = value
		}
	}
}

// ask makes the request to the API that a form stands for, and has it answered like any other: the same checks, the
// same rights, the same audit.
func (p pages) ask(w http.ResponseWriter, r *http.Request, t trigger.Trigger,
	dryRun bool,
) (location string, answer any, err error) {
	body := make(map[string]any)
	ask := r.Clone(r.Context())
	for _, f := range t.Fields {
		value := strings.TrimSpace(r.PostForm.Get(f.Name))
		switch {
		case f.Kind == "path":
			if value == "" {
				return "", nil, httpapi.NewProblem(http.StatusBadRequest, "%s is missing", strings.ToLower(f.Label))
			}
			ask.SetPathValue(f.Name, value)
		case value == "":
		case f.Kind == "check":
			body[f.Name] = true
		case f.Kind == "guards":
			body[f.Name] = r.PostForm[f.Name]
		default:
			body[f.Name] = value
		}
	}
	if dryRun {
		body["dry_run"] = true
	}
	data, err := json.Marshal(body)
	if err != nil {
		return "", nil, fmt.Errorf("encode a form: %w", err)
	}
	ask.Method, ask.Pattern = t.Method, t.Route()
	ask.URL = &url.URL{Path: trigger.FillIn(t.Path, func(name string) string { return ask.PathValue(name) })}
	ask.Header.Set("Content-Type", "application/json")
	ask.Header.Del("Content-Encoding")
	ask.Header.Del("Idempotency-Key")
	if key := r.PostForm.Get("key"); p.TakesKey(t.Route()) && !dryRun && key != "" {
		ask.Header.Set("Idempotency-Key", key)
	}
	ask.Body = io.NopCloser(bytes.NewReader(data))
	if len(t.Fields) == 0 {
		ask.Body = http.NoBody
	}
	return p.api.Change(w, ask, t.Route())
}

// refusedHere tells the audit of a form that is refused before the API is asked for anything, or for more than a plan.
func (p pages) refusedHere(r *http.Request, t trigger.Trigger, why *httpapi.Problem) {
	a := httpapi.AuditEventOf(r)
	who, _ := httpapi.CallerOf(r.Context())
	a.By, a.Authority, a.Status, a.Refused = who.Name, who.Authority, why.Status, why.Detail
	a.Action, a.Reason = httpapi.Cut(trigger.FillIn(t.Title, r.PathValue), httpapi.MaxReason),
		httpapi.Cut(r.PostForm.Get("reason"), httpapi.MaxReason)
	p.Record(r.Context(), r, a)
}
