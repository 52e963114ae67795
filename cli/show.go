package cli

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cjworkbench/unstuck/httpapi/brokers"
	"github.com/cjworkbench/unstuck/httpapi/environments"
	"github.com/cjworkbench/unstuck/remediate/decide"
	"github.com/cjworkbench/unstuck/target"
	"github.com/cjworkbench/unstuck/terminal"
)

// What the API gives is shown: a field that is not is one that nobody reads when it matters. A test fills every field,
// and names those that are left out, each with its reason.

func (s *session) showStatus(
	targets brokers.Targets, envs environments.Environments, pauses brokers.PauseList, now time.Time,
) {
	paused := slices.Clone(pauses.Pauses)
	for _, b := range targets.Targets {
		s.showTarget(b, now)
		for _, p := range b.Pauses { // which is the same list, but for what changed in between
			if !slices.Contains(paused, p) {
				paused = append(paused, p)
			}
		}
	}
	s.showUnwatched(targets)
	for _, e := range envs.Environments {
		s.showEnvironment(e)
	}
	s.showPauseList(brokers.PauseList{Pauses: paused, Unknown: pauses.Unknown})
	if len(targets.Targets)+len(envs.Environments) == 0 {
		s.printf("nothing is watched that you may see")
	}
}

func (s *session) showTarget(b brokers.Target, now time.Time) {
	s.printf("%s  mode %s, %s, looked at %s", b.Target, b.Mode, nodesThere(b), age(b.At, now))
	if b.Source.Found() {
		s.printf("  found by %s", b.Source)
	}
	if b.IsLeader != target.Yes {
		s.printf("  is the replica that answers the leader, so that it may act? %s", b.IsLeader)
	}
	if b.Stale {
		s.printf("  STALE: it has not been looked at for too long, so rely on nothing here")
	}
	if b.Error != "" {
		s.printf("  error: %s", b.Error)
	}
	var rows [][]string
	for _, n := range b.Nodes {
		reason := n.Reason
		if !n.StuckSince.IsZero() {
			reason += "; stuck since " + clock(n.StuckSince)
		}
		if n.Action != decide.Hold {
			reason += "; action: " + n.Action.String()
		}
		rows = append(rows, []string{n.Node, n.Status.String(), string(n.Phase), reason})
	}
	s.table("  ", rows)
	for _, d := range b.Deletions {
		s.showDeletion(d)
	}
}

// showUnwatched shows what discovery has found and is not watched, and why it may miss something.
func (s *session) showUnwatched(all brokers.Targets) {
	for _, u := range all.Unwatched {
		what := "NOT watched"
		if u.Ignored {
			what = "ignored"
		}
		s.printf("%s  %s: %s: %s", u.Target, what, u.Source, u.Reason)
	}
	for _, problem := range all.DiscoveryProblems {
		s.printf("discovery: %s", problem)
	}
}

// joined lists names.
func joined[T ~string](names []T) string {
	var all []string
	for _, n := range names {
		all = append(all, string(n))
	}
	return strings.Join(all, ", ")
}

func (s *session) showEnvironment(e environments.Environment) {
	head := e.Environment + "  "
	if e.Commit != "" {
		head += short(e.Commit)
	} else {
		head += "runs several commits, or it cannot be told which"
	}
	if e.PromoteFrom != "" {
		head += ", promoted from " + e.PromoteFrom
	}
	s.printf("%s", head)
	if e.Namespace != e.Environment || e.Cluster != "" {
		s.printf("  namespace %s", strings.TrimSuffix(e.Namespace+" of cluster "+e.Cluster, " of cluster "))
	}
	if e.Error != "" {
		s.printf("  error: %s", e.Error)
	}
	if e.Operation != "" {
		s.printf("  under way: %s", e.Operation)
	}
	var rows [][]string
	for _, one := range e.Services {
		commit := short(one.Commit)
		switch {
		case one.Commit == "":
			commit = one.Why
		case one.Why != "":
			commit += " (" + one.Why + ")"
		}
		rollout := one.Rollout
		if !one.RolledOut {
			rollout = strings.TrimSuffix("not rolled out: "+rollout, ": ")
		}
		if one.Deployment != one.Service { // a StatefulSet and a DaemonSet are always said
			rollout = strings.TrimPrefix(rollout+"; "+one.Title(), "; ")
		}
		rows = append(rows, []string{one.Service, one.Kind.String(), fmt.Sprintf("%d/%d", one.Pods,
			one.Wanted), commit, rollout})
	}
	s.table("  ", rows)
	if len(e.Jobs) > 0 {
		s.printf("  a deploy runs first: %s", strings.Join(e.Jobs, ", "))
	}
	for _, t := range e.Tasks {
		s.printf("  task %s", strings.TrimSuffix(t.Task+": "+t.Warning, ": "))
	}
}

// showPauseList shows the pauses that there are.
func (s *session) showPauseList(list brokers.PauseList) {
	for _, p := range list.Pauses {
		s.printf("%s", pauseLine(p))
	}
	if len(list.Unknown) > 0 {
		s.printf("pauses that name what is not watched hold for every broker: %s", strings.Join(list.Unknown, ", "))
	}
}

func nodesThere(b brokers.Target) string {
	if b.Expected == 0 || b.Expected == len(b.Nodes) {
		return terminal.Count(len(b.Nodes), "node")
	}
	return fmt.Sprintf("%d of %s", len(b.Nodes), terminal.Count(b.Expected, "node"))
}

// age says how long ago something was. Clocks differ: a little in the future is now.
func age(at, now time.Time) string {
	if at.IsZero() {
		return "never"
	}
	return rough(max(0, now.Sub(at))) + " ago"
}
