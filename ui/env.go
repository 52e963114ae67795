package ui

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/cjworkbench/unstuck/auth"
	"github.com/cjworkbench/unstuck/httpapi/environments"
	"github.com/cjworkbench/unstuck/release/plan"
)

// shownOperations is how many operations the page of an environment shows.
const shownOperations = 10

// environmentData is what the page of an environment shows.
type environmentData struct {
	environments.Environment

	Operations []environments.OperationLine // newest first
	Unread     bool                         // they cannot be read now
	Buttons    []button
}

// environmentNames lists the environments that the caller may read.
func (p pages) environmentNames(r *http.Request) ([]string, error) {
	var names []string
	for _, env := range p.environments() {
		ok, err := p.Sees(r.Context(), auth.Action{Environment: env.Name})
		if err != nil {
			return nil, err
		}
		if ok {
			names = append(names, env.Name)
		}
	}
	return names, nil
}

func (p pages) environmentPage(r *http.Request) (view, error) {
	env, err := get[environments.Environment](p, r, "/environments/{env}")
	if err != nil {
		return view{}, err
	}
	d := environmentData{Environment: env, Buttons: p.buttons(r, ofEnvironment(env.Environment))}
	latest := r.Clone(r.Context())
	latest.URL.RawQuery = url.Values{"environment": {env.Environment}, "limit": {strconv.Itoa(shownOperations)}}.Encode()
	operations, err := get[environments.OperationLines](p, latest, "/operations")
	if d.Unread = err != nil; d.Unread {
		p.log.Warn("operations not read", "environment", env.Environment, "error", err)
	}
	d.Operations = operations.Operations
	return view{name: "environment", title: env.Environment, topic: ofEnvironment(env.Environment), data: d}, nil
}

func (p pages) operationsPage(r *http.Request) (view, error) {
	all, err := get[environments.OperationLines](p, r, "/operations")
	if err != nil {
		return view{}, err
	}
	return view{name: "operations", title: "Operations", topic: everything, data: all}, nil
}

// operationData is what the page of an operation shows.
type operationData struct {
	plan.Operation

	Headline headline
	Done     int // steps
	Buttons  []button
}

func (p pages) operationPage(r *http.Request) (view, error) {
	op, err := get[plan.Operation](p, r, "/operations/{id}")
	if err != nil {
		return view{}, err
	}
	d := operationData{Operation: op, Headline: progressOf(op), Buttons: p.buttons(r, "operation")}
	for _, s := range op.Steps {
		if s.Phase == plan.Succeeded {
			d.Done++
		}
	}
	return view{name: "operation", title: op.Request.String(), topic: ofEnvironment(op.Environment), data: d}, nil
}

// progressOf says how far an operation is, or how it has ended.
func progressOf(op plan.Operation) headline {
	what, tone := op.Request.String(), phaseTone(op.Phase)
	switch op.Phase {
	case plan.Succeeded:
		return headline{what + ": done.", tone}
	case plan.Failed:
		return headline{what + ": failed.", tone}
	case plan.Cancelled:
		return headline{what + ": cancelled.", tone}
	case plan.RolledBack:
		return headline{what + ": failed, and the old images are back.", tone}
	case plan.RollingBack:
		return headline{what + ": failed; the old images are being put back.", tone}
	case plan.Running, plan.Pending:
	}
	for i, s := range op.Steps {
		if s.Phase == plan.Running {
			return headline{fmt.Sprintf("%s: step %d of %d, %s.", what, i+1, len(op.Steps), stepWords(s.Step)), "busy"}
		}
	}
	return headline{what + ": about to begin.", "busy"}
}
