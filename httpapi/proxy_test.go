package httpapi_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/cjworkbench/unstuck/httpapi"
	"github.com/cjworkbench/unstuck/httpapi/apitest"
)

// inFront are the proxies of these tests.
var inFront = httpapi.Proxies{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("fd00:1::/64"), netip.MustParsePrefix("192.0.2.7/32")}

func TestProxiesGiveTheRightMostAddressThatIsNotTrusted(t *testing.T) {
	for _, c := range []struct {
		peer    string
		headers []string
		want    string
	}{
		{"10.1.2.3:99", []string{"198.51.100.1"}, "198.51.100.1"},
		{"10.1.2.3:99", []string{"203.0.113.9, 198.51.100.1"}, "198.51.100.1"}, // the left one is a claim
		{"10.1.2.3:99", []string{"198.51.100.1, 10.1.9.9,192.0.2.7"}, "198.51.100.1"},
		{"10.1.2.3:99", []string{"198.51.100.1", "10.1.9.9"}, "198.51.100.1"},
		{"10.1.2.3:99", []string{"10.1.7.7, 10.1.9.9"}, "10.1.7.7"}, // all are proxies: the first
		{"10.1.2.3:99", []string{"198.51.100.1:4711"}, "198.51.100.1"},
		{"10.1.2.3:99", []string{"[2001:db8::1]:4711"}, "2001:db8::1"},
		{"10.1.2.3:99", []string{"[2001:db8::1]"}, "2001:db8::1"},
		{"10.1.2.3:99", []string{"2001:db8::1"}, "2001:db8::1"},
		{"10.1.2.3:99", []string{"::ffff:198.51.100.1"}, "198.51.100.1"},
		{"[::ffff:10.1.2.3]:99", []string{"198.51.100.1"}, "198.51.100.1"},
		{"[fd00:1::5%eth0]:99", []string{"198.51.100.1"}, "198.51.100.1"},
		{"10.1.2.3:99", []string{"198.51.100.1, unknown, 10.1.9.9"}, "10.1.9.9"}, // nobody knows what came there
		{"10.1.2.3:99", []string{"198.51.100.1, unknown"}, "10.1.2.3"},
		{"10.1.2.3:99", []string{"198.51.100.1, "}, "10.1.2.3"},
		{"10.1.2.3:99", []string{"[198.51.100.1]"}, "10.1.2.3"},
		{"10.1.2.3:99", []string{"[2001:db8::1"}, "10.1.2.3"},
		{"10.1.2.3:99", nil, "10.1.2.3"},
		{"10.2.2.3:99", []string{"198.51.100.1"}, "10.2.2.3"}, // not trusted
		{"192.0.2.8:99", []string{"192.0.2.7"}, "192.0.2.8"},
		{"pipe", []string{"198.51.100.1"}, "pipe"},
	} {
		s := newSite()
		s.Proxies = inFront
		s.build()
		r := apitest.Request("ada", "POST", apitest.Deploys, apitest.DeployBody(""))
		r.RemoteAddr = c.peer
		for _, h := range c.headers {
			r.Header.Add("X-Forwarded-For", h)
		}
		if w := s.ask(r); w.Code != 202 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		if a := s.audit.Last(); a.From != c.want || s.releases.Asked[0].From != c.want {
			t.Errorf("%s, %q: the audit has %s, the operation %s, want %s", c.peer, c.headers, a.From, s.releases.Asked[0].From, c.want)
		}
	}
}

func TestProxiesTellStrangersApartForTheLimits(t *testing.T) {
	apitest.AtNoon(t, func(t *testing.T) {
		for _, trusted := range []bool{true, false} {
			s := newSite()
			if trusted {
				s.Proxies = inFront
			}
			s.build()
			ask := func(who, client string) int {
				r := apitest.Request(who, "GET", "/api/v1/targets", "")
				r.RemoteAddr = "10.1.0.1:1"
				r.Header.Set("X-Forwarded-For", client)
				return s.ask(r).Code
			}
			for i := range httpapi.BadAddress.Burst + 1 { // each claims to be somebody else
				ask("guess"+strings.Repeat("x", i), "203.0.113."+string(rune('1'+i%9))+", 198.51.100.1")
			}
			if code := ask("another", "198.51.100.1"); code != 429 {
				t.Errorf("who guesses: %d", code)
			}
			if code, want := ask("ada", "198.51.100.2"), map[bool]int{true: 200, false: 429}[trusted]; code != want {
				t.Errorf("ada, for the first time, from elsewhere by the same proxy: %d, want %d", code, want)
			}
		}
	})
}
