package web

import (
	"strings"
	"testing"
	"time"
)

func TestNobodyFillsTheAuditWithoutAToken(t *testing.T) {
	atNoon(t, func(t *testing.T) {
		s := newSite()
		const flood = 500
		for range flood {
			if w := s.ask(request("", "POST", deploys, deployBody(""))); w.Code != 401 && w.Code != 429 {
				t.Fatalf("%d %s", w.Code, w.Body)
			}
			s.ask(request("", "GET", "/api/v1/environments/staging/services/cron/env", ""))
		}
		s.attempts.mu.Lock()
		recorded := len(s.attempts.all)
		s.attempts.mu.Unlock()
		if recorded != noiseEach.Burst {
			t.Errorf("%d lines, want %d", recorded, noiseEach.Burst)
		}
		r := request("", "POST", deploys, deployBody(""))
		r.RemoteAddr = "198.51.100.7:1234"
		if s.ask(r); s.attempts.last().From != "198.51.100.7" || s.attempts.last().LeftOut != 2*flood-int64(noiseEach.Burst) {
			t.Errorf("from elsewhere: %+v", s.attempts.last())
		}
		for range 3 * flood { // whoever is known and may ask is in it every time
			s.post(deploys, deployBody(`,"dry_run":true`))
		}
		if got := len(s.attempts.all) - recorded - 1; got != 3*flood || s.attempts.last().LeftOut != 0 {
			t.Errorf("%d lines of %d attempts", got, 3*flood)
		}
		time.Sleep(time.Minute)
		if s.ask(request("", "POST", deploys, deployBody(""))); s.attempts.last().Status != 401 {
			t.Errorf("after a rest: %+v", s.attempts.last())
		}
	})
}

func TestACallerWhoIsTurnedAwayFillsNoAudit(t *testing.T) {
	atNoon(t, func(t *testing.T) {
		s := newSite()
		s.Rate = Rate{PerSecond: 1, Burst: 1}
		s.build()
		for range 500 {
			s.post(deploys, deployBody(""))
		}
		if got := len(s.attempts.all); got != 1+noiseEach.Burst {
			t.Errorf("%d lines, want %d", got, 1+noiseEach.Burst)
		}
	})
}

func TestANameInAPathDoesNotSwellTheAudit(t *testing.T) {
	s := newSite()
	long := strings.Repeat("s", 12_000)
	for _, who := range []string{"ada", "bob"} {
		w := s.ask(request(who, "POST", "/api/v1/environments/staging/secrets/"+long+"/restarts", `{"reason":"it was rotated"}`))
		if a := s.attempts.last(); len(a.Act) > 2*maxReason || len(a.Refused) > 4*maxReason || (who == "bob" && w.Body.Len() > 4*maxReason) {
			t.Errorf("%s: %d bytes in the audit, %d in the answer", who, len(a.Act)+len(a.Refused), w.Body.Len())
		}
	}
}
