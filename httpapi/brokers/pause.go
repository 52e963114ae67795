package brokers

import (
	"context"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/cjworkbench/unstuck/auth"
	"github.com/cjworkbench/unstuck/httpapi"
	"github.com/cjworkbench/unstuck/remediate"
	"github.com/cjworkbench/unstuck/remediate/decide"
	"github.com/cjworkbench/unstuck/trigger"
)

// Pauses keeps the pauses. An implementation forgets those that have ended.
type Pauses interface {
	// Pauses gives those that are kept.
	Pauses(ctx context.Context) ([]decide.Pause, error)
	// Pause adds one, in place of any that its maker has for the same broker, and gives it with its ID.
	Pause(ctx context.Context, p decide.Pause) (decide.Pause, error)
	// Resume ends those of a broker; of "", those of every broker. It says how many there were.
	Resume(ctx context.Context, targetName string) (ended int, err error)
	// End ends the pause of that ID. It says whether there was one.
	End(ctx context.Context, id string) (ended int, err error)
}

// PauseList is the answer to /api/v1/pauses, and to what changes them.
type PauseList struct {
	Pauses []decide.Pause `json:"pauses"` // that have not ended, the first to end first
	// the brokers that are named there and not watched: these hold for every broker
	Unknown []string `json:"unknown,omitzero"`
	httpapi.Next
}

// pauseList has the first to end first, and what has no end last.
var pauseList = httpapi.List[decide.Pause]{Name: "pauses", Sorts: func(p decide.Pause) string {
	if p.Until.IsZero() {
		return "without an end " + p.ID
	}
	return httpapi.PlaceAt(p.Until, p.ID)
}}

// maxPause bounds a pause: one that is forgotten must not be for ever.
const maxPause = 31 * 24 * time.Hour

func (api *API) pauseRoutes() []httpapi.Route {
	if api.Pauses == nil {
		return nil
	}
	list := reflect.TypeFor[PauseList]()
	resuming := func(t trigger.Trigger, c httpapi.Change) httpapi.Route {
		route := httpapi.Triggered(t, c, list)
		route.Query = []httpapi.Param{{Name: "reason", About: "the reason, where the request has no body", Kind: "string"}}
		return route
	}
	return []httpapi.Route{
		{
			Path: trigger.PauseAll.Path, Shows: "the pauses that have not ended", Get: api.listPauses, Answer: list,
			Query: pauseList.ListParams(),
		},
		{
			Path: trigger.EndPause.Path, Shows: "one pause", Get: api.onePause, Answer: reflect.TypeFor[decide.Pause](),
		},
		resuming(trigger.EndPause, api.endPause),
		httpapi.Triggered(trigger.PauseAll, api.pauseTarget, list), resuming(trigger.ResumeAll, api.resumeTarget),
		httpapi.Triggered(trigger.Pause, api.pauseTarget, list), resuming(trigger.Resume, api.resumeTarget),
	}
}

func (api *API) listPauses(r *http.Request) (any, error) {
	list, err := api.pauses(r, everyTarget, api.seesPauses(r.Context()))
	if err != nil {
		return nil, err
	}
	list.Pauses, list.Next, err = pauseList.Page(r, list.Pauses)
	return list, err
}

func everyTarget(string) bool { return true }

func (api *API) onePause(r *http.Request) (any, error) {
	p, err := api.findPause(r)
	if err != nil {
		return nil, err
	}
	return p, nil
}

// findPause gives the pause that the path names, if the caller may see it, or may end it.
func (api *API) findPause(r *http.Request) (decide.Pause, error) {
	sees := api.seesPauses(r.Context())
	list, err := api.pauses(r, everyTarget, func(targetName string) (bool, error) {
		if ok, err := sees(targetName); err != nil || ok {
			return ok, err
		}
		return api.Can(r.Context(), auth.Action{Verb: auth.Pause, Target: targetName})
	})
	if err != nil {
		return decide.Pause{}, err
	}
	var known []string
	for _, p := range list.Pauses {
		if p.ID == r.PathValue("pause") {
			return p, nil
		}
		known = append(known, p.ID)
	}
	return decide.Pause{}, httpapi.Unknown("pause", r.PathValue("pause"), known)
}

// known gives the names that a pause may have without holding for every broker.
func (api *API) known() []string {
	if api.Known != nil {
		return api.Known()
	}
	var all []string
	for _, s := range api.Snapshots() {
		all = append(all, s.Target)
	}
	return all
}

// endPause ends one pause, for a caller who may pause what it holds for.
func (api *API) endPause(w http.ResponseWriter, r *http.Request, a *httpapi.AuditEvent) (httpapi.Reply, error) {
	p, err := api.findPause(r)
	if err != nil {
		return httpapi.Reply{}, err
	}
	action := auth.Action{Verb: auth.Pause, Target: p.Target}
	a.Action, a.Target = "end "+p.ID+", "+action.String(), p.Target
	if err := api.May(r.Context(), action); err != nil {
		return httpapi.Reply{}, err
	}
	if err := readEnd(w, r, a); err != nil {
		return httpapi.Reply{}, err
	}
	ended, err := api.Pauses.End(r.Context(), p.ID)
	if err != nil {
		return httpapi.Reply{}, api.pauseProblem(r, err)
	}
	a.Result = fmt.Sprintf("%d ended", ended)
	return api.pausesNow(r, http.StatusOK, p.Target)
}

// seesPauses says whether the caller may know of the pauses of a broker: who may read the broker; of those of every
// broker, who may read any; of those of a broker that is not watched, which hold for every one, who may read all.
func (api *API) seesPauses(ctx context.Context) func(targetName string) (bool, error) {
	asked := map[string]bool{}
	sees := func(targetName string) (bool, error) {
		ok, known := asked[targetName]
		var err error
		if !known {
			if ok, err = api.Sees(ctx, auth.Action{Target: targetName}); err == nil {
				asked[targetName] = ok
			}
		}
		return ok, err
	}
	return func(targetName string) (bool, error) {
		all := api.snapshots()
		watched := slices.ContainsFunc(all, func(s remediate.Snapshot) bool { return s.Target == targetName })
		if watched {
			return sees(targetName)
		}
		ok, err := sees("")
		if targetName != "" {
			return ok, err
		}
		for i := 0; i < len(all) && !ok && err == nil; i++ {
			ok, err = sees(all[i].Target)
		}
		return ok, err
	}
}

// pauses gives the pauses that have not ended and that wanted and sees say yes to.
func (api *API) pauses(r *http.Request, wanted func(targetName string) bool,
	sees func(targetName string) (bool, error),
) (PauseList, error) {
	kept, err := api.Pauses.Pauses(r.Context())
	if err != nil {
		return PauseList{}, fmt.Errorf("read the pauses: %w", err)
	}
	watched := api.known()
	list, now := PauseList{Pauses: []decide.Pause{}}, time.Now()
	for _, p := range kept {
		known := p.Target == "" || slices.Contains(watched, p.Target)
		if p.Over(now) || (known && !wanted(p.Target)) {
			continue
		}
		if ok, err := sees(p.Target); err != nil {
			return PauseList{}, err
		} else if !ok {
			continue
		}
		if !known && !slices.Contains(list.Unknown, p.Target) {
			list.Unknown = append(list.Unknown, p.Target)
		}
		list.Pauses = append(list.Pauses, p)
	}
	slices.SortStableFunc(list.Pauses, func(a, b decide.Pause) int {
		return strings.Compare(pauseList.Sorts(a), pauseList.Sorts(b))
	})
	return list, nil
}

// pausing gives the broker that the path names, "" for every one, if the caller may pause it.
func (api *API) pausing(r *http.Request, a *httpapi.AuditEvent, what string) (targetName string, err error) {
	if strings.Contains(r.Pattern, "{target}") {
		s, err := api.find(r)
		if err != nil {
			return "", err
		}
		targetName = s.Target
	}
	action := auth.Action{Verb: auth.Pause, Target: targetName}
	a.Action = action.String()
	if what != "" {
		a.Action = what + " " + a.Action
	}
	return targetName, api.May(r.Context(), action)
}

func (api *API) pauseTarget(w http.ResponseWriter, r *http.Request, a *httpapi.AuditEvent) (httpapi.Reply, error) {
	targetName, err := api.pausing(r, a, "")
	if err != nil {
		return httpapi.Reply{}, err
	}
	b, err := httpapi.ReadBody[trigger.PauseBody](w, r)
	if err != nil {
		return httpapi.Reply{}, err
	}
	a.Reason = httpapi.Cut(b.Reason, httpapi.MaxReason)
	if err := httpapi.CheckReason(b.Reason); err != nil {
		return httpapi.Reply{}, err
	}
	until, err := endOf(b, time.Now())
	if err != nil {
		return httpapi.Reply{}, err
	}
	p := decide.Pause{Target: targetName, Reason: b.Reason, By: a.By, Until: until}
	if p, err = api.Pauses.Pause(r.Context(), p); err != nil {
		return httpapi.Reply{}, api.pauseProblem(r, err)
	}
	a.Result = p.ID + " until " + until.Format(time.RFC3339)
	answer, err := api.pausesNow(r, http.StatusCreated, targetName)
	answer.Location = trigger.EndPause.At(p.ID)
	return answer, err
}

func (api *API) resumeTarget(w http.ResponseWriter, r *http.Request, a *httpapi.AuditEvent) (httpapi.Reply, error) {
	targetName, err := api.pausing(r, a, "end")
	if err != nil {
		return httpapi.Reply{}, err
	}
	if err := readEnd(w, r, a); err != nil {
		return httpapi.Reply{}, err
	}
	ended, err := api.Pauses.Resume(r.Context(), targetName)
	if err != nil {
		return httpapi.Reply{}, api.pauseProblem(r, err)
	}
	a.Result = fmt.Sprintf("%d ended", ended)
	return api.pausesNow(r, http.StatusOK, targetName)
}

// readEnd notes why a pause is to end: the body says so, or else the query.
func readEnd(w http.ResponseWriter, r *http.Request, a *httpapi.AuditEvent) error {
	b, err := httpapi.ReadBody[trigger.ResumeBody](w, r)
	if err != nil {
		return err
	}
	asked := r.URL.Query()
	if asked.Has("reason") && b.Reason != "" {
		return httpapi.NewProblem(http.StatusBadRequest, "the reason comes twice, in the body and in the query")
	}
	if asked.Has("reason") {
		b.Reason = httpapi.Masked(asked.Get("reason"))
	}
	a.Reason = httpapi.Cut(b.Reason, httpapi.MaxReason)
	return httpapi.CheckReason(b.Reason)
}

// pausesNow answers with the pauses that hold for the broker now: ending its own does not end those of every broker.
// Who may pause it may see what is paused there.
func (api *API) pausesNow(r *http.Request, status int, targetName string) (httpapi.Reply, error) {
	sees := api.seesPauses(r.Context())
	list, err := api.pauses(r, func(of string) bool { return of == targetName || of == "" || targetName == "" },
		func(of string) (bool, error) {
			if of == targetName || of == "" {
				return true, nil
			}
			return sees(of)
		})
	if err != nil {
		return httpapi.Reply{}, api.pauseProblem(r, err)
	}
	return httpapi.Reply{Status: status, Value: list}, nil
}

// endOf gives when the pause ends.
func endOf(b trigger.PauseBody, now time.Time) (until time.Time, err error) {
	const want = "give either for, as in \"90m\", or until, as in \"2026-01-31T12:00:00Z\"; it ends within 31 days"
	switch {
	case (b.For == "") == (b.Until == ""):
		return until, httpapi.Refused(http.StatusBadRequest, httpapi.Invalid, "a pause needs an end", want)
	case b.For != "":
		d, err := time.ParseDuration(b.For)
		if err != nil {
			return until, httpapi.Refused(http.StatusBadRequest, httpapi.Invalid,
				fmt.Sprintf("%q is no duration of hours (h), minutes (m) and seconds (s), as days are not known",
					httpapi.Short(b.For)), want)
		}
		until = now.Add(min(d, 2*maxPause))
	default:
		if until, err = time.Parse(time.RFC3339, b.Until); err != nil {
			return until, httpapi.Refused(http.StatusBadRequest, httpapi.Invalid,
				fmt.Sprintf("%q is no time", httpapi.Short(b.Until)), want)
		}
	}
	if !until.After(now) || until.After(now.Add(maxPause)) {
		return until, httpapi.Refused(http.StatusBadRequest, httpapi.Invalid,
			"the pause would end in the past, or only after 31 days", want)
	}
	return until.UTC().Add(time.Second - 1).Truncate(time.Second), nil
}

func (api *API) pauseProblem(r *http.Request, err error) error {
	api.LogFailure(r, err)
	return httpapi.Refused(http.StatusServiceUnavailable, httpapi.Unavailable,
		"the pauses cannot be written now, and Unstuck's log says why", "look at the pauses before you ask again")
}
