package httpapi_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"

	"github.com/cjworkbench/unstuck/httpapi"
	"github.com/cjworkbench/unstuck/httpapi/apitest"
)

// Whatever takes text from a client neither keeps a token nor sends it back.
func TestMaskedIsWhatIsKeptAndSentBackOfEveryField(t *testing.T) {
	for name, token := range apitest.Pasted {
		s := newSite()
		var log bytes.Buffer
		s.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		s.Audit = nil
		s.build()
		quoted := `"seen with ` + token + ` today"`
		for _, c := range []struct{ method, path, body, header string }{
			{"POST", apitest.Deploys, `{"commit":"` + apitest.NewCommit + `","reason":` + quoted + `,"bug_report":"https://bugs.example/` + token + `"}`, ""},
			{"POST", apitest.Deploys, `{"commit":"` + token + `","reason":"x"}`, ""},
			{"POST", apitest.Deploys, apitest.DeployBody(""), "User-Agent"},
			{"POST", apitest.Deploys, apitest.DeployBody(`,"` + token + `":1`), ""},
			{"POST", "/api/v1/environments/staging/promotions", `{"reason":` + quoted + `,"expect_commit":"` + token + `"}`, ""},
			{"POST", "/api/v1/environments/staging/reverts", `{"reason":` + quoted + `}`, ""},
			{"POST", "/api/v1/environments/staging/services/frontend/restarts", `{"reason":` + quoted + `}`, ""},
			{"POST", "/api/v1/environments/staging/tasks/import-plans/runs", `{"reason":` + quoted + `,"confirm":true}`, ""},
			{"POST", "/api/v1/operations/" + apitest.Running().ID + "/cancel", `{"reason":` + quoted + `}`, ""},
			{"POST", "/api/v1/pauses", `{"for":"1h","reason":` + quoted + `}`, ""},
			{"POST", "/api/v1/targets/orders/pauses", `{"for":"1h","reason":` + quoted + `}`, ""},
			{"POST", "/api/v1/targets/orders/pauses", `{"until":"` + token + `","reason":"x"}`, ""},
			{"POST", "/api/v1/targets/orders/nodes/mq-1/deletions", `{"reason":` + quoted + `}`, ""},
			{"POST", "/api/v1/targets/orders/nodes/mq-1/deletions", `{"reason":"x","uid":"` + token + `"}`, ""},
			{"POST", "/api/v1/targets/orders/nodes/" + token + "/probes", ``, ""},
			{"GET", "/api/v1/targets/" + token, "", ""},
			{"GET", "/api/v1/operations?environment=" + token, "", ""},
			{"GET", "/api/v1/operations?" + token + "=1", "", ""},
			{"GET", "/" + token, "", ""},
			{"PUT", "/api/v1/targets/" + token, "", ""},
			{"GET", "/api/v1/environments/staging/services/frontend/pods/" + token + "/env", "", ""},
			{"GET", "/api/v1/environments/staging/services/frontend/logs?container=" + token, "", ""},
		} {
			if strings.Contains(c.body, "bugs.example/") && !httpapi.HasToken(token) { // a document may be called so
				continue
			}
			var headers []string
			if c.header != "" {
				headers = []string{c.header, token}
			}
			w := s.ask(apitest.Request("ada", c.method, c.path, c.body, headers...))
			kept, _ := json.Marshal([]any{s.releases.Asked, s.keeper.Kept, s.keeper.Deleted})
			for where, text := range map[string]string{"answer": w.Body.String(), "log": log.String(), "record": string(kept)} {
				if strings.Contains(text, apitest.SecretOf(token)) {
					t.Fatalf("%s, %s %s: the %s has %s", name, c.method, c.path, where, text)
				}
			}
		}
		if s.post(apitest.Deploys, apitest.DeployBody(""), "Idempotency-Key", token); httpapi.HasToken(token) != strings.HasPrefix(s.releases.Asked[len(s.releases.Asked)-1].IdempotencyKey, "masked-") {
			t.Errorf("%s: the key is kept as %+v", name, s.releases.Asked)
		}
		for _, id := range []string{token, "a/" + token} {
			w := s.ask(apitest.Request("ada", "GET", "/api/v1/targets", "", "X-Request-Id", id))
			if got := w.Header().Get("X-Request-Id"); httpapi.HasToken(token) && strings.Contains(got+log.String(), apitest.SecretOf(token)) || got == "" {
				t.Errorf("%s: the request's ID is %q", name, got)
			}
		}
	}
}
