package remediate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/remediate/decide"
	"github.com/cjworkbench/unstuck/remediate/store"
	"github.com/cjworkbench/unstuck/target"
)

// fakeWorld is a broker of three nodes, the runner that probes them, and the store, all of which keep a journal of what
// the loop asked of them.
type fakeWorld struct {
	mu        sync.Mutex
	journal   []string
	nodes     []target.Node
	reason    map[string]probe.Reason // of the next login, by UID; OK if absent
	looks     map[string]probe.Reason // of maybe_stuck, by UID
	incidents map[string]store.Incident
	deletions []decide.Deletion
	pauses    []decide.Pause
	loop      *Loop
	warning   string // what each command says on standard error

	// What fails, if not nil.
	viewErr, saveIncidentErr, saveDeletionsErr, deletionsErr, pausesErr, deleteErr error

	slowSave time.Duration // how long writing down the deletions takes

	exec     func(n target.Node, command string) (int, string)
	logTakes time.Duration        // how long reading the log takes, and with it to capture an incident
	onSave   func(store.Incident) // runs after an incident was saved
	onView   func(*target.View)   // changes what is seen
	locks    *lockWorld           // nil: there is no lock
	before   *Loop                // whose deletions the next loop inherits; nil: there was none
}

func newFakeWorld() *fakeWorld {
	w := &fakeWorld{reason: map[string]probe.Reason{}, looks: map[string]probe.Reason{}, incidents: map[string]store.Incident{}}
	for i := range 3 {
		w.nodes = append(w.nodes, testNode(fmt.Sprintf("rabbit-%d", i), time.Now().Add(-time.Hour)))
	}
	w.exec = func(_ target.Node, command string) (int, string) { return 0, answered(command) }
	return w
}

// answered is what a command prints on a node that is healthy, and on which nothing depends.
func answered(command string) string {
	switch {
	case strings.Contains(command, "check_if_node_is"):
		return "Node rabbit@rabbit-0 reported no quorum queues with minimum quorum"
	case strings.Contains(command, "unstuck limits end"):
		return freeNode
	case strings.Contains(command, "unstuck quorum"):
		return "unstuck quorum asked rabbit@rabbit-0 without rabbit@rabbit-1\nunstuck quorum ok 0 of 3 alone 0\nok\n"
	}
	return "{}"
}

// freeNode is what a node answers to LimitsQuestion that is full in no respect.
const freeNode = `node=rabbit@rabbit-1
rabbitmq=3.10.8
erlang=25
state=ready
maintenance=regular
handshake_timeout_ms=10000
alarms=none
alarms_elsewhere=none
file_handles_used=2
file_handles_limit=927
sockets_used=0
sockets_limit=832
descriptors_used=61
descriptors_limit=1024
processes_used=300
processes_limit=1048576
ports_used=40
ports_limit=65536
connections=0
connection_max=infinity
listener=amqp 0.0.0.0 5672 running 0 infinity 1
unstuck limits end
ok
`

func (w *fakeWorld) note(format string, args ...any) {
	w.journal = append(w.journal, fmt.Sprintf(format, args...))
}

func (w *fakeWorld) View(context.Context, string) (target.View, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	v := target.View{At: time.Now(), Expected: 3, IsLeader: target.Yes, Operating: target.No, Nodes: slices.Clone(w.nodes)}
	if w.onView != nil {
		w.onView(&v)
	}
	return v, w.viewErr
}

func (w *fakeWorld) Delete(_ context.Context, n target.Node, grace time.Duration) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.note("delete %s with grace %s", n.UID, grace)
	if w.deleteErr == nil {
		i := slices.IndexFunc(w.nodes, func(x target.Node) bool { return x.UID == n.UID })
		w.nodes[i].UID, w.nodes[i].Started = "new", time.Now()
	}
	return w.deleteErr
}

func (w *fakeWorld) SetNodes([]target.Node)     {}
func (w *fakeWorld) SetPace(string, probe.Pace) {}
func (w *fakeWorld) Late() time.Duration        { return 0 }

// RunNow answers at once, as the journal's next line.
func (w *fakeWorld) RunNow(node string, kinds ...probe.Kind) {
	w.mu.Lock()
	n := w.nodes[slices.IndexFunc(w.nodes, func(x target.Node) bool { return x.Name == node })]
	w.note("run %s on %s", kinds[0], node)
	reason := w.looks[n.UID]
	w.mu.Unlock()
	if reason == "" {
		reason = probe.OK
	}
	r := probe.Result{
		Target: "rabbit", Node: node, UID: n.UID, NodeStarted: n.Started, Kind: kinds[0], Reason: reason, Stage: probe.StageDeclare,
		Started: time.Now(), Took: time.Millisecond,
	}
	switch reason {
	case probe.ToolsUnresponsive:
		r.ErlangNode = "rabbit@" + node
	case probe.WorkWaits:
		r.Processes = workHangs()
	case probe.ProcessesStuck:
		r.Processes = loginHangs()
	default:
		r.Processes = &probe.Processes{Total: 100, Suspicious: 2, Baseline: 2}
	}
	w.loop.Deliver(r)
}

func (w *fakeWorld) SaveIncident(_ context.Context, c store.Incident) error {
	w.mu.Lock()
	if w.saveIncidentErr == nil {
		w.incidents[c.ID] = c
		w.note("incident %s", c.Events[len(c.Events)-1].Text)
	}
	err, after := w.saveIncidentErr, w.onSave
	w.mu.Unlock()
	if after != nil {
		after(c)
	}
	return err
}

func (w *fakeWorld) Incidents(context.Context) ([]store.Incident, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []store.Incident
	for _, c := range w.incidents {
		all = append(all, c)
	}
	return all, nil
}

func (w *fakeWorld) SaveDeletions(_ context.Context, _ string, deletions []decide.Deletion) error {
	time.Sleep(w.slowSave) // whatever its context says
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.saveDeletionsErr == nil {
		w.deletions = slices.Clone(deletions)
		for _, a := range deletions[max(0, len(deletions)-1):] {
			w.note("deletion %s is %q", a.UID, a.Outcome)
		}
	}
	return w.saveDeletionsErr
}

func (w *fakeWorld) Deletions(context.Context, string) ([]decide.Deletion, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.deletions), w.deletionsErr
}

func (w *fakeWorld) Pauses(context.Context) ([]decide.Pause, error) { return w.pauses, w.pausesErr }

func (w *fakeWorld) Exec(_ context.Context, n target.Node, argv []string, stdout, stderr io.Writer) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	command := strings.Join(argv, " ")
	exit, out := w.exec(n, command)
	_, _ = io.WriteString(stdout, out)
	_, _ = io.WriteString(stderr, w.warning)
	return exit, nil
}

func (w *fakeWorld) LastLines(context.Context, target.Node, int) ([]target.LogLine, error) {
	time.Sleep(w.logTakes)
	return []target.LogLine{{At: time.Now(), Text: "accepting AMQP connection"}}, nil
}

func (w *fakeWorld) Reconciled(Snapshot) {}
func (w *fakeWorld) Deleted(a decide.Deletion) {
	w.mu.Lock()
	w.note("acted on %s", a.UID)
	w.mu.Unlock()
}

func (w *fakeWorld) Settled(a decide.Deletion) {
	w.mu.Lock()
	w.note("settled %s: %s", a.UID, a.Outcome)
	w.mu.Unlock()
}

// play runs a loop on w for d, with a login of each node every 15 s, of which f is told beforehand.
func (w *fakeWorld) play(t *testing.T, d time.Duration, f func(since time.Duration)) {
	t.Helper()
	policy := decide.DefaultPolicy()
	policy.Mode = decide.Remediate
	world := World(w)
	if w.locks != nil {
		world = w.locks
	}
	w.loop = NewLoop(Options{
		Target: "rabbit", Policy: policy, World: world, Runner: w, Store: w, Exec: w, Logs: w, Recorder: w,
		Log: slog.New(slog.DiscardHandler),
	})
	if w.before != nil {
		w.loop.Inherit(w.before)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := w.loop.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	for since := time.Duration(0); since < d; since += 15 * time.Second {
		if f != nil {
			w.mu.Lock()
			f(since)
			w.mu.Unlock()
		}
		w.logins()
		time.Sleep(15 * time.Second)
	}
	synctest.Wait()
	cancel()
	<-done
}

func (w *fakeWorld) logins() {
	w.mu.Lock()
	var results []probe.Result
	for _, n := range w.nodes {
		reason := w.reason[n.UID]
		if reason == "" {
			reason = probe.OK
		}
		results = append(results, probe.Result{Target: "rabbit", Node: n.Name, UID: n.UID, NodeStarted: n.Started, Kind: probe.Login, Reason: reason, Started: time.Now().Add(-time.Second), Took: time.Second})
	}
	w.mu.Unlock()
	for _, r := range results {
		w.loop.Deliver(r)
	}
}

// wedge makes rabbit-1 stuck in every respect.
func (w *fakeWorld) wedge() {
	w.reason["uid-of-rabbit-1"], w.looks["uid-of-rabbit-1"] = probe.AwaitTune, probe.ProcessesStuck
}

func (w *fakeWorld) did(prefix string) int {
	count := 0
	for _, line := range w.journal {
		if strings.HasPrefix(line, prefix) {
			count++
		}
	}
	return count
}

func (w *fakeWorld) onlyIncident(t *testing.T) store.Incident {
	t.Helper()
	if len(w.incidents) != 1 {
		t.Fatalf("%d incidents, want 1; the journal is %q", len(w.incidents), w.journal)
	}
	for _, c := range w.incidents {
		return c
	}
	panic("unreachable")
}

func TestLoopDeletesAStuckNodeOnceAndItsIncidentTellsTheStory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeWorld()
		w.wedge()
		w.play(t, 5*time.Minute, nil)
		if w.did("delete uid-of-rabbit-1 with grace 30s") != 1 || w.did("delete") != 1 {
			t.Fatalf("the journal is %q, want one deletion", w.journal)
		}
		captured, intent := slices.Index(w.journal, "incident incident captured"), slices.Index(w.journal, `deletion uid-of-rabbit-1 is ""`)
		deleted, settled := slices.Index(w.journal, "delete uid-of-rabbit-1 with grace 30s"), slices.Index(w.journal, "settled uid-of-rabbit-1: recovered")
		if captured < 0 || captured > intent || intent > deleted || deleted > settled {
			t.Errorf("captured %d, intent %d, deleted %d, settled %d in %q: want that order", captured, intent, deleted, settled, w.journal)
		}
		c := w.onlyIncident(t)
		if c.Outcome != string(decide.Recovered) || c.Closed.IsZero() || c.Deletion.NewUID != "new" || c.Cluster == "" || c.Peer == "" ||
			len(c.Logs) == 0 || len(c.Results) == 0 || len(c.Missing) > 0 || len(c.Decision.Guards) != len(decide.Guards())-1 {
			t.Errorf("the incident is %+v", c)
		}
		for i, e := range c.Events {
			if i > 0 && (e.At.Before(c.Events[i-1].At) || slices.ContainsFunc(c.Events[:i], func(x store.Event) bool { return x.Text == e.Text })) {
				t.Errorf("event %d goes back in time or says something again: %+v", i, c.Events)
			}
		}
		if c.Decision.Phase != decide.PhaseConfirmed || c.Decision.Action != decide.Delete {
			t.Errorf("the incident keeps the decision %+v, want the one that led to the deletion", c.Decision)
		}
		if s := w.loop.Snapshot(); len(s.Nodes) != 3 || s.Nodes[1].Decision.Phase != decide.PhaseHealthy || len(s.Deletions) != 1 || s.Error != "" {
			t.Errorf("the snapshot is %+v", s)
		}
	})
}

func TestLoopDeletesNothingWhenSomethingCannotBeWrittenOrRead(t *testing.T) {
	broken := errors.New("disk full")
	for name, spoil := range map[string]func(*fakeWorld){
		"the incident": func(w *fakeWorld) { w.saveIncidentErr = broken },
		"the incident, while that of a predecessor is open": func(w *fakeWorld) {
			w.saveIncidentErr = broken
			deletion := decide.Deletion{ID: "old", Outcome: decide.Escalated, Node: "rabbit-1", UID: "old"}
			w.incidents["old"] = store.Incident{ID: "old", Target: "rabbit", Node: "rabbit-1", UID: "old", Deletion: &deletion}
		},
		"the intent":            func(w *fakeWorld) { w.saveDeletionsErr = broken },
		"the earlier deletions": func(w *fakeWorld) { w.deletionsErr = broken },
		"the pauses":            func(w *fakeWorld) { w.pausesErr = broken },
		"the world":             func(w *fakeWorld) { w.viewErr = broken },
		"the peers' quorum":     func(w *fakeWorld) { w.exec = func(target.Node, string) (int, string) { return 1, "?" } },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newFakeWorld()
				w.wedge()
				spoil(w)
				w.play(t, 10*time.Minute, nil)
				if w.did("delete") != 0 {
					t.Errorf("deleted all the same: %q", w.journal)
				}
			})
		})
	}
}

// Capturing runs commands on the peers, so it is not done again at each reconcile.
func TestLoopKeepsAnUnstoredIncidentAndCapturesItAgainOnlyOnceOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeWorld()
		w.wedge()
		w.saveIncidentErr = errors.New("disk full")
		captured := 0
		w.exec = func(_ target.Node, command string) (int, string) {
			if strings.Contains(command, "cluster_status") {
				captured++
			}
			return 0, answered(command)
		}
		w.play(t, 9*time.Minute, nil)
		if captured < 2 || captured > 6 {
			t.Errorf("captured %d times in some 8 minutes, want once in 2", captured)
		}
		if w.did("delete") != 0 {
			t.Errorf("deleted all the same: %q", w.journal)
		}
		captured, w.saveIncidentErr = 0, nil
		w.play(t, 3*time.Minute, nil)
		if w.did("delete") != 1 {
			t.Errorf("the disk has room again, the journal is %q", w.journal)
		}
		w.onlyIncident(t)
	})
}

func TestLoopTakesALastLookAndDeletesNothingOnOldKnowledge(t *testing.T) {
	for name, change := range map[string]func(*target.Node){
		"replaced":    func(n *target.Node) { n.UID = "another" },
		"terminating": func(n *target.Node) { n.Terminating = target.Yes },
		"rolling out": func(n *target.Node) { n.RollingOut = target.Yes },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newFakeWorld()
				w.wedge()
				w.onSave = func(c store.Incident) { // the world changes while the incident is captured
					if c.Events[len(c.Events)-1].Text == "incident captured" {
						w.mu.Lock()
						change(&w.nodes[1])
						w.mu.Unlock()
					}
				}
				w.play(t, 5*time.Minute, nil)
				if w.did("delete") != 0 {
					t.Errorf("deleted all the same: %q", w.journal)
				}
			})
		})
	}
}

func TestLoopStillShowsNodesWhenTheWorldCannotBeSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeWorld()
		w.wedge()
		w.play(t, 10*time.Minute, func(since time.Duration) {
			if since == 30*time.Second {
				w.viewErr = errors.New("the API server is away")
			}
		})
		s := w.loop.Snapshot()
		if w.did("delete") != 0 || len(s.Nodes) != 3 || !strings.Contains(s.Error, "the API server is away") {
			t.Errorf("%d nodes are shown, the fault is %q, the journal is %q", len(s.Nodes), s.Error, w.journal)
		}
		for _, n := range s.Nodes {
			if !slices.Contains(n.Decision.Closed(), decide.GuardSelfDegraded) {
				t.Errorf("%s: the guard self-degraded is open", n.Name)
			}
		}
	})
}

func TestLoopDeletesNothingWhenWritingItDownTookTooLong(t *testing.T) {
	for _, slow := range []time.Duration{6 * time.Second, time.Minute} { // longer than the store may take
		synctest.Test(t, func(t *testing.T) {
			w := newFakeWorld()
			w.wedge()
			w.slowSave = slow
			w.play(t, 4*time.Minute, nil)
			w.mu.Lock()
			if w.did("delete") != 0 {
				t.Errorf("deleted after the store took %s: %q", slow, w.journal)
			}
			w.mu.Unlock()
			time.Sleep(slow) // by the bubble's clock: what hung comes back
		})
	}
	synctest.Test(t, func(t *testing.T) { // each is written down quickly enough for the store, or given up, but all together take long
		w := newFakeWorld()
		w.wedge()
		w.slowSave = storeTimeout - time.Millisecond
		w.onSave = func(c store.Incident) {
			if strings.HasPrefix(c.Events[len(c.Events)-1].Text, "deleting") {
				time.Sleep(11 * time.Second)
			}
		}
		w.play(t, 2*time.Minute, nil)
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.did("delete") != 0 || len(w.deletions) == 0 || w.deletions[0].Outcome != decide.Aborted {
			t.Errorf("deletions are %+v, the journal is %q", w.deletions, w.journal)
		}
	})
}

func TestLoopCountsNoDeletionOfANodeThatIsGoneOrChanged(t *testing.T) {
	for _, err := range []error{target.ErrGone, target.ErrChanged, target.ErrRefused} {
		synctest.Test(t, func(t *testing.T) {
			w := newFakeWorld()
			w.wedge()
			w.deleteErr = fmt.Errorf("delete: %w", err)
			w.play(t, 2*time.Minute, nil)
			if w.did("acted") != 0 || len(w.deletions) == 0 || w.deletions[0].Outcome != decide.Aborted {
				t.Errorf("deletions are %+v, the journal is %q", w.deletions, w.journal)
			}
		})
	}
}

func TestLoopTriesAFailedDeleteAgainAfterAnHourAndTellsWhy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeWorld()
		w.wedge()
		w.deleteErr = errors.New("forbidden")
		w.play(t, 90*time.Second, nil)
		d := w.loop.Snapshot().Nodes[1].Decision
		if d.Phase != decide.PhaseDeletionUnconfirmed || !strings.HasPrefix(d.Reason, "not known to be deleted") || !strings.Contains(d.Reason, "forbidden") {
			t.Errorf("just afterwards the node is %s: %s", d.Phase, d.Reason)
		}
		w.play(t, 40*time.Minute, nil) // another daemon: it knows what was written down
		d = w.loop.Snapshot().Nodes[1].Decision
		if w.did("delete") != 1 || w.deletions[0].Outcome != decide.Failed || w.did("settled uid-of-rabbit-1: failed") != 1 {
			t.Errorf("deletions are %+v, the journal is %q", w.deletions, w.journal)
		}
		if d.Phase != decide.PhaseConfirmed || !slices.Equal(d.HeldBy(), []decide.Guard{decide.GuardStartupGrace}) || !strings.Contains(d.Reason, "forbidden") {
			t.Errorf("later the node is %s: %s", d.Phase, d.Reason)
		}
		if c := w.onlyIncident(t); c.Outcome != string(decide.Failed) || !c.Closed.IsZero() {
			t.Errorf("the incident is %+v", c)
		}
		w.play(t, 5*time.Minute, func(since time.Duration) {
			if since == time.Minute { // a person deletes it
				w.nodes[1].UID = "new"
			}
		})
		if c := w.onlyIncident(t); c.Outcome != string(decide.Recovered) || c.Closed.IsZero() {
			t.Errorf("the incident is %+v", c)
		}
	})
}

func TestLoopVoidsADeletionThatMayNotBeAskedForIfTheNodeStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeWorld()
		w.wedge()
		w.deletions = []decide.Deletion{{ID: "c", Incident: "c", Target: "rabbit", Node: "rabbit-1", UID: "uid-of-rabbit-1", At: time.Now().Add(-time.Second)}}
		w.incidents["c"] = store.Incident{ID: "c", Target: "rabbit", Node: "rabbit-1", UID: "uid-of-rabbit-1"} // it ended before it could say more
		w.play(t, time.Minute, nil)
		if d := w.loop.Snapshot().Nodes[1].Decision; d.Phase != decide.PhaseDeletionUnconfirmed || strings.Contains(d.Reason, "deleted;") {
			t.Errorf("the node is %s: %s", d.Phase, d.Reason)
		}
		w.play(t, 10*time.Minute, nil)
		if w.did("delete") != 1 || w.did("settled uid-of-rabbit-1: aborted") != 1 || w.did("settled uid-of-rabbit-1: recovered") != 1 {
			t.Errorf("deletions are %+v, the journal is %q", w.deletions, w.journal)
		}
		for _, c := range w.incidents {
			if c.Closed.IsZero() || c.Deletion == nil {
				t.Errorf("the incident is %+v", c)
			}
		}
	})
}

func TestLoopClosesAnIncidentWhoseNodeIsGoneForGood(t *testing.T) {
	for name, deletion := range map[string]*decide.Deletion{
		"nothing was done":           nil,
		"its deletion was escalated": {ID: "a", Incident: "c", Target: "rabbit", Node: "rabbit-3", UID: "u", Outcome: decide.Escalated},
		"its deletion is under way":  {ID: "a", Incident: "c", Target: "rabbit", Node: "rabbit-3", UID: "u", Accepted: time.Now()},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newFakeWorld()
				c := store.Incident{ID: "c", Target: "rabbit", Node: "rabbit-3", UID: "u"}
				if deletion != nil {
					deletion.At = time.Now()
					w.deletions, c.Deletion = []decide.Deletion{*deletion}, deletion
				}
				w.incidents["c"] = c
				w.play(t, 9*time.Minute, nil)
				if c := w.onlyIncident(t); deletion == nil && !c.Closed.IsZero() {
					t.Errorf("closed within the recovery timeout, in which a pod may be recreated: %+v", c)
				}
				w.play(t, 11*time.Minute, nil)
				if c := w.onlyIncident(t); c.Closed.IsZero() || !strings.HasPrefix(c.Outcome, "removed") {
					t.Errorf("the incident is %+v", c)
				}
				if deletion != nil && (w.deletions[0].Outcome != decide.Removed || slices.Contains(w.loop.Snapshot().Nodes[0].Decision.Closed(), decide.GuardInFlight)) {
					t.Errorf("the deletion is %+v", w.deletions[0])
				}
			})
		})
	}
}

func TestLoopGivesAStoreThatHangsItsDeadlineAndNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeWorld()
		w.wedge()
		w.slowSave = 24 * time.Hour
		began := time.Now()
		goroutines := 0
		w.play(t, 20*time.Minute, func(since time.Duration) {
			if since == 5*time.Minute {
				goroutines = runtime.NumGoroutine()
			}
		})
		if took := time.Since(began); took > 20*time.Minute+15*time.Second {
			t.Errorf("it ended after %s, %s late", took, took-20*time.Minute)
		}
		if more := runtime.NumGoroutine() - goroutines; more > 0 {
			t.Errorf("%d more goroutines than a quarter of an hour ago: those that hang pile up", more)
		}
		s := w.loop.Snapshot()
		w.mu.Lock()
		if w.did("delete") != 0 || !strings.Contains(s.Error, errHangs.Error()) || time.Since(s.At) > time.Minute {
			t.Errorf("the snapshot of %s says %q, the journal is %q", s.At, s.Error, w.journal)
		}
		w.mu.Unlock()
		time.Sleep(24 * time.Hour) // by the bubble's clock: what hung comes back
	})
}

func TestLoopWritesLaterWhatCouldNotBeWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeWorld()
		w.wedge()
		broken := errors.New("disk full")
		w.play(t, 10*time.Minute, func(since time.Duration) {
			if w.did("acted") == 1 && since < 5*time.Minute {
				w.saveDeletionsErr, w.saveIncidentErr = broken, broken // from just after the delete on
			}
			if since == 5*time.Minute {
				w.saveDeletionsErr, w.saveIncidentErr = nil, nil
			}
		})
		if w.did("delete") != 1 || len(w.deletions) != 1 || w.deletions[0].Outcome != decide.Recovered || w.loop.Snapshot().Error != "" {
			t.Errorf("deletions are %+v, the journal is %q", w.deletions, w.journal)
		}
		if c := w.onlyIncident(t); c.Outcome != string(decide.Recovered) || c.Closed.IsZero() {
			t.Errorf("the incident is %+v", c)
		}
	})
}

func TestLoopSettlesAnIntentOfAPredecessorAndDoesNotRepeatIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeWorld()
		w.wedge()
		w.deletions = []decide.Deletion{{ID: "c", Incident: "c", Target: "rabbit", Node: "rabbit-1", UID: "uid-of-rabbit-1", At: time.Now().Add(-time.Second)}}
		w.incidents["c"] = store.Incident{ID: "c", Target: "rabbit", Node: "rabbit-1", UID: "uid-of-rabbit-1", Deletion: &w.deletions[0]}
		w.play(t, 5*time.Minute, func(since time.Duration) {
			w.nodes[1].Terminating = target.AnswerTo(since < 3*time.Minute)
			if since == 3*time.Minute {
				w.nodes[1].UID = "new"
			}
		})
		if w.did("delete") != 0 || w.did("settled uid-of-rabbit-1: recovered") != 1 || w.deletions[0].Outcome != decide.Recovered {
			t.Errorf("deletions are %+v, the journal is %q", w.deletions, w.journal)
		}
		if c := w.onlyIncident(t); c.Outcome != string(decide.Recovered) {
			t.Errorf("the incident is %+v", c)
		}
	})
}

func TestLoopRunFinishesADeleteUnderWayAtShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeWorld()
		w.wedge()
		ctx, cancel := context.WithCancel(t.Context())
		policy := decide.DefaultPolicy()
		policy.Mode = decide.Remediate
		deleting := deleteFunc{w, func(ctx context.Context, n target.Node, grace time.Duration) error {
			cancel() // somebody stops us in the middle of it
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return w.Delete(ctx, n, grace)
		}}
		w.loop = NewLoop(Options{Target: "rabbit", Policy: policy, World: deleting, Runner: w, Store: w, Exec: w, Recorder: w, Log: slog.New(slog.DiscardHandler)})
		done := make(chan error)
		go func() { done <- w.loop.Run(ctx) }()
		for ctx.Err() == nil {
			w.logins()
			time.Sleep(15 * time.Second)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		if w.did("delete") != 1 || w.did("acted on uid-of-rabbit-1") != 1 {
			t.Errorf("the journal is %q", w.journal)
		}
	})
}

type deleteFunc struct {
	*fakeWorld

	delete func(context.Context, target.Node, time.Duration) error
}

func (d deleteFunc) Delete(ctx context.Context, n target.Node, grace time.Duration) error {
	return d.delete(ctx, n, grace)
}

func TestLoopHoldsADeletionBackIfQueuesDependOnTheNode(t *testing.T) {
	const critical = "queue 'qq' in vhost '/' would lose quorum if node rabbit@rabbit-1 is stopped\n" // 3.10.8
	rows := []struct {
		name string
		exec func(n target.Node, command string) (int, string)
		want int
		why  string
	}{
		{"the node has queues with no member to spare", func(n target.Node, command string) (int, string) {
			if strings.Contains(command, "check_if_node_is_quorum_critical") && n.Name == "rabbit-1" {
				return 69, critical
			}
			return 0, answered(command)
		}, 0, "queue 'qq' in vhost"},
		{"a peer has a queue of one member, which is none of the node's", func(n target.Node, command string) (int, string) {
			if strings.Contains(command, "check_if_node_is_quorum_critical") && n.Name != "rabbit-1" {
				return 69, critical
			}
			return 0, answered(command)
		}, 1, ""},
		{"the node leads a mirrored queue without a copy", func(n target.Node, command string) (int, string) {
			if strings.Contains(command, "check_if_node_is_mirror_sync_critical") && n.Name == "rabbit-1" {
				return 69, "Error:\nThe following classic mirrored queues without online synchronised mirrors"
			}
			return 0, answered(command)
		}, 0, "classic mirrored queues"},
		{"the node cannot say, and its peers say that everything is healthy", func(_ target.Node, command string) (int, string) {
			if strings.Contains(command, "quorum_critical") {
				return 75, "timed out"
			}
			return 0, answered(command)
		}, 1, ""},
		{"the node says ok, which is no answer, and its peers that something would have no majority", func(_ target.Node, command string) (int, string) {
			switch {
			case strings.Contains(command, "quorum_critical"):
				return 0, "ok"
			case strings.Contains(command, "unstuck quorum"):
				return 0, "unstuck quorum asked rabbit@rabbit-0 without rabbit@rabbit-1\n" +
					"unstuck quorum lacks quorum members=2 online=1 vhost=%2F name=orders\nunstuck quorum critical 1 of 4 alone 0\nok\n"
			}
			return 0, answered(command)
		}, 0, "no majority: quorum %2F orders"},
		{"the node cannot say which mirrored queues it leads", func(_ target.Node, command string) (int, string) {
			if strings.Contains(command, "mirror_sync") {
				return 75, "timed out"
			}
			return 0, answered(command)
		}, 0, "exit 75"},
		{"nobody's app runs", func(_ target.Node, command string) (int, string) {
			if strings.Contains(command, "check_if") || strings.Contains(command, "unstuck quorum") {
				return 64, "Error: this command requires the 'rabbit' app to be running on the target node. Arguments given: " + command
			}
			return 0, answered(command)
		}, 0, "exit 64"},
		{"nobody says anything", func(target.Node, string) (int, string) { return 0, "" }, 0, "exit 0"},
		{"everybody takes itself for the only node", func(target.Node, string) (int, string) {
			return 0, "Node rabbit@rabbit-0 seems to be the only one in a single node cluster, the check does not apply"
		}, 0, "only one"},
		{"the broker has no mirrored queues any more", func(_ target.Node, command string) (int, string) {
			if strings.Contains(command, "mirror_sync") {
				return 0, "ok\n"
			}
			return 0, answered(command)
		}, 1, ""},
		{"nobody can say", func(target.Node, string) (int, string) { return 75, "timed out" }, 0, "exit 75"},
		{"the broker does not know the question", func(_ target.Node, command string) (int, string) {
			if name := command[strings.LastIndex(command, " ")+1:]; strings.HasPrefix(name, "check_if") {
				return 64, "Command '" + name + "' not found."
			}
			return 0, answered(command)
		}, 1, ""},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newFakeWorld()
				w.wedge()
				w.exec = row.exec
				w.play(t, 3*time.Minute, nil)
				if w.did("delete") != row.want {
					t.Errorf("%d deletions, want %d: %q", w.did("delete"), row.want, w.journal)
				}
				d := w.loop.Snapshot().Nodes[1].Decision
				for _, g := range d.Guards {
					if row.want == 0 && g.Guard == decide.GuardQuorumCritical && !strings.Contains(g.Why, row.why) {
						t.Errorf("the guard says %q, want %q in it", g.Why, row.why)
					}
				}
			})
		})
	}
}

func TestLoopClosesAnIncidentWhoseNodeRecoversByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeWorld()
		w.wedge()
		w.looks["uid-of-rabbit-1"] = probe.OK // not corroborated
		w.play(t, 6*time.Minute, func(since time.Duration) {
			if since == 4*time.Minute {
				delete(w.reason, "uid-of-rabbit-1")
			}
		})
		if c := w.onlyIncident(t); w.did("delete") != 0 || c.Outcome != store.BySelf || c.Closed.IsZero() {
			t.Errorf("the incident is %+v", c)
		}
	})
}

func TestLoopTriesThePeersAndNamesTheLockHolderIfARoundTripHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeWorld()
		w.exec = func(_ target.Node, command string) (int, string) {
			if strings.Contains(command, "mnesia_locker") {
				return 0, "rabbit@rabbit-2\n"
			}
			return 0, "{}"
		}
		w.looks["uid-of-rabbit-0"], w.looks["uid-of-rabbit-2"] = probe.AwaitDeclare, probe.AwaitDeclare
		w.looks["uid-of-rabbit-1"] = probe.ProcessesStuck
		w.play(t, 5*time.Minute, func(time.Duration) {
			go w.loop.Deliver(probe.Result{Node: "rabbit-1", UID: "uid-of-rabbit-1", NodeStarted: w.nodes[1].Started, Kind: probe.Roundtrip, Reason: probe.AwaitDeclare, Stage: probe.StageDeclare, Started: time.Now().Add(-time.Second), Took: time.Second})
		})
		if w.did("run roundtrip on rabbit-0") == 0 || w.did("run roundtrip on rabbit-2") == 0 || w.did("delete") != 0 {
			t.Errorf("the journal is %q", w.journal)
		}
		named := false
		for _, c := range w.incidents {
			named = named || c.LockHolder == "rabbit@rabbit-2"
		}
		if !named {
			t.Errorf("no incident names who holds the lock: %+v", w.incidents)
		}
	})
}

func TestLoopPublishShowsAPauseUntilItEnds(t *testing.T) {
	l := NewLoop(Options{Target: "rabbit", Recorder: newFakeWorld()})
	l.publish(decide.Observation{Pauses: []decide.Pause{
		{Reason: "ended", Until: time.Now().Add(-time.Minute)},
		{Reason: "goes on", Until: time.Now().Add(time.Minute)},
		{Reason: "has no end"},
		{Target: "another", Reason: "another's"},
	}}, nil)
	var shown []string
	for _, p := range l.Snapshot().Pauses {
		shown = append(shown, p.Reason)
	}
	if !slices.Equal(shown, []string{"goes on", "has no end"}) {
		t.Errorf("shown are %q", shown)
	}
}
