package httpapi_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cjworkbench/unstuck/httpapi"
	"github.com/cjworkbench/unstuck/httpapi/apitest"
)

func TestAuditMasksATokenThatIsPastedIntoAnyField(t *testing.T) {
	s := newSite()
	const own = "ci.Lf3jjTKFrI2lAVpOMre5pw-h0LIk7LiQdL_Q8E9q0LK"
	const kubernetes = "eyJhbGciOiJSUzI1NiIsImtpZCI6IkFCQyJ9.eyJzdWIiOiJzeXN0ZW06c2VydmljZWFjY291bnQ6eCJ9.c2lnbmF0dXJl-Aa0_"
	for _, token := range []string{own, kubernetes} {
		for path, body := range map[string]string{
			"/api/v1/environments/" + token + "/deploys":                  apitest.DeployBody(""),
			"/api/v1/environments/staging/tasks/" + token + "/runs":       `{"reason":"x"}`,
			"/api/v1/environments/staging/secrets/" + token + "/restarts": `{"reason":"x"}`,
			"/api/v1/operations/" + token + "/cancel":                     `{"reason":"x"}`,
			"/api/v1/targets/" + token + "/pauses":                        `{"reason":"x"}`,
			"/api/v1/targets/orders/nodes/" + token + "/probes":           ``,
			"/api/v1/targets/orders/nodes/mq-1/deletions":                 `{"reason":"with ` + token + `","override":["` + token + `"]}`,
			"/api/v1/targets/orders/pauses":                               `{"reason":"x","for":"` + token + `"}`,
			apitest.Deploys:                                               `{"commit":"` + token + `","reason":"x"}`,
		} {
			s.post(path, body, "User-Agent", token)
			if a := s.audit.Last(); strings.Contains(fmt.Sprint(a), token[3:20]) || !strings.Contains(fmt.Sprint(a), "[masked]") || a.By != "ada" {
				t.Errorf("%s: the audit has %+v", path, a)
			}
		}
	}
	if all := fmt.Sprint(s.audit.All); strings.Contains(all, own[3:20]) || strings.Contains(all, kubernetes[3:20]) || strings.Count(all, "[masked]") < 18 {
		t.Errorf("%d [masked] in %s", strings.Count(all, "[masked]"), all)
	}
	for _, text := range []string{apitest.NewCommit, "uid 0f2c9f53-6b1f-4c55-9d8e-0a1b2c3d4e5f", "deploy-20261123t120000-a7k2m9xq", strings.Repeat("frontend-", 9), "a Sentence of Many Words, none of which is long"} {
		if got := httpapi.Masked(text); got != text {
			t.Errorf("%q became %q", text, got)
		}
	}
}

// A reason, a client or a path that is written like the fields of the line stays one value, in quotes.
func TestAuditInTheTextLogCannotBeForged(t *testing.T) {
	const forged = `x Override:[] DryRun:true Result: Status:403 Refused:ada may not deploy} audit.status=403 audit.refused="no" status=403`
	for name, send := range map[string]func(*site){
		"reason": func(s *site) {
			s.post(apitest.Deploys, `{"commit":"`+apitest.NewCommit+`","reason":`+strconv.Quote(forged)+`}`)
		},
		"client": func(s *site) { s.post(apitest.Deploys, apitest.DeployBody(""), "User-Agent", forged[:90]) },
		"path": func(s *site) {
			s.post("/api/v1/environments/"+url.PathEscape(forged[:90])+"/deploys", apitest.DeployBody(""))
		},
		"override": func(s *site) {
			s.post("/api/v1/targets/orders/nodes/mq-1/deletions", `{"reason":"x","override":["a b] audit.status=202","c\" \"d"]}`)
		},
		"a line end": func(s *site) {
			s.post("/api/v1/pauses", `{"for":"1h","reason":"x\nlevel=INFO msg=audit audit.status=403"}`)
		},
	} {
		var out bytes.Buffer
		s := newSite()
		s.Audit = httpapi.LogAudit{Log: slog.New(slog.NewTextHandler(&out, nil))}
		s.build()
		send(s)
		line := out.String()
		if strings.Count(line, "\n") != 1 || !strings.HasPrefix(line, "time=") {
			t.Fatalf("%s: %s", name, line)
		}
		keys := map[string]bool{}
		for rest := strings.TrimSpace(line); rest != ""; {
			key, value, _ := strings.Cut(rest, "=")
			if keys[key] || strings.ContainsAny(key, " \"") {
				t.Errorf("%s: the field %q is made up, or comes twice: %s", name, key, line)
			}
			keys[key] = true
			if quoted, err := strconv.QuotedPrefix(value); err == nil {
				rest = strings.TrimPrefix(value[len(quoted):], " ")
			} else {
				_, rest, _ = strings.Cut(value, " ")
			}
		}
		if !keys["audit.status"] || !keys["audit.by"] || !keys["audit.request_id"] {
			t.Errorf("%s: fields are missing: %s", name, line)
		}
	}
}

func TestAuditEventLogValueHasEveryFieldAsJSONNamesIt(t *testing.T) {
	a := httpapi.AuditEvent{At: apitest.Noon}
	v := reflect.ValueOf(&a).Elem()
	for i := range v.NumField() {
		switch f := v.Field(i); f.Kind() {
		case reflect.String:
			f.SetString("a " + v.Type().Field(i).Name)
		case reflect.Int, reflect.Int64:
			f.SetInt(int64(i) + 1)
		case reflect.Bool:
			f.SetBool(true)
		case reflect.Slice:
			f.Set(reflect.ValueOf([]string{"a", "b"}))
		}
	}
	for _, event := range []httpapi.AuditEvent{a, {At: apitest.Noon, RequestID: "r", From: "f", Method: "GET", Path: "/", Status: 200}} {
		var out bytes.Buffer
		httpapi.LogAudit{Log: slog.New(slog.NewJSONHandler(&out, nil))}.Record(t.Context(), event)
		got := apitest.Decode[struct{ Audit map[string]any }](t, out.Bytes()).Audit
		data, _ := json.Marshal(event)
		if want := apitest.Decode[map[string]any](t, data); !equal(got, want) {
			t.Errorf("got  %v\nwant %v", got, want)
		}
	}
}

func TestAuditIsNotFilledByAnybodyWithoutAToken(t *testing.T) {
	apitest.AtNoon(t, func(t *testing.T) {
		s := newSite()
		const flood = 500
		for range flood {
			if w := s.ask(apitest.Request("", "POST", apitest.Deploys, apitest.DeployBody(""))); w.Code != 401 && w.Code != 429 {
				t.Fatalf("%d %s", w.Code, w.Body)
			}
			s.ask(apitest.Request("", "GET", "/api/v1/environments/staging/services/cron/env", ""))
		}
		recorded := len(s.audit.All)
		if recorded != httpapi.AuditEach.Burst {
			t.Errorf("%d lines, want %d", recorded, httpapi.AuditEach.Burst)
		}
		r := apitest.Request("", "POST", apitest.Deploys, apitest.DeployBody(""))
		r.RemoteAddr = "198.51.100.7:1234"
		if s.ask(r); s.audit.Last().From != "198.51.100.7" || s.audit.Last().LeftOut != 2*flood-int64(httpapi.AuditEach.Burst) {
			t.Errorf("from elsewhere: %+v", s.audit.Last())
		}
		for range 3 * flood { // whoever is known and may ask is in it every time
			s.post(apitest.Deploys, apitest.DeployBody(`,"dry_run":true`))
		}
		if got := len(s.audit.All) - recorded - 1; got != 3*flood || s.audit.Last().LeftOut != 0 {
			t.Errorf("%d lines of %d requests", got, 3*flood)
		}
		time.Sleep(time.Minute)
		if s.ask(apitest.Request("", "POST", apitest.Deploys, apitest.DeployBody(""))); s.audit.Last().Status != 401 {
			t.Errorf("after a rest: %+v", s.audit.Last())
		}
	})
}

func TestAuditIsNotFilledByACallerWhoIsTurnedAway(t *testing.T) {
	apitest.AtNoon(t, func(t *testing.T) {
		s := newSite()
		s.Rate = httpapi.Rate{PerSecond: 1, Burst: 1}
		s.build()
		for range 500 {
			s.post(apitest.Deploys, apitest.DeployBody(""))
		}
		if got := len(s.audit.All); got != 1+httpapi.AuditEach.Burst {
			t.Errorf("%d lines, want %d", got, 1+httpapi.AuditEach.Burst)
		}
	})
}

func TestAuditIsNotSwollenByANameInAPath(t *testing.T) {
	s := newSite()
	long := strings.Repeat("s", 12_000)
	for _, who := range []string{"ada", "bob"} {
		w := s.ask(apitest.Request(who, "POST", "/api/v1/environments/staging/secrets/"+long+"/restarts", `{"reason":"it was rotated"}`))
		if a := s.audit.Last(); len(a.Action) > 2*httpapi.MaxReason || len(a.Refused) > 4*httpapi.MaxReason || (who == "bob" && w.Body.Len() > 4*httpapi.MaxReason) {
			t.Errorf("%s: %d bytes in the audit, %d in the answer", who, len(a.Action)+len(a.Refused), w.Body.Len())
		}
	}
}
