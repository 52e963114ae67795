package httpapi

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// Proxies are the networks of the proxies that are believed when they say, as X-Forwarded-For, from where a request
// came to them. Of all others that header is a claim.
type Proxies []netip.Prefix

func (p Proxies) trust(a netip.Addr) bool {
	return slices.ContainsFunc(p, func(network netip.Prefix) bool { return network.Contains(a) })
}

// trusts says whether the other end of a connection is one of them.
func (p Proxies) trusts(remote string) bool {
	a, err := netip.ParseAddrPort(remote)
	return err == nil && p.trust(plain(a.Addr()))
}

// behind has each request that comes by such proxies come from its client: for the limits, the audit and the log alike.
func (p Proxies) behind(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p.trusts(r.RemoteAddr) {
			if client := p.clientOf(r.Header.Values("X-Forwarded-For")); client.IsValid() {
				its := *r
				its.RemoteAddr = netip.AddrPortFrom(client, 0).String()
				r = &its
			}
		}
		next.ServeHTTP(w, r)
	})
}

// clientOf gives the right-most address that is not a trusted proxy's: each proxy puts on the right from where a
// request came to it, and the sender of the request can put anything on the left. Where all are proxies, it is the
// first; where something stands there that is no address, the one right of it; none: there is none.
func (p Proxies) clientOf(headers []string) (client netip.Addr) {
	hops := strings.Split(strings.Join(headers, ","), ",")
	for _, hop := range slices.Backward(hops) {
		a, ok := addressIn(strings.TrimSpace(hop))
		if !ok {
			break
		}
		client = a
		if !p.trust(a) {
			break
		}
	}
	return client
}

// addressIn reads an address as proxies write it: some add a port, and brackets with it.
func addressIn(hop string) (netip.Addr, bool) {
	if a, err := netip.ParseAddrPort(hop); err == nil {
		return plain(a.Addr()), true
	}
	bare, opened := strings.CutPrefix(hop, "[")
	bare, closed := strings.CutSuffix(bare, "]")
	a, err := netip.ParseAddr(bare)
	return plain(a), err == nil && opened == closed && (!opened || a.Is6())
}

// plain gives an address in the one way in which it is compared.
func plain(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }
