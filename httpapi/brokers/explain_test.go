package brokers

import (
	"strings"
	"testing"
	"time"

	"github.com/cjworkbench/unstuck/httpapi/apitest"
	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/remediate"
	"github.com/cjworkbench/unstuck/remediate/decide"
	"github.com/cjworkbench/unstuck/target"
)

func TestNextIsSaidForEveryPhase(t *testing.T) {
	said := make(map[string]decide.Phase)
	for _, phase := range decide.Phases() {
		what := next(remediate.Snapshot{}, decide.Decision{Phase: phase}).What
		if what == next(remediate.Snapshot{}, decide.Decision{}).What {
			t.Errorf("phase %s has no words of its own", phase)
		}
		if other, twice := said[what]; twice {
			t.Errorf("phases %s and %s have the same words", phase, other)
		}
		said[what] = phase
	}
}

func TestNext(t *testing.T) {
	policy := decide.DefaultPolicy()
	policy.Mode = decide.Remediate
	guard := func(name decide.Guard, until time.Time) decide.GuardState {
		return decide.GuardState{Guard: name, Until: until}
	}
	soon, later := apitest.Noon.Add(time.Minute), apitest.Noon.Add(time.Hour)
	for name, c := range map[string]struct {
		d    decide.Decision
		acts []decide.Deletion
		want Next
	}{
		"a first stuck login": {
			d: decide.Decision{Phase: decide.PhaseSuspect, At: apitest.Noon, Evidence: decide.Evidence{Stuck: 1, FailureThreshold: 3, Window: 4, Since: apitest.Noon.Add(-12 * time.Second)}},
			want: Next{What: "it is confirmed as stuck when all of this has come: 2 more of its last 4 probes must find it stuck; the first and the last " +
				"of these must lie 45s apart, so not before 2026-11-23T12:00:33Z; corroboration must agree. Then it is deleted"},
		},
		"a suspect that only wants corroboration, and is held back anyway": {
			d: decide.Decision{
				Phase: decide.PhaseSuspect, At: apitest.Noon, Evidence: decide.Evidence{Stuck: 3, FailureThreshold: 3, Window: 4, Since: apitest.Noon.Add(-2 * time.Minute), Enough: true},
				Guards: []decide.GuardState{guard(decide.GuardPeers, time.Time{})},
			},
			want: Next{What: "it is confirmed as stuck when all of this has come: corroboration must agree. Even then it is not deleted before " +
				"these guards are open: peers"},
		},
		"held back by guards that both open by themselves": {
			d: decide.Decision{
				Phase: decide.PhaseConfirmed, Next: soon,
				Guards: []decide.GuardState{guard(decide.GuardStartupGrace, later), guard(decide.GuardStorm, soon), {Guard: decide.GuardPeers, Open: true}},
			},
			want: Next{What: "it is deleted as soon as all these guards are open: startup-grace, storm", Look: soon, Opens: later},
		},
		"held back by one that may stay closed": {
			d: decide.Decision{
				Phase: decide.PhaseConfirmed, Guards: []decide.GuardState{guard(decide.GuardStartupGrace, later), guard(decide.GuardPeers, time.Time{})},
			},
			want: Next{What: "it is deleted as soon as all these guards are open: startup-grace, peers"},
		},
		"confirmed, but the latest look could not tell": {
			d:    decide.Decision{Phase: decide.PhaseConfirmed, Reason: "the latest look could not tell"},
			want: Next{What: "it is deleted as soon as a probe finds it stuck once more: the latest look could not tell"},
		},
		"being deleted": {
			d:    decide.Decision{Phase: decide.PhaseConfirmed, Action: decide.Delete},
			want: Next{What: "it is deleted now, and within 10m0s what failed must succeed on its successor"},
		},
		"deleted": {
			d:    decide.Decision{Node: "mq-1", Phase: decide.PhaseRecovering},
			acts: []decide.Deletion{{Node: "mq-0", At: later}, {Node: "mq-1", At: apitest.Noon.Add(-time.Hour), Outcome: decide.Recovered}, {Node: "mq-1", At: apitest.Noon}},
			want: Next{
				What: "its successor is awaited; if what failed does not succeed there in time, a person is asked for", RecoveryDeadline: apitest.Noon.Add(policy.RecoveryTimeout),
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if got := next(remediate.Snapshot{Policy: policy, Deletions: c.acts}, c.d); got != c.want {
				t.Errorf("got  %+v\nwant %+v", got, c.want)
			}
		})
	}
}

func TestNextPromisesNothingWhereNothingCanCome(t *testing.T) {
	guards := []decide.GuardState{{Guard: decide.GuardObserveOnly}, {Guard: decide.GuardNoController}}
	enough := decide.Evidence{Stuck: 3, FailureThreshold: 3, Window: 4, Enough: true}
	alone := enough
	alone.Corroboration, alone.CorroborationDetail = decide.NoCommands, "commands cannot be run next to it: run `rabbitmq-diagnostics maybe_stuck` there yourself"
	for name, c := range map[string]struct {
		mode decide.Mode
		d    decide.Decision
		want string
	}{
		"a suspect that is only watched": {
			decide.Observe,
			decide.Decision{Phase: decide.PhaseSuspect, Evidence: enough, Guards: guards},
			"it is confirmed as stuck when all of this has come: corroboration must agree. Nothing is deleted even then: the mode is observe",
		},
		"a suspect without corroboration that is only watched": {
			decide.Observe,
			decide.Decision{Phase: decide.PhaseSuspect, Evidence: alone, Guards: guards},
			"it stays a suspect, since there can be no corroboration: " + alone.CorroborationDetail + ". Nothing will be deleted: the mode is observe",
		},
		"a suspect without corroboration": {
			decide.Remediate,
			decide.Decision{Phase: decide.PhaseSuspect, Evidence: alone, Guards: guards},
			"it stays a suspect, since there can be no corroboration: " + alone.CorroborationDetail,
		},
		"confirmed, and only watched": {
			decide.Observe,
			decide.Decision{Phase: decide.PhaseConfirmed, Evidence: enough, Guards: guards},
			"nothing: the mode is observe, so it is never deleted, and a person must restart it",
		},
	} {
		got := next(remediate.Snapshot{Policy: decide.Policy{Mode: c.mode}}, c.d)
		if got.What != c.want {
			t.Errorf("%s:\ngot  %s\nwant %s", name, got.What, c.want)
		}
	}
}

// Whether there can be corroboration is read from the words of package remediate, so they have to agree.
func TestAPIExplainCountsOnlyALoginOrARoundTripAsAcceptance(t *testing.T) {
	n := remediate.NodeSnapshot{Node: target.Node{Name: "mq-0"}}
	for _, kind := range probe.Kinds() {
		n.Latest = append(n.Latest, probe.Result{Node: "mq-0", Kind: kind, Reason: probe.OK})
	}
	for _, seen := range (&API{}).explain(remediate.Snapshot{}, n, apitest.Noon).Seen {
		want := seen.Result.Kind == probe.Login || seen.Result.Kind == probe.Roundtrip
		if says := strings.Contains(seen.Means, "accepts logins"); says != want {
			t.Errorf("%s: %q", seen.Result.Kind, seen.Means)
		}
	}
}

func TestNextKnowsANodeWithoutCommandsByTheDecisionsWords(t *testing.T) {
	s := decide.State{}
	var decisions []decide.Decision
	policy := decide.DefaultPolicy()
	node := apitest.NodeOf("mq-1")
	for i := range 4 {
		r := apitest.StuckLogin("mq-1", apitest.Noon.Add(time.Duration(i)*30*time.Second))
		view := target.View{At: r.Ended(), Expected: 1, Nodes: []target.Node{node}}
		s, decisions = decide.Decide(s, decide.Observation{View: view, Results: []probe.Result{r}, NoCommands: true}, policy, r.Ended())
	}
	what := next(remediate.Snapshot{Policy: policy}, decisions[0]).What
	if !strings.HasPrefix(what, "it stays a suspect") || !strings.HasSuffix(what, "the mode is observe") {
		t.Errorf("phase %s, next: %s", decisions[0].Phase, what)
	}
}

func TestNextNamesWhatHoldsItBackAndWhatMustSucceed(t *testing.T) {
	policy := decide.DefaultPolicy()
	policy.Mode = decide.Remediate
	later := apitest.Noon.Add(time.Hour)
	unasked := []decide.GuardState{{Guard: decide.GuardQuorumCritical, Unasked: true}, {Guard: decide.GuardAlarm, Unasked: true}}
	d := decide.Decision{Phase: decide.PhaseConfirmed, Guards: append([]decide.GuardState{{Guard: decide.GuardPaused, Until: later}}, unasked...)}
	n := next(remediate.Snapshot{Policy: policy}, d)
	if !n.Opens.Equal(later) || strings.Contains(n.What, "alarm") {
		t.Errorf("held back by %v until %s alone: opens %s, %q", d.HeldBy(), later, n.Opens, n.What)
	}
	d = decide.Decision{Phase: decide.PhaseSuspect, At: apitest.Noon, Evidence: decide.Evidence{Stuck: 1, FailureThreshold: 3, Window: 4, Since: apitest.Noon}, Guards: unasked}
	if n := next(remediate.Snapshot{Policy: policy}, d); strings.Contains(n.What, "alarm") {
		t.Errorf("nothing has been asked: %q", n.What)
	}
	deletions := []decide.Deletion{{Node: "mq-1", At: apitest.Noon, Probe: probe.Roundtrip}}
	d = decide.Decision{Node: "mq-1", Phase: decide.PhaseRecovering}
	if n := next(remediate.Snapshot{Policy: policy, Deletions: deletions}, d); strings.Contains(n.What, "accept logins") {
		t.Errorf("a deletion for round trips: %q", n.What)
	}
	d = decide.Decision{Node: "mq-1", Phase: decide.PhaseConfirmed, Action: decide.Delete, Evidence: decide.Evidence{Kind: probe.Roundtrip}}
	if n := next(remediate.Snapshot{Policy: policy}, d); strings.Contains(n.What, "accept logins") {
		t.Errorf("a deletion for round trips: %q", n.What)
	}
}
