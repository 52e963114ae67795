package ui

import (
	"context"
	"errors"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/cjworkbench/unstuck/httpapi/apitest"
	"github.com/cjworkbench/unstuck/httpapi/brokers"
	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/remediate"
	"github.com/cjworkbench/unstuck/remediate/decide"
	"github.com/cjworkbench/unstuck/remediate/store"
	"github.com/cjworkbench/unstuck/target"
)

// page gives what is answered to somebody's browser.
func (s *site) page(who, path string, headers ...string) *httptest.ResponseRecorder {
	r := apitest.Request(who, "GET", path, "", headers...)
	r.Header.Set("Accept", "text/html,application/xhtml+xml")
	return s.ask(r)
}

// words gives what stands on a page, without its tags, each run of spaces as one.
func words(page string) string {
	return strings.Join(strings.Fields(regexp.MustCompile(`<[^>]*>`).ReplaceAllString(page, " ")), " ")
}

func TestHeadlineOfSaysFirstHowThingsAre(t *testing.T) {
	node := func(name string, p decide.Phase) brokers.NodeLine { return brokers.NodeLine{Node: name, Phase: p} }
	targetOf := func(nodes ...brokers.NodeLine) []brokers.Target {
		return []brokers.Target{{Target: "orders", Nodes: nodes}}
	}
	with := func(change func(*brokers.Target)) []brokers.Target {
		all := targetOf(node("a", decide.PhaseHealthy))
		change(&all[0])
		return all
	}
	held := node("a", decide.PhaseConfirmed)
	held.Closed = []decide.Guard{decide.GuardPaused, decide.GuardPeers}
	going := node("a", decide.PhaseConfirmed)
	going.Action = decide.Delete
	for name, c := range map[string]struct {
		brokers []brokers.Target
		want    headline
	}{
		"nothing":           {nil, headline{"No broker is watched that you may see.", "unsure"}},
		"no node yet":       {targetOf(), headline{"No node has been found yet.", "unsure"}},
		"all healthy":       {targetOf(node("a", decide.PhaseHealthy), node("b", decide.PhaseHealthy)), headline{"Everything is healthy: 2 nodes.", "good"}},
		"one is all":        {targetOf(node("a", decide.PhaseHealthy)), headline{"Everything is healthy: 1 node.", "good"}},
		"not seen":          {targetOf(node("a", "")), headline{"a of orders: it has not been probed yet.", "unsure"}},
		"a suspect":         {targetOf(node("a", decide.PhaseSuspect), node("b", decide.PhaseHealthy)), headline{"a of orders: it may be stuck, and that is being confirmed. 1 other node is healthy.", "warn"}},
		"held back":         {targetOf(held), headline{"a of orders: it is stuck, and its deletion is held back by paused, peers.", "bad"}},
		"on its way":        {targetOf(going), headline{"a of orders: it is stuck, and is deleted now.", "bad"}},
		"the worst":         {targetOf(node("a", decide.PhaseUnknown), node("b", decide.PhaseEscalated), node("c", decide.PhaseSuspect)), headline{"b of orders: it was deleted, that did not help, and a person must look at it. 2 other nodes are not healthy besides.", "bad"}},
		"a node is missing": {with(func(b *brokers.Target) { b.Expected = 2 }), headline{"What is seen here is healthy: 1 node. Nodes are missing: orders.", "warn"}},
		"all are missing":   {with(func(b *brokers.Target) { b.Expected, b.Nodes = 2, nil }), headline{"Nodes are missing: orders.", "warn"}},
		"we cannot see":     {with(func(b *brokers.Target) { b.Error = "look at the nodes" }), headline{"What is seen here is healthy: 1 node. Unstuck cannot see or write down all that it needs: orders.", "warn"}},
		"some of all": {
			with(func(b *brokers.Target) {
				b.Expected, b.Error, b.Nodes[0].Phase = 3, "look at the nodes", decide.PhaseSuspect
			}),
			headline{"a of orders: it may be stuck, and that is being confirmed. Nodes are missing: orders. Unstuck cannot see or write down all that it needs: orders.", "warn"},
		},
		"we are behind": {[]brokers.Target{{Target: "orders", Stale: true, Nodes: []brokers.NodeLine{node("a", decide.PhaseHealthy)}}}, headline{"Unstuck itself is behind: it has not looked at orders lately, and what is shown of that is old.", "bad"}},
	} {
		if got := headlineOf(c.brokers); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestPagesOverviewLeadsToTheNodeItsGuardsAndItsIncident(t *testing.T) {
	apitest.AtNoon(t, func(t *testing.T) {
		s := newSite()
		for path, want := range map[string][]string{
			"/status/": {
				"mq-1 of orders: it is stuck, and its deletion is held back by observe-only, paused. 2 other nodes are healthy.",
				"Paused by ada until 13:00:00 UTC : moving disks", "Closed guards: observe-only, paused.", `href="/status/targets/orders/nodes/mq-1"`,
				`href="/status/incidents/20261123t115958z-mq-1-cljy"`,
			},
			"/status/targets/orders": {"3 of 3 nodes are there", "At most 1 of one node and 3 of the broker in 24 hours."},
			"/status/targets/orders/nodes/mq-1": {
				"nothing: the mode is observe, so it is never deleted", "3 of its last 4 probes (login); 3 are needed", "paused by ada until",
				"confirm with <code>rabbitmq-diagnostics maybe_stuck</code> next to the node", "stuck: 6 in login", "opens <time", "in 60 min", "uid-of-mq-1", "15 of 17 are open.",
			},
			"/status/incidents":                            {"mq-1 of orders", "open"},
			"/status/incidents/20261123t115958z-mq-1-cljy": {"first stuck: login", "accepting AMQP connection &lt;0.901.0&gt;", "mq-1 of orders is stuck, and has not been deleted"},
		} {
			w := s.page("ada", path)
			if w.Code != 200 || w.Header().Get("Content-Type") != "text/html; charset=utf-8" {
				t.Fatalf("%s: %d %s", path, w.Code, w.Body)
			}
			for _, text := range want {
				if page := w.Body.String(); !strings.Contains(page, text) && !strings.Contains(words(page), text) {
					t.Errorf("%s does not have %q:\n%s", path, text, words(page))
				}
			}
		}
	})
}

func TestEarliestIsWhenTheNodeMayBeDeleted(t *testing.T) {
	p := decide.DefaultPolicy()
	p.Mode = decide.Remediate
	d := decide.Decision{Phase: decide.PhaseSuspect, At: apitest.Noon, Evidence: decide.Evidence{Since: apitest.Noon.Add(-20 * time.Second)}}
	closed := func(until time.Time) decide.Decision {
		d := d
		d.Guards = []decide.GuardState{{Guard: decide.GuardPeers, Open: true}, {Guard: decide.GuardStartupGrace, Until: until}}
		return d
	}
	observed, healthy, enough, late := p, d, d, d
	late.At = apitest.Noon.Add(time.Minute)
	observed.Mode, healthy.Phase, enough.Evidence.Enough = decide.Observe, decide.PhaseHealthy, true
	for name, c := range map[string]struct {
		policy decide.Policy
		d      decide.Decision
		want   time.Time
	}{
		"the minimum time must pass":        {p, d, apitest.Noon.Add(p.MinDuration - 20*time.Second)},
		"a guard that opens later":          {p, closed(apitest.Noon.Add(time.Hour)), apitest.Noon.Add(time.Hour)},
		"a guard that opens sooner":         {p, closed(apitest.Noon.Add(time.Second)), apitest.Noon.Add(p.MinDuration - 20*time.Second)},
		"a guard that may never open":       {p, closed(time.Time{}), apitest.Noon.Add(p.MinDuration - 20*time.Second)},
		"the minimum time has passed":       {p, late, time.Time{}},
		"only corroboration is missing":     {p, enough, time.Time{}},
		"nothing is deleted while observed": {observed, d, time.Time{}},
		"a node that is healthy":            {p, healthy, time.Time{}},
	} {
		if got := earliest(c.policy, c.d); !got.Equal(c.want) {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func TestUILeadsABrowserToThePageAndEverybodyElseToTheAPI(t *testing.T) {
	s := newSite()
	for _, path := range []string{"/", "/status"} {
		if w := s.page("", path); w.Code != 303 || w.Header().Get("Location") != "/status/" {
			t.Errorf("a browser at %s: %d to %q", path, w.Code, w.Header().Get("Location"))
		}
	}
	if w := s.ask(apitest.Request("", "GET", "/", "", "Accept", "*/*")); w.Code != 200 || w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("curl at /: %d %s", w.Code, w.Header().Get("Content-Type"))
	}
	for path, kind := range map[string]string{"style.css": "text/css; charset=utf-8", "live.js": "text/javascript; charset=utf-8", "icon.svg": "image/svg+xml"} {
		if w := s.page("", "/status/"+path); w.Code != 200 || w.Header().Get("Content-Type") != kind {
			t.Errorf("%s: %d %q", path, w.Code, w.Header().Get("Content-Type"))
		}
	}
	for _, path := range []string{"/status/elsewhere", "/status/shell.html", "/status/targets/nobody", "/status/incidents/none", "/status/../etc/passwd"} {
		if w := s.page("ada", path); w.Code != 404 && w.Code/100 != 3 {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
}

func hostileSite() *site {
	s := newSite()
	snapshot, c := apitest.Decided(), apitest.OneIncident()
	for i := range snapshot.Nodes {
		n := &snapshot.Nodes[i]
		n.Host, n.Address, n.Decision.Reason, n.Decision.Evidence.CorroborationDetail = apitest.Hostile, apitest.Hostile, apitest.Hostile, apitest.Hostile
		for j := range n.Decision.Guards {
			n.Decision.Guards[j].Why = apitest.Hostile
		}
		for j := range n.Latest {
			n.Latest[j].Detail = apitest.Hostile
			n.Latest[j].Processes = &probe.Processes{Top: []probe.Stack{{Count: 1, Frames: []string{apitest.Hostile}}}}
		}
	}
	snapshot.Error, snapshot.Pauses[0].Reason, snapshot.Pauses[0].By = apitest.Hostile, apitest.Hostile, apitest.Hostile
	snapshot.Deletions = []decide.Deletion{{ID: apitest.Hostile, Incident: apitest.Hostile, Node: apitest.Hostile, Why: apitest.Hostile}}
	c.Decision, c.Results, c.Outcome = snapshot.Nodes[1].Decision, snapshot.Nodes[1].Latest, apitest.Hostile
	c.Logs, c.Cluster, c.LockHolder, c.Peer = []target.LogLine{{Text: apitest.Hostile}}, apitest.Hostile, apitest.Hostile, apitest.Hostile
	c.Missing, c.Events = []string{apitest.Hostile}, []store.Event{{Text: apitest.Hostile}}
	c.Deletion = &decide.Deletion{NewUID: apitest.Hostile, Manual: &decide.Manual{By: apitest.Hostile, Reason: apitest.Hostile, Override: []decide.Guard{apitest.Hostile}}}
	s.Brokers.Snapshots = func() []remediate.Snapshot { return []remediate.Snapshot{snapshot} }
	s.Brokers.Incidents = func(context.Context) ([]store.Incident, error) { return []store.Incident{c}, nil }
	s.build()
	return s
}

// hostilePages are those on which the hostile text stands.
var hostilePages = []string{"/status/", "/status/targets/orders", "/status/targets/orders/nodes/mq-1", "/status/incidents", "/status/incidents/" + apitest.OneIncident().ID}

func TestUIShowsHostileTextOnlyAsText(t *testing.T) {
	s := hostileSite()
	for _, path := range append(hostilePages, "/status/%3Cscript%3Ealert(1)%3C%2Fscript%3E") {
		w := s.page("ada", path)
		page := w.Body.String()
		for _, bad := range []string{"<script>d", "<img", "<script>alert", `"'>`} {
			if strings.Contains(page, bad) {
				t.Errorf("%s has %q", path, bad)
			}
		}
		if w.Code == 200 && !strings.Contains(page, "&lt;script&gt;") {
			t.Errorf("%s does not show the hostile text at all", path)
		}
		csp := w.Header().Get("Content-Security-Policy")
		if !strings.HasPrefix(csp, "default-src 'none'; script-src 'self';") || strings.Contains(csp, "unsafe") {
			t.Errorf("%s: policy %q", path, csp)
		}
	}
}

func TestUIHasNoScriptOrStyleInsideAPage(t *testing.T) {
	s := newSite()
	for _, path := range hostilePages {
		page := s.page("ada", path).Body.String()
		for _, bad := range []string{" style=", "<style", " onclick", "javascript:", "http://", "https://"} {
			if strings.Contains(page, bad) {
				t.Errorf("%s has %q", path, bad)
			}
		}
	}
}

func TestUIShowsEachCallerOnlyWhatTheyMayRead(t *testing.T) {
	s := newSite()
	if page := s.page("bob", "/status/").Body.String(); strings.Contains(page, "mq-1") || !strings.Contains(page, "No broker is watched that you may see.") {
		t.Errorf("bob, who may read nothing, sees %s", words(page))
	}
	for _, path := range hostilePages[1:3] {
		if w := s.page("bob", path); w.Code != 403 || !strings.Contains(w.Body.String(), "bob may not read broker orders") {
			t.Errorf("%s: %d %s", path, w.Code, words(w.Body.String()))
		}
	}
}

func TestPagesOverviewIsShownWithoutIncidentsThatCannotBeRead(t *testing.T) {
	s := newSite()
	s.Brokers.Incidents = func(context.Context) ([]store.Incident, error) { return nil, errors.New("disk gone") }
	s.build()
	w := s.page("ada", "/status/")
	if w.Code != 200 || !strings.Contains(w.Body.String(), "The incidents cannot be read now.") || strings.Contains(w.Body.String(), "disk gone") {
		t.Errorf("%d %s", w.Code, words(w.Body.String()))
	}
	if w := s.page("ada", "/status/incidents"); w.Code != 500 || strings.Contains(w.Body.String(), "disk gone") {
		t.Errorf("%d %s", w.Code, words(w.Body.String()))
	}
}

func TestPagesOverviewShortensABrokerOfManyNodes(t *testing.T) {
	s := newSite()
	snapshot := remediate.Snapshot{Target: "big", At: time.Now()}
	for i := range 300 {
		n := remediate.NodeSnapshot{Node: apitest.NodeOf("n" + string(rune('a'+i/26)) + string(rune('a'+i%26)))}
		n.Decision = decide.Decision{Phase: decide.PhaseHealthy}
		snapshot.Nodes = append(snapshot.Nodes, n)
	}
	snapshot.Nodes[299].Decision.Phase = decide.PhaseSuspect
	s.Brokers.Snapshots = func() []remediate.Snapshot { return []remediate.Snapshot{snapshot} }
	s.build()
	page := s.page("ada", "/status/").Body.String()
	if !strings.Contains(page, snapshot.Nodes[299].Name) || !strings.Contains(page, "288 more nodes") || len(page) > 20_000 {
		t.Errorf("%d bytes: %s", len(page), words(page))
	}
}
