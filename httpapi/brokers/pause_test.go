package brokers

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cjworkbench/unstuck/auth"
	"github.com/cjworkbench/unstuck/httpapi"
	"github.com/cjworkbench/unstuck/httpapi/apitest"
	"github.com/cjworkbench/unstuck/remediate"
	"github.com/cjworkbench/unstuck/remediate/decide"
)

func TestPausesEndWithAReasonOnly(t *testing.T) {
	for _, path := range []string{"/api/v1/pauses", "/api/v1/targets/orders/pauses"} {
		for _, c := range []struct {
			query, body string
			status      int
			reason      string // in the audit
			detail      string
		}{
			{"", `{"reason":"done"}`, 200, "done", ""},
			{"?reason=it+is+done", "", 200, "it is done", ""},
			{"?reason=it+is+done&pretty", "{}", 200, "it is done", ""},
			{"", "", 400, "", "reason"},
			{"", "{}", 400, "", "reason"},
			{"?reason=", "", 400, "", "reason"},
			{"?reason=+", "", 400, " ", "reason"},
			{"?reason=" + strings.Repeat("x", httpapi.MaxReason+1), "", 400, strings.Repeat("x", httpapi.MaxReason) + "...", "reason"},
			{"?reason=a", `{"reason":"b"}`, 400, "", "twice"},
			{"?reason=a&reason=b", "", 400, "", "twice"},
			{"?why=a", `{"reason":"b"}`, 400, "", `\"why\"`},
			{"", `{"reason":"sdf","x":1`, 400, "", `no field \"x\"`},
			{"", `{"reason":"sdf"`, 400, "", "ends too early"},
			{"", `{"reason":7}`, 400, "", "want a string"},
		} {
			s := newSite()
			before := len(s.keeper.Kept)
			w := s.ask(apitest.Request("ada", "DELETE", path+c.query, c.body))
			if a := s.audit.Last(); w.Code != c.status || !strings.Contains(w.Body.String(), c.detail) || a.Reason != c.reason || a.Status != c.status {
				t.Errorf("DELETE %s%s %s: %d %s, audit %+v", path, c.query, c.body, w.Code, w.Body, a)
			}
			if c.status != 200 && len(s.keeper.Kept) != before {
				t.Errorf("DELETE %s%s %s: a pause was ended", path, c.query, c.body)
			}
		}
	}
}

// callers makes the site know these, and no others.
func (s *site) callers(tokens apitest.Tokens) {
	all := auth.Authorities{{Name: "tokens", Identity: tokens, Access: tokens}}
	s.Identity, s.Access = all, all
	s.build()
}

func TestPausesAreSeenByWhoMayReadWhatTheyAreAbout(t *testing.T) {
	apitest.AtNoon(t, func(t *testing.T) {
		s := newSite()
		orders := apitest.Decided()
		mail := orders
		mail.Target = "mail"
		s.options.Snapshots = func() []remediate.Snapshot { return []remediate.Snapshot{orders, mail} }
		for target, reason := range map[string]string{"": "all", "mail": "mail", "not-watched": "stray"} {
			s.keeper.Kept = append(s.keeper.Kept, decide.Pause{Target: target, Reason: reason, By: "ada", Until: apitest.Noon.Add(2 * time.Hour)})
		}
		s.callers(apitest.Tokens{
			"ada": {{Verbs: auth.Verbs(), Environments: "*", Brokers: "*"}}, "bob": nil,
			"dev":    {{Verbs: []auth.Verb{auth.Deploy}, Environments: "*"}},
			"reader": {{Verbs: []auth.Verb{auth.Read}, Brokers: "mail"}},
			"pauser": {{Verbs: []auth.Verb{auth.Pause}, Brokers: "orders"}},
		})
		ask := func(who, method, path, body string) string {
			w := s.ask(apitest.Request(who, method, path, body))
			list := apitest.Decode[PauseList](t, w.Body.Bytes())
			if stray := slices.ContainsFunc(list.Pauses, func(p decide.Pause) bool { return p.Target == "not-watched" }); w.Code/100 != 2 || stray != (len(list.Unknown) > 0) {
				t.Errorf("%s: %d %s", who, w.Code, w.Body)
			}
			var reasons []string
			for _, p := range list.Pauses {
				reasons = append(reasons, p.Reason)
			}
			slices.Sort(reasons)
			return strings.Join(reasons, ", ")
		}
		for who, want := range map[string]string{"ada": "all, mail, moving disks, stray", "bob": "", "dev": "", "reader": "all, mail", "pauser": "all, moving disks"} {
			if got := ask(who, "GET", "/api/v1/pauses", ""); got != want {
				t.Errorf("%s sees %q, want %q", who, got, want)
			}
		}
		if got := ask("pauser", "POST", "/api/v1/targets/orders/pauses", `{"for":"1h","reason":"mine"}`); got != "all, mine, moving disks" {
			t.Errorf("the answer to who pauses has %q", got)
		}
		if got := ask("pauser", "DELETE", "/api/v1/targets/orders/pauses?reason=x", ""); got != "all" {
			t.Errorf("the answer to who ends pauses has %q", got)
		}
	})
}

func TestPausesAreEndedOneByOneByWhoMayPauseWhatTheyHoldFor(t *testing.T) {
	apitest.AtNoon(t, func(t *testing.T) {
		ofAll := decide.Pause{ID: "pause-0123456789", Reason: "all", By: "eve", Until: apitest.Noon.Add(time.Hour)}
		one := apitest.MovingDisks().ID
		for _, c := range []struct {
			who, id, query string
			status, left   int
		}{
			{"ada", one, "?reason=x", 200, 1},
			{"ada", ofAll.ID, "?reason=x", 200, 1},
			{"pauser", one, "?reason=x", 200, 1},
			{"pauser", ofAll.ID, "?reason=x", 403, 2}, // who is told of it, for it holds for orders, too
			{"reader", one, "?reason=x", 403, 2},
			{"bob", one, "?reason=x", 404, 2}, // who is not told of it
			{"ada", one, "", 400, 2},
			{"ada", "pause-9876543210", "?reason=x", 404, 2},
			{"", one, "?reason=x", 401, 2},
		} {
			s := newSite()
			s.keeper.Kept = append(s.keeper.Kept, ofAll)
			s.callers(apitest.Tokens{
				"ada": {{Verbs: auth.Verbs(), Environments: "*", Brokers: "*"}}, "bob": nil,
				"pauser": {{Verbs: []auth.Verb{auth.Pause}, Brokers: "orders"}},
				"reader": {{Verbs: []auth.Verb{auth.Read}, Brokers: "orders"}},
			})
			path := "/api/v1/pauses/" + c.id
			read := s.ask(apitest.Request(c.who, "GET", path, ""))
			if want := map[bool]int{true: c.status, false: 200}[c.status == 404 || c.status == 401]; read.Code != want {
				t.Errorf("%s reads %s: %d %s", c.who, c.id, read.Code, read.Body)
			}
			w := s.ask(apitest.Request(c.who, "DELETE", path+c.query, ""))
			if a := s.audit.Last(); w.Code != c.status || len(s.keeper.Kept) != c.left || a.Status != c.status {
				t.Errorf("%s ends %s: %d %s, %d are left, audit %+v", c.who, c.id, w.Code, w.Body, len(s.keeper.Kept), a)
			}
		}
	})
}
