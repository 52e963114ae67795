// Package brokers is the half of the API that is about brokers and applications: their nodes, incidents and pauses, and
// what can be done to these. docs/api.md describes each endpoint.
package brokers

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"time"

	"github.com/cjworkbench/unstuck/auth"
	"github.com/cjworkbench/unstuck/httpapi"
	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/remediate"
	"github.com/cjworkbench/unstuck/remediate/decide"
	"github.com/cjworkbench/unstuck/remediate/store"
	"github.com/cjworkbench/unstuck/target"
)

// Targets is the answer to /api/v1/targets, by name.
type Targets struct {
	Targets []Target `json:"targets"`
	httpapi.Next

	Unwatched []Unwatched `json:"unwatched,omitempty"` // what discovery has found and is not watched, by name
	// why discovery may miss something, or have it as it was, a line each
	DiscoveryProblems []string `json:"discovery_problems,omitempty"`
}

var targetList = httpapi.List[remediate.Snapshot]{
	Name: "targets", Sorts: func(s remediate.Snapshot) string { return s.Target },
}

// Target is one broker, and in Targets as well as the answer to /api/v1/targets/{target}.
type Target struct {
	Target    string            `json:"target"`
	Source    target.Source     `json:"source"`         // where it comes from: the configuration, or what was found
	Mode      decide.Mode       `json:"mode"`           // observe or remediate
	At        time.Time         `json:"at,omitzero"`    // of the loop's last reconcile, which this is the state of
	Stale     bool              `json:"stale"`          // that reconcile is too long ago, or there was none
	Error     string            `json:"error,omitzero"` // what went wrong in that reconcile
	IsLeader  target.Answer     `json:"is_leader"`      // does the replica that answers lead, so that it may act?
	Expected  int               `json:"expected"`       // how many nodes there should be; 0: cannot tell
	Nodes     []NodeLine        `json:"nodes"`          // by name
	Deletions []decide.Deletion `json:"deletions"`      // the deletions that still count, oldest first
	Pauses    []decide.Pause    `json:"pauses"`         // that hold for this broker and have not ended
}

// NodeLine is one node in a Target.
type NodeLine struct {
	Node       string         `json:"node"`
	UID        string         `json:"uid"`
	Status     probe.Status   `json:"status"`
	Phase      decide.Phase   `json:"phase"`
	Action     decide.Action  `json:"action"`
	Reason     string         `json:"reason"` // one sentence
	Closed     []decide.Guard `json:"closed"` // the guards that hold a deletion back
	StuckSince time.Time      `json:"stuck_since,omitzero"`
}

// Incidents is the answer to /api/v1/incidents, newest first.
type Incidents struct {
	Incidents []IncidentLine `json:"incidents"`
	httpapi.Next
}

var incidentList = httpapi.List[store.Incident]{
	Name: "incidents", Last: true,
	Sorts: func(c store.Incident) string { return httpapi.PlaceAt(c.Opened, c.ID) },
}

// IncidentLine is one incident in Incidents.
type IncidentLine struct {
	ID      string    `json:"id"`
	Target  string    `json:"target"`
	Node    string    `json:"node"`
	UID     string    `json:"uid"`
	Opened  time.Time `json:"opened"`
	Closed  time.Time `json:"closed,omitzero"` // absent: it is still open
	Outcome string    `json:"outcome,omitzero"`
	Reason  string    `json:"reason"` // of the latest decision while it was open
}

// DefaultStaleAfter is for how long a loop's last reconcile counts, where Options say nothing.
const DefaultStaleAfter = time.Minute

// Options are what the API knows of brokers and applications, and what it can do to them. Every function must be safe
// to call at any time.
type Options struct {
	Snapshots func() []remediate.Snapshot // one for each broker, also before its first reconcile
	Incidents func(context.Context) ([]store.Incident, error)

	Discovery func() Discovery // nil: nothing is looked for
	// Known gives the names that a pause may have without holding for every broker; nil: those of the snapshots.
	Known func() []string

	Nodes  Nodes  // nil: nothing can be done to nodes
	Pauses Pauses // nil: nothing can be paused

	// StaleAfter is the age beyond which a loop's last reconcile is called stale, and the daemon not ready; zero:
	// DefaultStaleAfter.
	StaleAfter time.Duration
}

// API serves what Options know and do, behind a gate.
type API struct {
	*httpapi.Gate
	Options
}

// Half is the half that httpapi.New serves.
func Half(o Options) func(*httpapi.Gate) httpapi.Half {
	return func(g *httpapi.Gate) httpapi.Half { return &API{g, o} }
}

// Routes implements httpapi.Half. What changes something is served only where callers are known.
func (api *API) Routes() []httpapi.Route {
	if api.CallersMissing() {
		return api.readRoutes()
	}
	return slices.Concat(api.readRoutes(), api.nodeRoutes(), api.pauseRoutes())
}

// Enums implements httpapi.Half.
func (api *API) Enums() map[reflect.Type][]string {
	return map[reflect.Type][]string{
		reflect.TypeFor[decide.Mode]():   {decide.Observe.String(), decide.Remediate.String()},
		reflect.TypeFor[decide.Action](): {decide.Hold.String(), decide.Delete.String()},
		reflect.TypeFor[decide.Phase]():  httpapi.Listed(decide.Phases()),
		reflect.TypeFor[decide.Ground](): httpapi.Listed(decide.Grounds()),
		reflect.TypeFor[target.Cause]():  httpapi.Listed(target.Causes()),
		reflect.TypeFor[probe.Status](): {
			probe.Unknown.String(), probe.Healthy.String(), probe.Faulty.String(), probe.Stuck.String(),
		},
	}
}

// Allows implements httpapi.Half.
func (api *API) Allows(r *http.Request, action auth.Action) (ours bool, err error) {
	switch {
	case r.PathValue("pause") != "" && api.Pauses != nil:
		p, err := api.findPause(r)
		if err != nil {
			return true, err
		}
		action.Target = p.Target
		return true, api.May(r.Context(), action)
	case r.PathValue("node") != "":
		_, err := api.findNode(r, action.Verb, &httpapi.AuditEvent{})
		return true, err
	case r.PathValue("target") != "":
		s, err := api.find(r)
		if err != nil {
			return true, err
		}
		action.Target = s.Target
		return true, api.May(r.Context(), action)
	}
	return false, nil
}

// Readable implements httpapi.Half.
func (api *API) Readable() (all []auth.Action) {
	for _, s := range api.snapshots() {
		all = append(all, auth.Action{Target: s.Target})
	}
	return all
}

// readRoutes are for everybody, also where no callers are known.
func (api *API) readRoutes() []httpapi.Route {
	return []httpapi.Route{
		{
			Path: "/api/v1/targets", Shows: "every broker with a line for each of its nodes", Get: api.targets,
			Answer: reflect.TypeFor[Targets](), Query: targetList.ListParams(),
		},
		{
			Path: "/api/v1/targets/{target}", Shows: "one broker: its nodes, its deletions, its pauses", Get: api.target,
			Answer: reflect.TypeFor[Target](),
		},
		{
			Path:  "/api/v1/targets/{target}/nodes/{node}",
			Shows: "one node, explained: what was seen, each guard, what would happen next and when", Get: api.node,
			Answer: reflect.TypeFor[Node](),
		},
		{
			Path: "/api/v1/incidents", Shows: "every incident that is kept, newest first", Get: api.incidents,
			Answer: reflect.TypeFor[Incidents](), Query: incidentList.ListParams(),
		},
		{
			Path: "/api/v1/incidents/{id}", Shows: "one incident with all its evidence", Get: api.oneIncident,
			Answer: reflect.TypeFor[store.Incident](),
		},
	}
}

func (api *API) targets(r *http.Request) (any, error) {
	var seen []remediate.Snapshot
	for _, s := range api.snapshots() {
		ok, err := api.Sees(r.Context(), auth.Action{Target: s.Target})
		if err != nil {
			return nil, err
		}
		if ok {
			seen = append(seen, s)
		}
	}
	page, next, err := targetList.Page(r, seen)
	if err != nil {
		return nil, err
	}
	all, now := Targets{Targets: []Target{}, Next: next}, time.Now()
	for _, s := range page {
		all.Targets = append(all.Targets, api.targetOf(s, now))
	}
	if api.Discovery == nil {
		return all, nil
	}
	found := api.Discovery()
	all.DiscoveryProblems = found.Problems
	for _, u := range found.Unwatched {
		ok, err := api.Sees(r.Context(), auth.Action{Target: u.Target})
		if err != nil {
			return nil, err
		}
		if ok {
			all.Unwatched = append(all.Unwatched, u)
		}
	}
	return all, nil
}

func (api *API) target(r *http.Request) (any, error) {
	s, err := api.findToRead(r)
	if err != nil {
		return nil, err
	}
	return api.targetOf(s, time.Now()), nil
}

func (api *API) node(r *http.Request) (any, error) {
	s, err := api.findToRead(r)
	if err != nil {
		return nil, err
	}
	name := r.PathValue("node")
	for _, n := range s.Nodes {
		if n.Name == name {
			return api.explain(s, n, time.Now()), nil
		}
	}
	return nil, noNode(s, name)
}

func (api *API) incidents(r *http.Request) (any, error) {
	incidents, err := api.incidentsSeen(r)
	if err != nil {
		return nil, err
	}
	page, next, err := incidentList.Page(r, incidents)
	if err != nil {
		return nil, err
	}
	all := Incidents{Incidents: []IncidentLine{}, Next: next}
	for _, c := range page {
		all.Incidents = append(all.Incidents, IncidentLine{
			ID: c.ID, Target: c.Target, Node: c.Node, UID: c.UID, Opened: c.Opened, Closed: c.Closed,
			Outcome: c.Outcome, Reason: c.Decision.Reason,
		})
	}
	return all, nil
}

func (api *API) oneIncident(r *http.Request) (any, error) {
	incidents, err := api.incidentsSeen(r)
	if err != nil {
		return nil, err
	}
	id := r.PathValue("id")
	known := make([]string, 0, len(incidents))
	for _, c := range incidents {
		if c.ID == id {
			return withoutSecrets(c), nil
		}
		known = append(known, c.ID)
	}
	return nil, httpapi.Unknown("incident", id, known)
}

// withoutSecrets gives an incident whose lines of logs are masked as those of operations are.
func withoutSecrets(c store.Incident) store.Incident {
	c.Logs = slices.Clone(c.Logs)
	for i := range c.Logs {
		c.Logs[i].Text = httpapi.MaskLine(c.Logs[i].Text)
	}
	return c
}

// incidentsSeen gives the incidents of the brokers that the caller may see, each of which is asked for once.
func (api *API) incidentsSeen(r *http.Request) ([]store.Incident, error) {
	incidents, err := api.Incidents(r.Context())
	if err != nil {
		return nil, fmt.Errorf("read the incidents: %w", err)
	}
	var seen []store.Incident
	visible := map[string]bool{}
	for _, c := range incidents {
		ok, asked := visible[c.Target]
		if !asked {
			if ok, err = api.Sees(r.Context(), auth.Action{Target: c.Target}); err != nil {
				return nil, err
			}
			visible[c.Target] = ok
		}
		if ok {
			seen = append(seen, c)
		}
	}
	return seen, nil
}

// snapshots gives the brokers by name.
func (o Options) snapshots() []remediate.Snapshot {
	all := slices.Clone(o.Snapshots())
	slices.SortFunc(all, func(a, b remediate.Snapshot) int { return cmp.Compare(a.Target, b.Target) })
	return all
}

// find gives the broker that the path names. Of the others, only those are told that the caller may read.
func (api *API) find(r *http.Request) (remediate.Snapshot, error) {
	name := r.PathValue("target")
	var known []string
	for _, s := range api.snapshots() {
		if s.Target == name {
			return s, nil
		}
		if ok, err := api.Sees(r.Context(), auth.Action{Target: s.Target}); err == nil && ok {
			known = append(known, s.Target)
		}
	}
	return remediate.Snapshot{}, httpapi.Unknown("target", name, known)
}

func (api *API) findToRead(r *http.Request) (remediate.Snapshot, error) {
	s, err := api.find(r)
	if err == nil {
		err = api.May(r.Context(), auth.Action{Verb: auth.Read, Target: s.Target})
	}
	return s, err
}

func (api *API) targetOf(s remediate.Snapshot, now time.Time) Target {
	b := Target{
		Target: s.Target, Source: sourceOf(s), Mode: s.Policy.Mode, At: s.At, Stale: api.stale(s, now), Error: s.Error,
		IsLeader: s.View.IsLeader, Expected: s.View.Expected,
		Nodes: []NodeLine{}, Deletions: httpapi.OrEmpty(s.Deletions), Pauses: httpapi.OrEmpty(s.Pauses),
	}
	for _, n := range s.Nodes {
		b.Nodes = append(b.Nodes, NodeLine{
			Node: n.Name, UID: n.UID, Status: n.Decision.Status, Phase: n.Decision.Phase, Action: n.Decision.Action,
			Reason: n.Decision.Reason, Closed: httpapi.OrEmpty(n.Decision.HeldBy()), StuckSince: n.Stuck,
		})
	}
	return b
}

// stale says whether s is too old to be relied on. A reconcile in the future is no better: somebody moved the clock.
func (o Options) stale(s remediate.Snapshot, now time.Time) bool {
	return s.At.IsZero() || now.Sub(s.At).Abs() > o.staleAfter()
}

func (o Options) staleAfter() time.Duration {
	if o.StaleAfter <= 0 {
		return DefaultStaleAfter
	}
	return o.StaleAfter
}
