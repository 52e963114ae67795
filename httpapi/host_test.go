package httpapi_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestHostOfAPageThatCallsItselfLocalhostReadsNothing(t *testing.T) {
	o := fixture()
	open := httptest.NewServer(o.api().Handler(nil))
	defer open.Close()
	s := newSite()
	asking := httptest.NewServer(s.handler)
	defer asking.Close()
	for host, want := range map[string]int{
		"": 200, "localhost:8080": 200, "LOCALHOST": 200, "127.0.0.1:1": 200, "[::1]:8080": 200, "unstuck.localhost": 200, "unstuck.unstuck.svc": 200, "10.0.0.1": 200,
		"evil.example": 403, "evil.example:8080": 403, "localhost.evil.example": 403, "127.0.0.1.nip.io:8080": 403, "notlocalhost": 403,
	} {
		for server, want := range map[*httptest.Server]int{open: want, asking: 200} { // who has a token is no page
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/api/v1/targets", http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			r.Host = host
			r.Header.Set("Authorization", "Bearer token-of-ada")
			w, err := server.Client().Do(r)
			if err != nil {
				t.Fatal(err)
			}
			if _ = w.Body.Close(); w.StatusCode != want {
				t.Errorf("host %q: %d, want %d", host, w.StatusCode, want)
			}
		}
	}
}
