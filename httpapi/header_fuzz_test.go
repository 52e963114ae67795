package httpapi

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/cjworkbench/unstuck/httpapi/apitest"
)

// FuzzProxiesClientOf reads X-Forwarded-For as anybody may send it. What comes from a proxy that is trusted is an address,
// and none that the header does not have; of anybody else it is their own.
func FuzzProxiesClientOf(f *testing.F) {
	for _, seed := range []string{"198.51.100.1", "198.51.100.1, 10.1.2.3", "[2001:db8::1]:7, 10.1.0.1:99", "::ffff:10.1.2.3", "fe80::1%eth0", ",,", "unknown", "[::1", "10.1.0.1, 10.1.0.2", "\x00"} {
		f.Add(seed, "10.1.0.1:1")
		f.Add(seed, "203.0.113.7:1")
	}
	proxies := Proxies{netip.MustParsePrefix("10.1.0.0/16")}
	f.Fuzz(func(t *testing.T, header, remote string) {
		r := &http.Request{RemoteAddr: remote, Header: http.Header{"X-Forwarded-For": {header}}}
		var seen string
		proxies.behind(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen = r.RemoteAddr })).ServeHTTP(nil, r)
		if seen == remote {
			return
		}
		at, err := netip.ParseAddrPort(seen)
		if err != nil || !proxies.trusts(remote) {
			t.Fatalf("%q from %q comes from %q", header, remote, seen)
		}
		hops := strings.Split(header, ",")
		for _, said := range slices.Backward(hops) {
			hop, ok := addressIn(strings.TrimSpace(said))
			if !ok {
				t.Fatalf("%q from %q comes from %q, which is left of what is no address", header, remote, seen)
			}
			if hop == at.Addr() {
				return
			}
			if !proxies.trust(hop) {
				t.Fatalf("%q from %q comes from %q, which is left of a stranger", header, remote, seen)
			}
		}
		t.Errorf("%q from %q comes from %q", header, remote, seen)
	})
}

// FuzzMasked takes any text. What comes out is masked as it is, and has no token of those that came in.
func FuzzMasked(f *testing.F) {
	for _, token := range apitest.Pasted {
		f.Add("seen with " + token)
		f.Add("https://x.example/?a=" + token + "," + token)
	}
	f.Add("\xff" + strings.Repeat("é", 40))
	f.Fuzz(func(t *testing.T, text string) {
		once := Masked(text)
		if again := Masked(once); again != once {
			t.Errorf("%q becomes %q, and that %q", text, once, again)
		}
		if cut := Cut(text, 30); !utf8.ValidString(cut) || len(cut) > 30+len("...")+len(maskedText) {
			t.Errorf("%q is cut to %q", text, cut)
		}
	})
}
