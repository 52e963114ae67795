package httpapi

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// ownHost refuses requests on loopback that were meant for another host. A page that has its own name resolve to
// 127.0.0.1 is of one origin with what listens there, and where nobody is asked for a token it could read all of it.
func ownHost(a adapter, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if onLoopback(r) && !namesLoopback(r.Host) {
			a.Fail(w, r, NewProblem(http.StatusForbidden, "this is not %q: ask for localhost, or configure who may call",
				Short(r.Host)))
			return
		}
		next.ServeHTTP(w, r)
	})
}

func onLoopback(r *http.Request) bool {
	at, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	return ok && at.IP.IsLoopback()
}

// namesLoopback says whether a Host names what no name server outside has a say in: localhost, any address, or a
// Service, as which our command line calls what it reaches by port-forward.
func namesLoopback(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
	_, err := netip.ParseAddr(host)
	return err == nil || host == "" || host == "localhost" || strings.HasSuffix(host, ".localhost") ||
		strings.HasSuffix(host, ".svc")
}
