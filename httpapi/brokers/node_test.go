package brokers

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cjworkbench/unstuck/httpapi"
	"github.com/cjworkbench/unstuck/httpapi/apitest"
	"github.com/cjworkbench/unstuck/release/plan"
	"github.com/cjworkbench/unstuck/remediate"
	"github.com/cjworkbench/unstuck/remediate/decide"
	"github.com/cjworkbench/unstuck/remediate/store"
	"github.com/cjworkbench/unstuck/target"
)

const node1 = "/api/v1/targets/orders/nodes/mq-1"

func TestNodesDeleteGoesByTheGuardsAndTheUID(t *testing.T) {
	for name, c := range map[string]struct {
		body   string
		err    error
		status int
		says   string
		want   *decide.DeleteRequest // that is asked for
	}{
		"guards hold it back": {
			body: `{"reason":"wedged"}`, status: 409, says: "mq-1 is held back by [observe-only paused]; look at the guards",
			want: &decide.DeleteRequest{Reason: "wedged"},
		},
		"one of two is overridden": {
			body: `{"reason":"wedged","override":["paused"]}`, status: 409, says: "held back by [observe-only]",
			want: &decide.DeleteRequest{Reason: "wedged", Override: []decide.Guard{"paused"}},
		},
		"both are overridden": {
			body: `{"reason":"wedged","override":["paused","observe-only"]}`, status: 202, says: `"incident":"20261123t115958z-mq-1-cljy"`,
			want: &decide.DeleteRequest{Reason: "wedged", Override: []decide.Guard{"paused", "observe-only"}},
		},
		"a dry run": {
			body: `{"reason":"wedged","override":["paused","observe-only"],"dry_run":true}`, status: 200, says: `"dry_run":true`,
			want: &decide.DeleteRequest{Reason: "wedged", Override: []decide.Guard{"paused", "observe-only"}, DryRun: true},
		},
		"the UID that is meant": {
			body: `{"reason":"wedged","uid":"uid-of-mq-1"}`, status: 409, says: "held back", want: &decide.DeleteRequest{Reason: "wedged"},
		},
		"the UID of its predecessor": {body: `{"reason":"wedged","uid":"uid-of-old"}`, status: 409, says: "its UID is uid-of-mq-1 now"},
		"no reason":                  {body: `{}`, status: 400, says: "a reason is required"},
		"an endless reason":          {body: `{"reason":"` + strings.Repeat("a", 501) + `"}`, status: 400, says: "at most 500 bytes"},
		"no such guard":              {body: `{"reason":"x","override":["pause"]}`, status: 400, says: `there is no guard`},
		"a guard twice":              {body: `{"reason":"x","override":["paused","paused"]}`, status: 400, says: "comes twice"},
		"all guards at once":         {body: `{"reason":"x","override":"*"}`, status: 400, says: "want a list"},
		"it has gone":                {body: `{"reason":"x"}`, err: target.ErrGone, status: 409, says: "no longer there", want: &decide.DeleteRequest{Reason: "x"}},
		"the cluster rejects it": {
			body: `{"reason":"x"}`, err: fmt.Errorf("delete mq-1: %w", &target.RefusedError{Cause: target.CauseRejected, Err: errors.New("hunter2")}),
			status: 409, says: "nothing was deleted: the request was rejected; see", want: &decide.DeleteRequest{Reason: "x"},
		},
		"another replica leads": {body: `{"reason":"x"}`, err: remediate.ErrNotLeader, status: 409, says: "does not lead", want: &decide.DeleteRequest{Reason: "x"}},
		"a right is missing": {
			body: `{"reason":"x"}`, err: Unable("delete pods in namespace production"), status: 409,
			says: "the cluster does not let Unstuck do it: delete pods in namespace production", want: &decide.DeleteRequest{Reason: "x"},
		},
		"nobody may override that": {
			body: `{"reason":"x"}`, err: &decide.HeldError{Closed: []decide.GuardState{{Guard: "in-flight"}}, Fixed: []decide.Guard{"in-flight"}},
			status: 409, says: "nobody may override: [in-flight]", want: &decide.DeleteRequest{Reason: "x"},
		},
	} {
		s := newSite()
		s.keeper.Err = c.err
		w := s.post(node1+"/deletions", c.body)
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.says) {
			t.Errorf("%s: %d %s, want %d and %s", name, w.Code, w.Body, c.status, c.says)
		}
		if (w.Code == 202) != (w.Header().Get("Location") == "/api/v1/incidents/20261123t115958z-mq-1-cljy") {
			t.Errorf("%s: Location %q", name, w.Header().Get("Location"))
		}
		var want []decide.DeleteRequest
		if c.want != nil {
			c.want.Node, c.want.UID, c.want.By, c.want.From = "mq-1", "uid-of-mq-1", "ada", "192.0.2.1"
			want = []decide.DeleteRequest{*c.want}
		}
		if diff := cmp.Diff(want, s.keeper.Deleted); diff != "" {
			t.Errorf("%s: asked for -want +got\n%s", name, diff)
		}
		if a := s.audit.Last(); c.want != nil && (a.Action != "delete node mq-1 of broker orders" || len(a.Override) != len(c.want.Override) || a.Reason != c.want.Reason) {
			t.Errorf("%s: audit %+v", name, a)
		}
	}
}

func TestNodeGuardsThatAreClosedAreNamedWithWhatTheySay(t *testing.T) {
	p := apitest.Decode[httpapi.Problem](t, newSite().post(node1+"/deletions", `{"reason":"x"}`).Body.Bytes())
	if p.Code != plan.NotReady || len(p.Closed) != 2 || p.Closed[1].Why != "paused by ada: moving disks" {
		t.Errorf("%+v", p)
	}
}

func TestNodesProbeIsMadeOnDemand(t *testing.T) {
	s := newSite()
	for _, body := range []string{"", "{}"} {
		if w := s.post(node1+"/probes", body); w.Code != 202 || w.Header().Get("Location") != node1 {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	}
	if len(s.keeper.Probed) != 2 || s.keeper.Probed[0] != "orders/mq-1" {
		t.Errorf("probed %q", s.keeper.Probed)
	}
	for path, status := range map[string]int{
		"/api/v1/targets/orders/nodes/mq-9/probes": 404, "/api/v1/targets/nobody/nodes/mq-1/probes": 404, "/api/v1/targets/orders/nodes/mq-9/deletions": 404,
	} {
		if w := s.post(path, `{}`); w.Code != status {
			t.Errorf("%s: %d %s, want %d", path, w.Code, w.Body, status)
		}
	}
	for _, path := range []string{node1 + "/probes", node1 + "/deletions", "/api/v1/targets/orders/nodes/mq-9/probes"} {
		if w := s.ask(apitest.Request("ci", "POST", path, `{}`)); w.Code != 403 {
			t.Errorf("ci: %s: %d %s, want 403", path, w.Code, w.Body)
		}
	}
}

func TestPausesHaveAReasonAndAnEnd(t *testing.T) {
	apitest.AtNoon(t, func(t *testing.T) {
		for body, until := range map[string]string{
			`{"reason":"disks","for":"90m"}`:                                        "2026-11-23T13:30:00Z",
			`{"reason":"disks","for":"744h"}`:                                       "2026-12-24T12:00:00Z",
			`{"reason":"disks","until":"2026-11-24T01:00:00Z"}`:                     "2026-11-24T01:00:00Z",
			`{"reason":"disks","until":"2026-11-24T01:00:00+01:00"}`:                "2026-11-24T00:00:00Z",
			`{"reason":"disks","for":"1ns"}`:                                        "2026-11-23T12:00:01Z",
			`{"reason":"disks"}`:                                                    "",
			`{"for":"1h"}`:                                                          "",
			`{"reason":"disks","for":"1h","until":"2026-11-24T01:00:00Z"}`:          "",
			`{"reason":"disks","for":"745h"}`:                                       "",
			`{"reason":"disks","for":"2562047h"}`:                                   "",
			`{"reason":"disks","for":"40d"}`:                                        "",
			`{"reason":"disks","for":"-1h"}`:                                        "",
			`{"reason":"disks","for":"for ever"}`:                                   "",
			`{"reason":"disks","until":"2026-11-23T12:00:00Z"}`:                     "",
			`{"reason":"disks","until":"tomorrow"}`:                                 "",
			`{"reason":"disks","until":"2126-11-24T01:00:00Z"}`:                     "",
			`{"reason":"` + strings.Repeat("disks", 101) + `","for":"1h"}`:          "",
			`{"reason":"disks","for":"1h","target":"orders"}`:                       "",
			`{"reason":"disks","until":"2026-11-24T01:00:00Z","until":"tomorrow" }`: "",
		} {
			s := newSite()
			s.keeper.Kept = nil
			w := s.post("/api/v1/targets/orders/pauses", body)
			if until == "" {
				if w.Code != 400 || len(s.keeper.Kept) > 0 {
					t.Errorf("%s: %d %s, want 400", body, w.Code, w.Body)
				}
				continue
			}
			end, err := time.Parse(time.RFC3339, until)
			if err != nil {
				t.Fatal(err)
			}
			want := []decide.Pause{{Target: "orders", Reason: "disks", By: "ada", Until: end}}
			want[0].ID = store.PauseID(want[0])
			if diff := cmp.Diff(want, s.keeper.Kept); w.Code != 201 || diff != "" || w.Header().Get("Location") != "/api/v1/pauses/"+want[0].ID {
				t.Errorf("%s: %d %s\n%s", body, w.Code, w.Body, diff)
			}
		}
	})
}

func TestPausesOfABrokerEndWithoutThoseOfEveryBroker(t *testing.T) {
	apitest.AtNoon(t, func(t *testing.T) {
		s := newSite()
		s.keeper.Kept = append(s.keeper.Kept, decide.Pause{Target: "orders", Reason: "over", By: "ada", Until: apitest.Noon.Add(-time.Hour)})
		if w := s.post("/api/v1/pauses", `{"reason":"upgrade","for":"10m"}`); w.Code != 201 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		list := func(w PauseList) (texts []string) {
			for _, p := range w.Pauses {
				texts = append(texts, p.Target+":"+p.Reason)
			}
			return texts
		}
		for _, c := range []struct {
			who, method, path string
			status            int
			left              string
		}{
			{"ada", "GET", "/api/v1/pauses", 200, ":upgrade orders:moving disks"},
			{"bob", "GET", "/api/v1/pauses", 200, ""}, // who may see no broker sees no pause
			{"ci", "DELETE", "/api/v1/pauses", 403, ""},
			{"ci", "DELETE", "/api/v1/targets/orders/pauses", 403, ""},
			{"ada", "DELETE", "/api/v1/targets/nobody/pauses", 404, ""},
			{"ada", "DELETE", "/api/v1/targets/orders/pauses", 200, ":upgrade"},
			{"ada", "DELETE", "/api/v1/pauses", 200, ""},
		} {
			body := map[string]string{"DELETE": `{"reason":"it is over"}`}[c.method]
			w := s.ask(apitest.Request(c.who, c.method, c.path, body))
			if got := strings.Join(list(apitest.Decode[PauseList](t, w.Body.Bytes())), " "); w.Code != c.status || got != c.left {
				t.Errorf("%s: %s %s: %d %s, want %d and %q", c.who, c.method, c.path, w.Code, w.Body, c.status, c.left)
			}
		}
	})
}

func TestPausesForABrokerThatIsNotWatchedAreShownAndNamed(t *testing.T) {
	apitest.AtNoon(t, func(t *testing.T) {
		s := newSite()
		s.keeper.Kept = append(s.keeper.Kept, decide.Pause{Target: "ordres", Reason: "upgrade", By: "eve", Until: apitest.Noon.Add(time.Minute)})
		list := apitest.Decode[PauseList](t, s.ask(apitest.Request("ada", "GET", "/api/v1/pauses", "")).Body.Bytes())
		if len(list.Pauses) != 2 || list.Pauses[0].Target != "ordres" || !slices.Equal(list.Unknown, []string{"ordres"}) {
			t.Errorf("%+v", list)
		}
		w := s.post("/api/v1/targets/orders/pauses", `{"reason":"upgrade","for":"10m"}`)
		if list := apitest.Decode[PauseList](t, w.Body.Bytes()); w.Code != 201 || !slices.Equal(list.Unknown, []string{"ordres"}) {
			t.Errorf("of one broker, which it holds too: %d %s", w.Code, w.Body)
		}
	})
}
