package httpapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/cjworkbench/unstuck/httpapi/apitest"
)

// pasted are tokens as people have them, and what must not be left of each.
var pasted = map[string]string{
	"of ours":                 "oncall.zR57jjTKFrI2lAVpOMre5pw-h0LIk7LiQdL_Q8E9q0L",
	"of ours, in hexadecimal": "oncall.0f2c9f536b1f4c559d8e0a1b2c3d4e5f0f2c9f536b1f4c559d8e0a1b2c3d4e5f",
	"of ours, half as long":   "ci.0f2c9f536b1f4c559d8e0a1b2c3d4e5f",
	"of ours, in capitals":    "ci.MFRGGZDFMZTWQ2LKNNWG23TPOBYXE43UOV3HO6DZ",
	"of ours, in one case":    "ci-2.mfrggzdfmztwq2lknnwg23tpobyxe43uov3ho6dz",
	"of ours, short":          "ci.Lf3jjTKFrI2lAVpOMre5pw",
	"of Kubernetes":           "eyJhbGciOiJSUzI1NiIsImtpZCI6IkFCQyJ9.eyJzdWIiOiJzeXN0ZW06c2VydmljZWFjY291bnQ6eCJ9.c2lnbmF0dXJl-Aa0_",
	"a secret alone":          "zR57jjTKFrI2lAVpOMre5pw-h0LIk7LiQdL_Q8E9q0L",
	"a key in hexadecimal":    "0f2c9f536b1f4c559d8e0a1b2c3d4e5f0f2c9f536b1f4c559d8e0a1b2c3d4e5f",
}

func secretOf(token string) string { return token[len(token)-15:] }

func TestMaskedTakesOutTokensAndLeavesTheRest(t *testing.T) {
	for name, token := range pasted {
		for _, text := range []string{"%s", "I used %s, sorry", "token=%s", "(%s)", "Bearer:%s.", "a\n%s\nb"} {
			if got := masked(fmt.Sprintf(text, token)); strings.Contains(got, secretOf(token)) || !strings.Contains(got, "[masked]") {
				t.Errorf("%s: %q became %q", name, fmt.Sprintf(text, token), got)
			}
		}
		if got := masked("https://unstuck.example/?token=" + token); strings.Contains(got, secretOf(token)) && hasToken(token) {
			t.Errorf("%s in an address: %q", name, got)
		}
	}
	for _, text := range []string{
		apitest.NewCommit, "deploy " + apitest.NewCommit + " again", "uid 0f2c9f53-6b1f-4c55-9d8e-0a1b2c3d4e5f",
		"deploy-20261123t120000-a7k2m9xq", strings.Repeat("frontend-", 9), "a Sentence of Many Words, none of which is long",
		"gcr.io/acme/frontend@sha256:" + strings.Repeat("0a1b2c3d", 8), "4bf92f3577b34da6a3ce929d0e0e4736",
		"https://bugs.example.com/browse/OPS-1234?focusedCommentId=Some-Long-Comment-Title-1",
		"https://docs.google.com/document/d/1BxiMVs0XRA5nFMdKvBdBZjgmUUqptlbs74OgVE2upms/edit",
		"rabbitmq-0.rabbitmq-nodes-of-the-production.production.svc.cluster.local:5672",
		"frontend-deployment-6d5f9c7b9d-abcde.production", "2026-11-23T18:00:00.123456789Z", "",
	} {
		if got := masked(text); got != text {
			t.Errorf("%q became %q", text, got)
		}
	}
}

// Whatever takes text from a client neither keeps a token nor sends it back.
func TestMaskedIsWhatIsKeptAndSentBackOfEveryField(t *testing.T) {
	for name, token := range pasted {
		s := newSite()
		var log bytes.Buffer
		s.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		s.Audit = nil
		s.build()
		quoted := `"seen with ` + token + ` today"`
		for _, c := range []struct{ method, path, body, header string }{
			{"POST", deploys, `{"commit":"` + apitest.NewCommit + `","reason":` + quoted + `,"bug_report":"https://bugs.example/` + token + `"}`, ""},
			{"POST", deploys, `{"commit":"` + token + `","reason":"x"}`, ""},
			{"POST", deploys, deployBody(""), "User-Agent"},
			{"POST", deploys, deployBody(`,"` + token + `":1`), ""},
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
			if strings.Contains(c.body, "bugs.example/") && !hasToken(token) { // a document may be called so
				continue
			}
			var headers []string
			if c.header != "" {
				headers = []string{c.header, token}
			}
			w := s.ask(apitest.Request("ada", c.method, c.path, c.body, headers...))
			kept, _ := json.Marshal([]any{s.releases.Asked, s.keeper.Kept, s.keeper.Deleted})
			for where, text := range map[string]string{"answer": w.Body.String(), "log": log.String(), "record": string(kept)} {
				if strings.Contains(text, secretOf(token)) {
					t.Fatalf("%s, %s %s: the %s has %s", name, c.method, c.path, where, text)
				}
			}
		}
		if s.post(deploys, deployBody(""), "Idempotency-Key", token); hasToken(token) != strings.HasPrefix(s.releases.Asked[len(s.releases.Asked)-1].IdempotencyKey, "masked-") {
			t.Errorf("%s: the key is kept as %+v", name, s.releases.Asked)
		}
		for _, id := range []string{token, "a/" + token} {
			w := s.ask(apitest.Request("ada", "GET", "/api/v1/targets", "", "X-Request-Id", id))
			if got := w.Header().Get("X-Request-Id"); hasToken(token) && strings.Contains(got+log.String(), secretOf(token)) || got == "" {
				t.Errorf("%s: the request's ID is %q", name, got)
			}
		}
	}
}

func TestKeyOfATokenIsTheSameKeyAgainAndNotTheToken(t *testing.T) {
	one, other := pasted["of ours"], pasted["of Kubernetes"]
	if again := keyOf(one); keyOf("build-1234") != "build-1234" || keyOf(one) != again || keyOf(one) == keyOf(other) || strings.Contains(keyOf(one), one[7:]) {
		t.Errorf("%q %q %q", keyOf("build-1234"), keyOf(one), keyOf(other))
	}
}
