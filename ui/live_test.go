package ui

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/cjworkbench/unstuck/httpapi"
	"github.com/cjworkbench/unstuck/httpapi/apitest"
	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/release/plan"
	"github.com/cjworkbench/unstuck/remediate"
	"github.com/cjworkbench/unstuck/remediate/decide"
	"github.com/cjworkbench/unstuck/remediate/store"
	"github.com/cjworkbench/unstuck/target"
)

// scene is a broker of which a test says how it is, with the page over it.
type scene struct {
	site

	mu   sync.Mutex
	now  remediate.Snapshot
	kept []store.Incident
}

// newScene gives three nodes that are healthy, and lets everybody read.
func newScene() *scene {
	s := &scene{site: *open()}
	s.pulse = NewPulse()
	s.Brokers.Snapshots = func() []remediate.Snapshot {
		s.mu.Lock()
		defer s.mu.Unlock()
		return []remediate.Snapshot{s.now}
	}
	s.Brokers.Incidents = func(context.Context) ([]store.Incident, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.kept, nil
	}
	s.build()
	s.set(func(*remediate.Snapshot, *remediate.NodeSnapshot) {})
	return s
}

// set makes a new snapshot in which mq-1 is as change makes it, and everything else is healthy.
func (s *scene) set(change func(*remediate.Snapshot, *remediate.NodeSnapshot)) {
	now := time.Now()
	policy := decide.DefaultPolicy()
	policy.Mode = decide.Remediate
	next := remediate.Snapshot{Target: "orders", At: now, Policy: policy, View: target.View{At: now, Expected: 3}}
	for _, name := range []string{"mq-0", "mq-1", "mq-2"} {
		n := remediate.NodeSnapshot{Node: apitest.NodeOf(name), Latest: []probe.Result{apitest.GoodLogin(name)}}
		n.Latest[0].Started = now
		n.Decision = decide.Decision{Target: "orders", Node: name, At: now, Status: probe.Healthy, Phase: decide.PhaseHealthy, Reason: "accepts logins"}
		n.Decision.Evidence = decide.Evidence{FailureThreshold: 3, Window: 4}
		for _, g := range decide.Guards()[:16] {
			n.Decision.Guards = append(n.Decision.Guards, decide.GuardState{Guard: g.Guard, Open: true, Why: "nothing speaks against it"})
		}
		next.Nodes = append(next.Nodes, n)
	}
	change(&next, &next.Nodes[1])
	s.mu.Lock()
	s.now = next
	s.mu.Unlock()
	for _, n := range next.Nodes {
		s.pulse.ProbeDone(n.Latest[0])
	}
	s.pulse.Reconciled(next)
}

// keep has an incident kept.
func (s *scene) keep(c store.Incident) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept = []store.Incident{c}
}

// stuck makes a node stuck by so many of its last logins, the first of which was so long ago.
func stuck(n *remediate.NodeSnapshot, p decide.Phase, logins int, ago time.Duration, reason string) {
	now := time.Now()
	n.Stuck, n.Latest = now.Add(-ago), []probe.Result{apitest.StuckLogin(n.Name, now.Add(-12*time.Second))}
	d := &n.Decision
	d.Status, d.Phase, d.Reason = probe.Stuck, p, reason
	d.Evidence.Stuck, d.Evidence.Since, d.Evidence.Kind = logins, n.Stuck, probe.Login
	if p != decide.PhaseSuspect {
		d.Evidence.Enough, d.Evidence.Corroborated, d.Evidence.CorroborationDetail = true, true, "maybe_stuck sees the same 6 processes twice"
	}
}

func TestPagesThatShowThemselvesAnewKeepNobodyFromActing(t *testing.T) {
	s := newSite()
	s.Rate = httpapi.Rate{} // the default
	s.build()
	ada := s.signedIn(t, "ada", "localhost")
	refresh := func() int {
		r := s.get(ada, "/status/")
		r.Header.Set("Unstuck-Refresh", "1")
		return s.ask(r).Code
	}
	refused := false
	for range 10 * 40 {
		refused = refused || refresh() == http.StatusTooManyRequests
	}
	if !refused {
		t.Error("they may ask as often as they like")
	}
	if w := s.ask(s.get(ada, "/status/")); w.Code != http.StatusOK {
		t.Errorf("ada cannot see the page: %d", w.Code)
	}
	if w := s.fill(ada, "localhost", "/status/targets/orders/pause", map[string][]string{"for": {"1h"}, "reason": {"because"}}); w.Code != http.StatusSeeOther {
		t.Errorf("ada cannot pause: %d %s", w.Code, words(w.Body.String()))
	}
	if w := s.fill(ada, "localhost", "/status/targets/orders/resume", map[string][]string{"reason": {"over"}}, "Unstuck-Refresh", "1"); w.Code != http.StatusSeeOther {
		t.Errorf("what changes something counts as a page: %d %s", w.Code, words(w.Body.String()))
	}
}

func TestLiveIncidentIsFollowedFromSuspicionToCure(t *testing.T) {
	t.Parallel()
	s := newScene()
	b := browse(t, s.handler)
	b.open("/status/targets/orders/nodes/mq-1")
	b.sees("#headline", "mq-1 of orders: it is healthy.")
	b.sees("#live", "It is shown as it happens.")
	eval[int](b, "window.stayed = 1")

	s.set(func(_ *remediate.Snapshot, n *remediate.NodeSnapshot) {
		stuck(n, decide.PhaseSuspect, 1, 20*time.Second, "stuck 1 time")
		n.Decision.Guards[1] = decide.GuardState{Guard: decide.GuardPaused, Why: "paused by ada", Until: time.Now().Add(90 * time.Second)}
	})
	b.sees("#headline", "it may be stuck, and that is being confirmed")
	b.sees("#evidence", "1 of its last 4 probes (login); 3 are needed")
	b.sees("#guard-paused", "closed paused by ada (opens in")
	b.sees("#countdown", "It is not deleted before")
	first := b.text("#countdown strong")
	b.until(fmt.Sprintf("document.querySelector('#countdown strong').innerText !== %q", first)) // it counts
	if !strings.HasPrefix(first, "in ") {
		t.Errorf("the countdown is %q", first)
	}

	s.set(func(_ *remediate.Snapshot, n *remediate.NodeSnapshot) {
		stuck(n, decide.PhaseConfirmed, 3, 80*time.Second, "confirmed stuck")
		n.Decision.Action = decide.Delete
	})
	b.sees("#headline", "it is stuck, and is deleted now")
	b.sees("#evidence", "agrees: maybe_stuck sees the same 6 processes twice")
	b.sees("#next", "It is deleted now, and within 10m0s what failed must succeed on its successor")

	deletion := decide.Deletion{ID: "a", Target: "orders", Node: "mq-1", Incident: "c-1", At: time.Now()}
	s.keep(store.Incident{ID: "c-1", Target: "orders", Node: "mq-1", Opened: time.Now(), Deletion: &deletion, Decision: decide.Decision{Reason: "confirmed stuck"}})
	s.set(func(snap *remediate.Snapshot, n *remediate.NodeSnapshot) {
		snap.Deletions = []decide.Deletion{deletion}
		stuck(n, decide.PhaseRecovering, 3, 90*time.Second, "deleted; its successor is awaited")
	})
	b.sees("#headline", "it was stuck and has been deleted; its successor is awaited")
	b.sees("#countdown", "A person is asked for if it is not back by")
	b.sees("#evidence", "What led to the deletion is in the incident")

	s.keep(store.Incident{ID: "c-1", Target: "orders", Node: "mq-1", Opened: time.Now(), Closed: time.Now(), Deletion: &deletion, Outcome: string(decide.Recovered)})
	s.set(func(*remediate.Snapshot, *remediate.NodeSnapshot) {})
	b.sees("#headline", "mq-1 of orders: it is healthy.")
	b.sees("#incident-c-1", "recovered")
	if eval[int](b, "window.stayed") != 1 {
		t.Error("the page was loaded anew on the way")
	}
	if got := eval[int](b, "document.querySelectorAll('.spark rect.bad').length"); got < 3 {
		t.Errorf("%d bad logins are drawn, want those of the incident", got)
	}
	b.do(chromedp.Click(chromedp.CSS("#incident-c-1 a")))
	b.sees("#headline", "mq-1 of orders was stuck, was deleted, and what took its place is healthy.")
	b.quiet()
}

func TestLivePageKeepsWhatSomebodyIsAtWhereItIs(t *testing.T) {
	t.Parallel()
	s := newScene()
	withStacks := func(reason string) {
		s.set(func(_ *remediate.Snapshot, n *remediate.NodeSnapshot) {
			stuck(n, decide.PhaseConfirmed, 3, time.Minute, reason)
			n.Latest[0].Processes = &probe.Processes{Top: []probe.Stack{{Count: 6, Frames: []string{"rabbit_reader:loop/3"}}}}
		})
	}
	withStacks("first")
	b := browse(t, s.handler)
	b.open("/status/targets/orders/nodes/mq-1")
	b.sees("#live", "It is shown as it happens.")
	b.do(chromedp.Click(chromedp.CSS("#stacks summary")))
	b.sees("#stacks", "rabbit_reader:loop/3")
	s.keep(store.Incident{ID: "new", Target: "orders", Node: "mq-1", Opened: time.Now(), Decision: decide.Decision{Reason: "an incident that comes before"}})
	withStacks("second")
	b.sees("main > .facts", "second")
	b.sees("#incident-new", "an incident that comes before")
	if !eval[bool](b, "document.activeElement === document.querySelector('#stacks summary') && document.querySelector('#stacks').open") {
		t.Errorf("the focus is on %s, and the stacks are unfolded: %t", eval[string](b, "document.activeElement.outerHTML"), eval[bool](b, "document.querySelector('#stacks').open"))
	}
	b.quiet()
}

func TestLivePageSaysWhenItIsNoLongerTrue(t *testing.T) {
	t.Parallel()
	s := newScene()
	down := make(chan struct{})
	b := browse(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-down:
			http.Error(w, "down", http.StatusBadGateway)
		default:
			s.handler.ServeHTTP(w, r)
		}
	}))
	b.open("/status/")
	b.sees("#live", "It is shown as it happens.")
	close(down)
	s.set(func(*remediate.Snapshot, *remediate.NodeSnapshot) {})
	b.sees("#live", "What is shown is old: the server answers 502.")
}

func TestLivePageIsCompleteWithoutItsScript(t *testing.T) {
	t.Parallel()
	s := newScene()
	b := browse(t, s.handler)
	if _, err := chromedp.Call(b.ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}); err != nil {
		t.Fatal(err)
	}
	b.open("/status/")
	for selector, want := range map[string]string{"#headline": "Everything is healthy: 3 nodes.", "#live": "Reload to see what has changed since."} {
		if got := b.text(selector); got != want {
			t.Errorf("%s: %q, want %q", selector, got, want)
		}
	}
}

//promise:37
func TestLiveBrowserRunsNoHostileText(t *testing.T) {
	t.Parallel()
	s := hostileSite()
	s.Identity = nil // everybody may read
	s.build()
	b := browse(t, s.handler)
	for _, path := range hostilePages {
		b.open(path)
		b.sees("#live", "It is shown as it happens.") // it has been merged once, too
		if title := eval[string](b, "document.title"); strings.Contains(title, "owned") && !strings.Contains(title, "<script>") {
			t.Errorf("%s: a script has run: the title is %q", path, title)
		}
		if n := eval[int](b, "document.querySelectorAll('main script, main img, main [onerror]').length"); n != 0 {
			t.Errorf("%s: %d elements were made of text", path, n)
		}
	}
	b.quiet()
}

func TestPulseWatchTellsAPageOfItsTopicAlone(t *testing.T) {
	p := NewPulse()
	news, stop := p.watch(ofTarget("orders"))
	all, stopAll := p.watch(everything)
	p.Reconciled(remediate.Snapshot{Target: "other"})
	p.OperationChanged(plan.Operation{Environment: "orders"})
	if len(news) != 0 || len(all) != 1 {
		t.Errorf("%d of the topic, %d of everything", len(news), len(all))
	}
	p.Reconciled(remediate.Snapshot{Target: "orders"})
	p.Reconciled(remediate.Snapshot{Target: "orders"})
	if len(news) != 1 || len(all) != 1 {
		t.Errorf("%d of the topic, %d of everything, want one each: more than one says no more", len(news), len(all))
	}
	stop()
	stopAll()
	if len(p.watchers) != 0 {
		t.Errorf("%d watchers are left", len(p.watchers))
	}
}

func TestPagesLiveBeginsWithAnEventAndSendsAtMostOneASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene()
		ctx, stop := context.WithTimeout(t.Context(), 2500*time.Millisecond)
		defer stop()
		go func() {
			for ctx.Err() == nil {
				s.pulse.Reconciled(remediate.Snapshot{Target: "orders"})
				select {
				case <-ctx.Done():
				case <-time.After(10 * time.Millisecond):
				}
			}
		}()
		w := s.ask(apitest.Request("", "GET", "/status/live?of=target/orders", "").WithContext(ctx))
		synctest.Wait()
		want := "retry: 2000\n\n" + strings.Repeat("event: changed\ndata: target/orders\n\n", 3)
		if got := w.Body.String(); got != want || w.Header().Get("Content-Type") != "text/event-stream" {
			t.Errorf("%s %q, want %q", w.Header().Get("Content-Type"), got, want)
		}
	})
}

func TestPagesLiveTellsNobodyOfWhatTheyMayNotRead(t *testing.T) {
	s := newSite()
	for _, c := range []struct {
		who, of string
		want    int
	}{
		{"ada", "everything", 200},
		{"ada", "target/orders", 200},
		{"ada", "environment/staging", 200},
		{"ada", "target/nobody", 404},
		{"ada", "", 404},
		{"bob", "target/orders", 403},
		{"bob", "everything", 403}, // ten like bob would have all streams
		{"ci", "everything", 200},
		{"ci", "environment/staging", 200},
		{"ci", "environment/production", 403},
		{"", "everything", 401},
	} {
		w := s.ask(apitest.Request(c.who, "HEAD", "/status/live?of="+c.of, ""))
		if w.Code != c.want {
			t.Errorf("%s asks for %q: %d, want %d", c.who, c.of, w.Code, c.want)
		}
	}
}

func TestPulseForgetsOldLoginsAndNodesThatAreGone(t *testing.T) {
	p := NewPulse()
	for i := range 3 * keptBeats {
		p.ProbeDone(probe.Result{Target: "b", Node: "n", Kind: probe.Login, Reason: probe.OK, Took: time.Duration(i)})
		p.ProbeDone(probe.Result{Target: "b", Node: "n", Kind: probe.MaybeStuck, Reason: probe.OK})
		p.ProbeDone(probe.Result{Target: "b", Node: "gone", Kind: probe.Login, Reason: probe.OK})
	}
	beats := p.beats("b", "n")
	if len(beats) != keptBeats || beats[0].took != 2*keptBeats || beats[keptBeats-1].took != 3*keptBeats-1 {
		t.Errorf("%d logins from %d to %d", len(beats), beats[0].took, beats[len(beats)-1].took)
	}
	p.Reconciled(remediate.Snapshot{Target: "b", Nodes: []remediate.NodeSnapshot{{Node: target.Node{Name: "n"}}}})
	if len(p.logins["b"]) != 2 {
		t.Error("a view that knows nothing made us forget")
	}
	p.Reconciled(remediate.Snapshot{Target: "b", View: target.View{At: apitest.Noon}, Nodes: []remediate.NodeSnapshot{{Node: target.Node{Name: "n"}}}})
	if len(p.logins["b"]) != 1 || len(p.beats("b", "n")) != keptBeats {
		t.Errorf("kept: %v", p.logins["b"])
	}
	news, stop := p.watch(ofTarget("b"))
	p.Forget("b")
	if stop(); len(p.logins) > 0 || len(news) != 1 {
		t.Errorf("once it is watched no longer: %v, and %d news", p.logins, len(news))
	}
	var none *Pulse
	none.ProbeDone(probe.Result{})
	none.Reconciled(remediate.Snapshot{})
	none.Forget("b")
	if news, stop := none.watch("x"); news != nil || none.beats("b", "n") != nil {
		stop()
		t.Error("no pulse has news")
	}
}

func TestSparkOfShowsHowLongLoginsTookAndWhichFailed(t *testing.T) {
	at := func(d time.Duration, s probe.Status) beat { return beat{apitest.Noon, d, s} }
	s := sparkOf([]beat{
		at(time.Microsecond, probe.Healthy), at(4*time.Millisecond, probe.Healthy), at(time.Minute, probe.Healthy),
		at(3*time.Millisecond, probe.Faulty), at(12*time.Second, probe.Stuck),
	})
	var heights []int
	for _, b := range s.Bars {
		heights = append(heights, b.Height)
		if b.Y+b.Height != sparkHeight || b.X+b.Width > s.Width {
			t.Errorf("a bar stands out: %+v", b)
		}
	}
	if got := fmt.Sprint(heights); got != "[3 6 24 24 24]" {
		t.Errorf("heights %s", got)
	}
	if want := "last 5 logins: 3 good, half of these within 4.0 ms; the last was stuck"; s.Label != want {
		t.Errorf("%q, want %q", s.Label, want)
	}
	if got := sparkOf(nil); got.Label != "no login yet" || got.Width <= 0 {
		t.Errorf("of nothing: %+v", got)
	}
}
