package brokers

import (
	"context"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/cjworkbench/unstuck/httpapi"
	"github.com/cjworkbench/unstuck/httpapi/apitest"
	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/remediate"
	"github.com/cjworkbench/unstuck/remediate/decide"
	"github.com/cjworkbench/unstuck/remediate/store"
	"github.com/cjworkbench/unstuck/target"
)

func TestReadyWhileEveryLoopReconciles(t *testing.T) {
	apitest.AtNoon(t, func(t *testing.T) {
		reconciled := func(name string, ago time.Duration) remediate.Snapshot {
			return remediate.Snapshot{Target: name, At: apitest.Noon.Add(-ago)}
		}
		for name, c := range map[string]struct {
			snapshots []remediate.Snapshot
			want      int
			late      []string
		}{
			"all reconcile":                    {[]remediate.Snapshot{reconciled("a", time.Second), reconciled("b", time.Minute)}, 200, nil},
			"one is late by a nanosecond":      {[]remediate.Snapshot{reconciled("a", 0), reconciled("b", time.Minute+1)}, 503, []string{"b"}},
			"one has never reconciled":         {[]remediate.Snapshot{reconciled("a", 0), {Target: "new"}}, 503, []string{"new"}},
			"one reconciled far in the future": {[]remediate.Snapshot{reconciled("a", -time.Hour)}, 503, []string{"a"}},
			"no broker is watched":             {nil, 503, nil},
			"all are late, and named in order": {[]remediate.Snapshot{{Target: "b"}, {Target: "a"}}, 503, []string{"a", "b"}},
		} {
			s := openSite()
			s.options.Snapshots = func() []remediate.Snapshot { return c.snapshots }
			asked := func(s *site, path string) *httptest.ResponseRecorder {
				w := httptest.NewRecorder()
				httpapi.NewOps(Ready(s.options), nil, s.Log).ServeHTTP(w, apitest.Request("", "GET", path, ""))
				return w
			}
			w := asked(s, "/readyz")
			p := apitest.Decode[struct{ Late []string }](t, w.Body.Bytes())
			if w.Code != c.want || strings.Join(p.Late, " ") != strings.Join(c.late, " ") {
				t.Errorf("%s: %d %s", name, w.Code, w.Body)
			}
			if w := asked(s, "/healthz"); w.Code != 200 {
				t.Errorf("%s: healthz %d, want 200: the process serves", name, w.Code)
			}
		}
	})
}

// Where brokers are looked for there may be none; that nobody knows yet whether there are is another matter.
func TestReadyWithoutABrokerOnceEverythingIsLookedFor(t *testing.T) {
	for _, c := range []struct {
		discovery func() Discovery
		want      int
	}{
		{nil, 503},
		{func() Discovery { return Discovery{} }, 503},
		{func() Discovery { return Discovery{Complete: true} }, 200},
	} {
		_, err := Ready(Options{Snapshots: func() []remediate.Snapshot { return nil }, Discovery: c.discovery})(nil)
		got := 200
		if p, ok := errors.AsType[*httpapi.Problem](err); ok {
			got = p.Status
		}
		if got != c.want {
			t.Errorf("%v: %v, want %d", c.discovery != nil, err, c.want)
		}
	}
}

func TestAPIStaleWhenItsLoopHasNotReconciled(t *testing.T) {
	apitest.AtNoon(t, func(t *testing.T) {
		for _, c := range []struct {
			after time.Duration
			want  bool
		}{{time.Second, true}, {time.Minute, false}} {
			s := openSite()
			s.options.StaleAfter = c.after
			s.build()
			b := apitest.Decode[struct{ Stale bool }](t, s.get("/api/v1/targets/orders").Body.Bytes())
			n := apitest.Decode[struct{ Stale bool }](t, s.get("/api/v1/targets/orders/nodes/mq-1").Body.Bytes())
			if b.Stale != c.want || n.Stale != c.want {
				t.Errorf("two seconds old, stale after %s: broker %t, node %t, want %t", c.after, b.Stale, n.Stale, c.want)
			}
		}
	})
}

func TestAPIExplainsANode(t *testing.T) {
	body := openSite().get("/api/v1/targets/orders/nodes/mq-1").Body.Bytes()
	n := apitest.Decode[struct {
		Seen []struct {
			Result probe.Result
			Means  string
		}
		Guards []struct {
			Guard string
			Open  bool
		}
		Next Next
	}](t, body)
	if len(n.Seen) != 2 || n.Seen[0].Result.Reason != probe.AwaitTune || n.Seen[0].Means != probe.AwaitTune.Verdict().Means {
		t.Errorf("what was seen: %+v", n.Seen)
	}
	if want := len(decide.Guards()) - 1; len(n.Guards) != want { // the last is asked of manual deletions alone
		t.Errorf("%d guards, want each of %d", len(n.Guards), want)
	}
	if want := "nothing: the mode is observe, so it is never deleted, and a person must restart it"; n.Next.What != want {
		t.Errorf("next: %q, want %q", n.Next.What, want)
	}
}

func TestAPIMasksTheLogOfAnIncident(t *testing.T) {
	s := newSite()
	incident := apitest.OneIncident()
	incident.Logs = append(incident.Logs, target.LogLine{At: apitest.Noon, Text: "connect to postgres://me:hunter2@db/x failed"})
	s.options.Incidents = func(context.Context) ([]store.Incident, error) { return []store.Incident{incident}, nil }
	s.build()
	w := s.ask(apitest.Request("ada", "GET", "/api/v1/incidents/"+incident.ID, ""))
	got := apitest.Decode[store.Incident](t, w.Body.Bytes()).Logs
	if len(got) != 2 || got[0] != incident.Logs[0] || got[1].Text != "connect to [masked] failed" || !strings.Contains(incident.Logs[1].Text, "hunter2") {
		t.Errorf("%d %+v", w.Code, got)
	}
}

func TestAPIListsPageByPage(t *testing.T) {
	apitest.AtNoon(t, func(t *testing.T) {
		s := newSite()
		var snapshots []remediate.Snapshot
		var incidents []store.Incident
		s.keeper.Kept = nil
		for _, name := range []string{"c", "a", "b"} {
			snapshots = append(snapshots, remediate.Snapshot{Target: name})
			incidents = append(incidents, store.Incident{ID: name, Target: "a", Opened: apitest.Noon})
			s.keeper.Kept = append(s.keeper.Kept, decide.Pause{ID: name, Until: apitest.Noon.Add(time.Hour)})
		}
		s.options.Snapshots = func() []remediate.Snapshot { return snapshots }
		s.options.Incidents = func(context.Context) ([]store.Incident, error) { return incidents, nil }
		s.build()
		for list, c := range map[string]struct{ key, want string }{"targets": {"target", "a b c"}, "incidents": {"id", "c b a"}, "pauses": {"id", "a b c"}} {
			var got []string
			path := "/api/v1/" + list + "?limit=2"
			for range 3 {
				w := s.get(path)
				page := apitest.Decode[map[string]any](t, w.Body.Bytes())
				for _, one := range page[list].([]any) {
					got = append(got, one.(map[string]any)[c.key].(string))
				}
				link, last := w.Header().Get("Link"), page["next"] == nil
				if last != (link == "") {
					t.Fatalf("%s: next is %v, the link %q", path, page["next"], link)
				}
				if last {
					break
				}
				if !strings.HasPrefix(link, "</api/v1/"+list+"?cursor=") || !strings.HasSuffix(link, `&limit=2>; rel="next"`) {
					t.Errorf("%s: the link is %s", path, link)
				}
				path = strings.TrimSuffix(strings.TrimPrefix(link, "<"), `>; rel="next"`)
			}
			if strings.Join(got, " ") != c.want {
				t.Errorf("%s: %q, want %s", list, got, c.want)
			}
			if w := s.get("/api/v1/" + list + "?cursor=x"); w.Code != 400 || !strings.Contains(w.Body.String(), "want one that a page of "+list+" had as next") {
				t.Errorf("%s with a bad cursor: %d %s", list, w.Code, w.Body)
			}
		}
	})
}
