package httpapi_test

import (
	"bufio"
	"bytes"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/cjworkbench/unstuck/httpapi/apitest"
)

// FuzzAPIRequests sends requests that are made of any bytes: paths, queries, headers and bodies. Whatever comes, there
// is an answer that is one of ours, and nobody without a token has anything done.
func FuzzAPIRequests(f *testing.F) {
	for _, seed := range []string{
		"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /api/v1/operations?limit=1&cursor=b3BlcmF0aW9ucwo&environment=staging HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer token-of-ada\r\n\r\n",
		"GET /api/v1/targets/a%2Fb%00/nodes/..%2f.. HTTP/1.1\r\nHost: x\r\nAuthorization: bearer  token-of-ada \r\nX-Request-Id: a\r\nAccept: text/event-stream;q=0\r\n\r\n",
		"POST /api/v1/environments/staging/deploys HTTP/1.1\r\nHost: x\r\nIdempotency-Key: k\r\nX-Forwarded-For: 10.0.0.1, [::1]:7\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: 14\r\nAuthorization: Bearer token-of-ada\r\n\r\n{\"reason\":\"x\"}",
		"DELETE /api/v1/pauses/pause-8457f6ef4f?reason=x HTTP/1.1\r\nHost: x\r\nOrigin: null\r\nSec-Fetch-Site: same-origin\r\nAuthorization: Bearer token-of-ada\r\n\r\n",
		"POST /api/v1/pauses HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
		"GET /api/v1/environments/staging/services/frontend/logs?since=10m&lines=7 HTTP/1.1\r\nHost: x\r\nLast-Event-ID: 2026-11-23T11:59:58.5Z\r\nAuthorization: Bearer token-of-ada\r\n\r\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(data)))
		if err != nil {
			return // which the server of net/http answers by itself
		}
		r.RemoteAddr = "192.0.2.1:1234"
		r = r.WithContext(apitest.Cancelled(t)) // streams last as long as what they are about
		s := openSite()
		w := httptest.NewRecorder()
		s.handler.ServeHTTP(w, r)
		checkAnswer(t, r, w)
		known := strings.Contains(r.Header.Get("Authorization"), "token-of-")
		if done := len(s.releases.Asked) + len(s.keeper.Deleted) + len(s.keeper.Probed); !known && (done > 0 || len(s.keeper.Kept) != 1) {
			t.Errorf("%q: somebody without a token has something done", data)
		}
	})
}

// FuzzReadBody sends bodies that are made of any bytes to what takes most kinds of fields.
func FuzzReadBody(f *testing.F) {
	for _, seed := range []string{
		`{"commit":"` + apitest.NewCommit + `","reason":"x","dry_run":true}`, `{"reason":"a","reason":"b"}`, `{"REASON":"x"}`, "{}{}", "[", "null", "\xff", `{"dry_run":1e999}`,
		`{"reason":"\ud800","override":["paused",null]}`, `{"for":"1h","until":"2030-01-01T00:00:00Z","reason":"` + strings.Repeat("é", 300) + `"}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		s := openSite()
		for _, path := range []string{apitest.Deploys, "/api/v1/targets/orders/pauses", "/api/v1/targets/orders/nodes/mq-1/deletions"} {
			w := s.post(path, body)
			checkAnswer(t, apitest.Request("ada", "POST", path, ""), w)
		}
		for _, p := range s.keeper.Kept {
			if strings.TrimSpace(p.Reason) == "" {
				t.Errorf("%q pauses without a reason", body)
			}
		}
		for _, d := range s.keeper.Deleted {
			if strings.TrimSpace(d.Reason) == "" {
				t.Errorf("%q deletes without a reason", body)
			}
		}
	})
}

// FuzzCheckQuery sends queries that are made of any bytes to every list and to the logs.
func FuzzCheckQuery(f *testing.F) {
	for _, seed := range []string{"limit=1&cursor=x", "environment=staging", "lines=1&since=10m&follow=false", "pretty&pretty", "a;b", "%zz", "limit=-1", "since=9999999h", "container=..%2f"} {
		f.Add(seed)
	}
	s := openSite()
	f.Fuzz(func(t *testing.T, query string) {
		for _, path := range []string{"targets", "incidents", "pauses", "environments", "operations", "environments/staging/services/frontend/logs"} {
			r := apitest.Request("ada", "GET", "/api/v1/"+path, "").WithContext(apitest.Cancelled(t))
			r.URL.RawQuery = query
			w := httptest.NewRecorder()
			s.handler.ServeHTTP(w, r)
			checkAnswer(t, r, w)
			if link := w.Header().Get("Link"); link != "" {
				next := strings.TrimSuffix(strings.TrimPrefix(link, "<"), `>; rel="next"`)
				if u, err := url.Parse(next); err != nil || u.Host != "" || u.Path != r.URL.Path || strings.ContainsAny(next, "<>\r\n") {
					t.Errorf("%s?%s: the link is %q", path, query, link)
				}
			}
		}
	})
}
