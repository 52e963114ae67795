package httpapi_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cjworkbench/unstuck/auth"
	"github.com/cjworkbench/unstuck/httpapi"
	"github.com/cjworkbench/unstuck/httpapi/apitest"
)

// listening serves a site on loopback, as production does, until the test ends.
func listening(t *testing.T, s *site) (address string) {
	t.Helper()
	return listeningBy(t, s, nil)
}

// listeningBy does so by TLS, if that is given.
func listeningBy(t *testing.T, s *site, by *tls.Config) (address string) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- httpapi.Serve(ctx, s.Log, httpapi.Server{Name: "test", Listener: l, Handler: s.handler, TLS: by})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

// raw sends text as it is, and gives what the server answers before it closes the connection.
func raw(t *testing.T, address, text string) (answers []*http.Response) {
	t.Helper()
	c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(c)
	for {
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			return answers
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Errorf("read an answer: %v", err)
		}
		resp.Body.Close()
		resp.Body = io.NopCloser(strings.NewReader(string(body)))
		answers = append(answers, resp)
	}
}

// posting is a good request of ada's, but for its first line and what more its head has; \n stands for the end of a line.
func posting(first, more, body string) string {
	head := fmt.Sprintf("%s HTTP/1.1\nHost: x\nConnection: close\nAuthorization: Bearer token-of-ada\nContent-Type: application/json\nContent-Length: %d\n%s\n", first, len(body), more)
	return strings.ReplaceAll(head, "\n", "\r\n") + body
}

func TestHostileTricksWithPathsChangeNothing(t *testing.T) {
	s := newSite()
	address := listening(t, s)
	for path, want := range map[string]int{
		"/api/v1/environments/staging%2Fdeploys":                     405, // an environment of that name, to which nobody posts
		"/api/v1/environments/staging%2F..%2Fproduction/deploys":     404,
		"/api/v1/environments/%2e%2e/deploys":                        404,
		"/api/v1/environments/staging%00/deploys":                    404,
		"/api/v1/environments/STAGING/deploys":                       404,
		"/api/v1/environments/staging/deploys%20":                    404,
		"/api/v1/environments/staging/deploys/":                      404,
		"/api/v1/environments/staging/deploys;x=y":                   404,
		"/api/v1/environments/production/../staging/deploys":         307, // and the client must ask again, as itself
		"//api/v1/environments/staging/deploys":                      307,
		"/api/v1/environments/staging/deploys?dry_run=true":          400,
		"/api/v1/environments/staging/deploys?dry_run=true;pretty":   400, // which net/url leaves out
		"/api/v1/environments/staging/deploys?dry_run=%zz":           400,
		"/api/v1/environments/staging/services/front%2Fend/restarts": 404,
		"/api/v1/environments/staging/services/%0a/restarts":         404,
		"/api/v1/operations/..%2f..%2fx/cancel":                      404,
		"http://evil.example/api/v1/nothing":                         404,
	} {
		answers := raw(t, address, posting("POST "+path, "", apitest.DeployBody("")))
		if len(answers) != 1 || answers[0].StatusCode != want {
			t.Errorf("%s: %+v, want %d", path, answers, want)
			continue
		}
		if to := answers[0].Header.Get("Location"); strings.Contains(to, "//") {
			t.Errorf("%s: leads to %s", path, to)
		}
	}
	if len(s.releases.Asked) > 0 {
		t.Errorf("taken on: %+v", s.releases.Asked)
	}
}

func TestHostileHeadersBecomeNobodyElseAndWriteIntoNoAnswer(t *testing.T) {
	s := newSite()
	address := listening(t, s)
	const line = "POST " + apitest.Deploys
	for name, c := range map[string]struct {
		more string
		want int
	}{
		"two tokens":                   {"Authorization: Bearer token-of-bob\n", 401},
		"two keys":                     {"Idempotency-Key: a\nIdempotency-Key: b\n", 400},
		"an ID that ends its line":     {"X-Request-Id: a\rX-Evil: 1\n", 400},
		"an ID with a zero byte":       {"X-Request-Id: a\x00b\n", 400},
		"two lengths":                  {"Content-Length: 3\n", 400},
		"chunks in two encodings":      {"Transfer-Encoding: gzip, chunked\n", 501},
		"another origin":               {"Origin: https://evil.example\n", 403},
		"no origin":                    {"Origin: null\n", 403},
		"another site":                 {"Sec-Fetch-Site: same-site\n", 403},
		"another method by its header": {"X-HTTP-Method-Override: DELETE\nX-Original-URL: /\n", 202},
	} {
		before := len(s.releases.Asked)
		answers := raw(t, address, posting(line, c.more, apitest.DeployBody("")))
		if len(answers) != 1 || answers[0].StatusCode != c.want {
			t.Errorf("%s: %+v, want %d and one answer", name, answers, c.want)
			continue
		}
		if done := len(s.releases.Asked) > before; done != (c.want == 202) {
			t.Errorf("%s: taken on: %t", name, done)
		}
		for header := range answers[0].Header {
			if header == "X-Evil" || strings.HasPrefix(header, "Access-Control-") {
				t.Errorf("%s: the answer has %s", name, header)
			}
		}
	}
	for _, id := range []string{"a b", strings.Repeat("a", 129), "<script>", "é", "a\tb"} {
		answers := raw(t, address, posting("POST "+apitest.Deploys, "X-Request-Id: "+id+"\n", "{}"))
		if len(answers) != 1 || answers[0].Header.Get("X-Request-Id") == id || answers[0].Header.Get("X-Request-Id") != s.audit.Last().RequestID {
			t.Errorf("%q: %+v, want an ID of our own in its place", id, answers)
		}
	}
}

func TestHostileBrowserOfAnotherOriginLearnsAndChangesNothing(t *testing.T) {
	s := newSite()
	address := listening(t, s)
	preflight := "OPTIONS " + apitest.Deploys + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\nOrigin: https://evil.example\r\nAccess-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: authorization\r\n\r\n"
	for _, r := range raw(t, address, preflight) {
		for header := range r.Header {
			if strings.HasPrefix(header, "Access-Control-") {
				t.Errorf("a preflight gets %s: %s", header, r.Header[header])
			}
		}
	}
	for _, first := range []string{"GET /api/v1/environments", "POST " + apitest.Deploys, "GET /nowhere", "POST //x"} {
		for _, r := range raw(t, address, posting(first, "Origin: https://evil.example\n", "{}")) {
			if r.Header.Get("Access-Control-Allow-Origin") != "" || r.Header.Get("Cache-Control") != "no-store" || r.Header.Get("X-Content-Type-Options") != "nosniff" || r.Header.Get("Set-Cookie") != "" {
				t.Errorf("%s: %s", first, r.Header)
			}
		}
	}
}

func TestProblemCannotBeMadeToSayWhatItDoesNot(t *testing.T) {
	s := newSite()
	address := listening(t, s)
	for _, evil := range []string{`%22%2c%22status%22%3a200%2c%22x%22%3a%22`, `%3Cscript%3Ealert(1)%3C/script%3E`, `%e2%80%a8%e2%80%ae`, `%0d%0aX-Evil:%201`} {
		for _, first := range []string{"POST /api/v1/environments/" + evil + "/deploys", "GET /api/v1/environments/" + evil, "GET /" + evil, "POST /api/v1/operations/" + evil + "/cancel"} {
			for _, r := range raw(t, address, posting(first, "", "{}")) {
				body := apitest.BodyOf(t, r.Body)
				p := apitest.Decode[httpapi.Problem](t, []byte(body))
				if p.Status != r.StatusCode || r.StatusCode < 400 || r.Header.Get("X-Evil") != "" || strings.ContainsAny(body, "<>\r\u2028") || r.Header.Get("Content-Type") != "application/problem+json" {
					t.Errorf("%s: %d %s", first, r.StatusCode, body)
				}
			}
		}
	}
}

func TestReadBodyDoesNotWaitForWhatIsTooLargeOrTooSlow(t *testing.T) {
	s := newSite()
	address := listening(t, s)
	const head = "POST " + apitest.Deploys + " HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100000000000\r\n"
	for more, want := range map[string]int{"": 401, "Authorization: Bearer token-of-bob\r\n": 403, "Authorization: Bearer token-of-ada\r\n": 413} {
		text := head + more + "\r\n"
		if want == 413 {
			text += strings.Repeat(" ", httpapi.MaxBody+1)
		}
		c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(c, text); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || resp.StatusCode != want || !resp.Close {
			t.Errorf("%s: %+v, %v, want %d at once, and the end of the connection", more, resp, err, want)
		}
		_ = c.Close()
	}
	synctest.Test(t, func(t *testing.T) {
		s, p := newSite(), apitest.NewPipes()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			done <- httpapi.Serve(ctx, s.Log, httpapi.Server{Name: "test", Listener: p, Handler: s.handler})
		}()
		began := time.Now()
		c, r := p.Dial(t)
		apitest.Send(t, c, strings.Replace(posting("POST "+apitest.Deploys, "", apitest.DeployBody("")), apitest.DeployBody(""), `{"reason":`, 1))
		resp, err := http.ReadResponse(r, nil)
		if err != nil || resp.StatusCode != 400 || time.Since(began) > httpapi.ReadTimeout+time.Second || len(s.releases.Asked) > 0 {
			t.Errorf("half a body: %+v, %v after %s", resp, err, time.Since(began))
		}
		cancel()
		<-done
	})
}

// slowIdentity takes its time to tell that it does not know a token.
type slowIdentity struct {
	asked atomic.Int32
	let   chan struct{}
}

func (i *slowIdentity) Authenticate(context.Context, string) (auth.Caller, error) {
	i.asked.Add(1)
	<-i.let
	return auth.Caller{}, auth.ErrUnknownToken
}

func TestGateLimitsBadTokensThatComeAtTheSameTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite()
		slow := &slowIdentity{let: make(chan struct{})}
		s.Identity = slow
		s.build()
		var group sync.WaitGroup
		var away atomic.Int32
		guess := func(address, token string) {
			group.Go(func() {
				r := apitest.Request("", "POST", apitest.Deploys, "", "Authorization", "Bearer "+token)
				r.RemoteAddr = address
				w := s.ask(r)
				if w.Code == 503 && w.Header().Get("Retry-After") == "1" {
					away.Add(1)
				} else if w.Code != 401 {
					t.Errorf("%d %s", w.Code, w.Body)
				}
			})
		}
		for i := range 2 * httpapi.BadAddress.Burst {
			guess("10.0.0.1:1", fmt.Sprint("guess-", i))
		}
		synctest.Wait()
		if n := int(slow.asked.Load()); n != httpapi.MaxLookupsEach || int(away.Load()) != 2*httpapi.BadAddress.Burst-httpapi.MaxLookupsEach {
			t.Errorf("%d tokens of one address are looked up at once, %d are sent away at once", n, away.Load())
		}
		for i := range 2 * httpapi.MaxLookups {
			guess(fmt.Sprintf("10.0.1.%d:1", i), "guess")
		}
		synctest.Wait()
		if n := int(slow.asked.Load()); n != httpapi.MaxLookups {
			t.Errorf("%d tokens of all addresses are looked up at once, want %d", n, httpapi.MaxLookups)
		}
		close(slow.let)
		group.Wait()
		guess("10.0.0.1:1", "another")
		group.Wait()
		if n := int(slow.asked.Load()); n != httpapi.MaxLookups+1 {
			t.Errorf("afterwards %d were looked up, want one more: who was sent away has not guessed", n)
		}
	})
}

func TestGateCountsNeitherGoodNorUnjudgedTokensAsBad(t *testing.T) {
	s := newSite()
	for i := range 3 * httpapi.BadAddress.Burst {
		if w := s.ask(apitest.Request("ada", "GET", "/api/v1/environments", "")); w.Code != 200 {
			t.Fatalf("request %d: %d %s", i, w.Code, w.Body)
		}
		if w := s.ask(apitest.Request("flaky", "GET", "/api/v1/environments", "")); w.Code != 503 {
			t.Fatalf("request %d: %d %s", i, w.Code, w.Body)
		}
	}
}

func TestGateTellsNoNamesToWhoMaySeeNothing(t *testing.T) {
	s := newSite()
	for _, path := range []string{"/services/secret-service/restarts", "/tasks/secret-task/runs"} {
		w := s.ask(apitest.Request("bob", "POST", "/api/v1/environments/staging"+path, `{"reason":"x"}`))
		if w.Code != 403 || strings.Contains(w.Body.String(), "frontend") || strings.Contains(w.Body.String(), "import-plans") {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	w := s.ask(apitest.Request("bob", "POST", "/api/v1/environments/nowhere/deploys", apitest.DeployBody("")))
	if strings.Contains(w.Body.String(), "staging") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
