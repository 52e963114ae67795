package brokers

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"slices"

	"github.com/cjworkbench/unstuck/auth"
	"github.com/cjworkbench/unstuck/httpapi"
	"github.com/cjworkbench/unstuck/remediate"
	"github.com/cjworkbench/unstuck/remediate/decide"
	"github.com/cjworkbench/unstuck/target"
	"github.com/cjworkbench/unstuck/trigger"
)

// Nodes does to a broker's nodes what a person asks for.
type Nodes interface {
	// Probe has a node looked at as soon as possible, by every probe that it has, and does not wait for the results.
	Probe(ctx context.Context, targetName, node string) error
	// Delete deletes a node behind the same guards as the daemon's own deletions, or says what would be done. It gives
	// a *decide.HeldError if guards hold it back, Unable if we may not, target.ErrGone or target.ErrChanged if the node of
	// that UID is no longer there, and remediate.ErrNotLeader if another replica must be asked.
	Delete(ctx context.Context, targetName string, r decide.DeleteRequest) (remediate.DeleteResult, error)
}

// Unable names the permissions that we do not have in the cluster, and would need for what we were asked to do.
type Unable string

func (u Unable) Error() string { return "the cluster does not let Unstuck do it: " + string(u) }

// DeletionReply is the answer to a deletion: what was done, or would be.
type DeletionReply struct {
	Target   string              `json:"target"`
	Node     string              `json:"node"`
	UID      string              `json:"uid"`
	DryRun   bool                `json:"dry_run,omitzero"`
	Incident string              `json:"incident,omitzero"` // the ID of the incident that tells how it goes on
	Override []decide.Guard      `json:"override"`          // the guards that were overridden
	Guards   []decide.GuardState `json:"guards"`            // what each of them said
}

// Probed is the answer to a request for probes.
type Probed struct {
	Target string `json:"target"`
	Node   string `json:"node"`
	UID    string `json:"uid"`
}

func (api *API) nodeRoutes() []httpapi.Route {
	if api.Nodes == nil {
		return nil
	}
	return []httpapi.Route{
		httpapi.Triggered(trigger.Delete, api.deleteNode, reflect.TypeFor[DeletionReply]()),
		httpapi.Triggered(trigger.Probe, api.probeNode, reflect.TypeFor[Probed]()),
	}
}

// findNode gives the node that the path names, if the caller may do the action to it.
func (api *API) findNode(r *http.Request, verb auth.Verb, a *httpapi.AuditEvent) (remediate.NodeSnapshot, error) {
	s, err := api.find(r)
	if err != nil {
		return remediate.NodeSnapshot{}, err
	}
	name := r.PathValue("node")
	action := auth.Action{Verb: verb, Target: s.Target, Node: name}
	i := slices.IndexFunc(s.Nodes, func(n remediate.NodeSnapshot) bool { return n.Name == name })
	if i < 0 {
		action.Node = ""
	}
	a.Action = action.String()
	if err := api.May(r.Context(), action); err != nil {
		return remediate.NodeSnapshot{}, err
	}
	if i < 0 {
		return remediate.NodeSnapshot{}, noNode(s, name)
	}
	return s.Nodes[i], nil
}

func noNode(s remediate.Snapshot, name string) error {
	known := make([]string, len(s.Nodes))
	for i, n := range s.Nodes {
		known[i] = n.Name
	}
	return httpapi.Unknown("node", name, known)
}

func (api *API) probeNode(w http.ResponseWriter, r *http.Request, a *httpapi.AuditEvent) (httpapi.Reply, error) {
	n, err := api.findNode(r, auth.Probe, a)
	if err != nil {
		return httpapi.Reply{}, err
	}
	if _, err := httpapi.ReadBody[trigger.ProbeBody](w, r); err != nil {
		return httpapi.Reply{}, err
	}
	if err := api.Nodes.Probe(r.Context(), n.Target, n.Name); err != nil {
		return httpapi.Reply{}, api.nodeProblem(r, n.Name, err)
	}
	return httpapi.Reply{
		Status: http.StatusAccepted, Value: Probed{n.Target, n.Name, n.UID},
		Location: "/api/v1/targets/" + url.PathEscape(n.Target) + "/nodes/" + url.PathEscape(n.Name),
	}, nil
}

func (api *API) deleteNode(w http.ResponseWriter, r *http.Request, a *httpapi.AuditEvent) (httpapi.Reply, error) {
	n, err := api.findNode(r, auth.Delete, a)
	if err != nil {
		return httpapi.Reply{}, err
	}
	b, err := httpapi.ReadBody[trigger.DeletionBody](w, r)
	if err != nil {
		return httpapi.Reply{}, err
	}
	a.Reason, a.DryRun = httpapi.Cut(b.Reason, httpapi.MaxReason), b.DryRun
	for _, g := range b.Override[:min(len(b.Override), httpapi.MaxKnown)] {
		a.Override = append(a.Override, httpapi.Short(string(g)))
	}
	if err := httpapi.CheckReason(b.Reason); err != nil {
		return httpapi.Reply{}, err
	}
	if err := checkGuards(b.Override); err != nil {
		return httpapi.Reply{}, err
	}
	switch {
	case n.UID == "":
		return httpapi.Reply{}, httpapi.Refused(http.StatusConflict, httpapi.NotReady, "the UID of "+n.Name+" is not known",
			"wait until Unstuck has seen it")
	case b.UID != "" && b.UID != n.UID:
		return httpapi.Reply{}, httpapi.Refused(http.StatusConflict, httpapi.NotReady,
			fmt.Sprintf("%s has been replaced: its UID is %s now", n.Name, n.UID), "look whether the new one needs it")
	}
	result, err := api.Nodes.Delete(r.Context(), n.Target, decide.DeleteRequest{
		Node: n.Name, UID: n.UID, Override: b.Override, Reason: b.Reason, By: a.By, From: a.From, DryRun: b.DryRun,
	})
	if err != nil {
		return httpapi.Reply{}, api.nodeProblem(r, n.Name, err)
	}
	done := DeletionReply{
		Target: n.Target, Node: n.Name, UID: n.UID, DryRun: b.DryRun, Incident: result.Incident,
		Override: httpapi.OrEmpty(result.Overridden), Guards: httpapi.OrEmpty(result.Guards),
	}
	if b.DryRun {
		return httpapi.Reply{Status: http.StatusOK, Value: done}, nil
	}
	a.Result = done.Incident
	return httpapi.Reply{
		Status: http.StatusAccepted, Location: "/api/v1/incidents/" + url.PathEscape(done.Incident), Value: done,
	}, nil
}

// checkGuards refuses to override what is no guard: a guard that is misspelt would stay closed, and surprise.
func checkGuards(override []decide.Guard) error {
	var known []string
	for _, g := range decide.Guards() {
		known = append(known, string(g.Guard))
	}
	for i, g := range override {
		if !slices.Contains(known, string(g)) {
			return httpapi.UnknownAs(http.StatusBadRequest, "guard", string(g), known)
		}
		if slices.Contains(override[:i], g) {
			return httpapi.NewProblem(http.StatusBadRequest, "the guard %s comes twice", g)
		}
	}
	return nil
}

func guardsOf(states []decide.GuardState) []decide.Guard {
	guards := make([]decide.Guard, len(states))
	for i, g := range states {
		guards[i] = g.Guard
	}
	return guards
}

func (api *API) nodeProblem(r *http.Request, node string, err error) error {
	var held *decide.HeldError
	var unable Unable
	var forbidden *target.RefusedError
	switch {
	case errors.As(err, &held):
		want := "look at the guards, or override those of them that you answer for, each by name"
		if len(held.Fixed) > 0 {
			want = fmt.Sprintf("wait until these open, which nobody may override: %v", held.Fixed)
		}
		p := httpapi.Refused(http.StatusConflict, httpapi.NotReady,
			fmt.Sprintf("%s is held back by %v", node, guardsOf(held.Closed)), want)
		p.Closed = held.Closed
		return p
	case errors.As(err, &unable):
		return httpapi.Refused(http.StatusConflict, httpapi.NotReady, "nothing was deleted, for "+unable.Error(),
			"give Unstuck's service account these rights (the chart does where the mode is remediate), or delete the pod "+
				"yourself")
	case errors.As(err, &forbidden):
		return httpapi.Refused(http.StatusConflict, httpapi.NotReady, "nothing was deleted: "+forbidden.Cause.Sentence(""),
			"see in the node's incident what forbade it, and put that right")
	case errors.Is(err, target.ErrGone), errors.Is(err, target.ErrChanged):
		return httpapi.Refused(http.StatusConflict, httpapi.NotReady,
			node+" is no longer there, or another has taken its place", "look whether the new one needs it")
	case errors.Is(err, remediate.ErrNotLeader):
		p := httpapi.Refused(http.StatusConflict, httpapi.Busy, "this replica does not lead, and may not delete",
			"ask again: another answers, or this one leads soon")
		p.RetryAfter = 1
		return p
	}
	api.LogFailure(r, err)
	return httpapi.Refused(http.StatusServiceUnavailable, httpapi.Unavailable,
		"what it needs cannot be reached now, and Unstuck's log says what", "look at the node before you ask again")
}
