package ui

import (
	"encoding/base64"
	"errors"
	"net"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/cjworkbench/unstuck/httpapi"
)

// How long somebody stays signed in at most, and the longest token that fits into a cookie, which browsers cut off at
// 4 KiB.
const (
	signInLife    = 8 * time.Hour
	maxSignedWith = 2800
)

// cookieName is the name of the cookie that has the token. Beyond loopback its prefix makes browsers insist on TLS.
func cookieName(r *http.Request) string {
	if mustBeSecure(r) {
		return "__Secure-unstuck"
	}
	return "unstuck"
}

// mustBeSecure says whether the cookie must not travel without TLS: unless a browser has come to this very machine, or
// to the end of a tunnel there. Something in front of us may do the TLS.
func mustBeSecure(r *http.Request) bool {
	host := r.Host
	if h, _, err := net.SplitHostPort(r.Host); err == nil {
		host = h
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return r.TLS != nil || (host != "localhost" && (ip == nil || !ip.IsLoopback()))
}

// cookie makes the cookie. It holds the token itself: there is no session that another replica would not know of, and
// each request is judged anew by who knows the token, so that one that is taken back is worth nothing at once. No
// script can read it, no other site can have it sent, and it goes to no path but the page's.
func cookie(r *http.Request, token string, life time.Duration) *http.Cookie {
	secure := mustBeSecure(r)
	return &http.Cookie{ //nolint:gosec // Secure but for loopback
		Name: cookieName(r), Value: base64.RawURLEncoding.EncodeToString([]byte(token)), Path: pageRoot,
		MaxAge: int(life.Seconds()), Secure: secure, HttpOnly: true, SameSite: http.SameSiteStrictMode,
	}
}

// withToken lets the cookie stand for the header that the API asks for. Only pages come through here: to the API no
// browser is signed in.
func withToken(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		cookies := r.CookiesNamed(cookieName(r))
		if len(cookies) == 1 && r.Header.Get("Authorization") == "" { // of two, somebody else has set one
			if token, err := base64.RawURLEncoding.DecodeString(cookies[0].Value); err == nil {
				r = r.Clone(r.Context())
				r.Header.Set("Authorization", "Bearer "+string(token))
			}
		}
		next.ServeHTTP(w, r)
	})
}

// signInData is what the page to sign in shows.
type signInData struct {
	Next    string // where to go afterwards
	Problem *httpapi.Problem
	Hours   int
}

// signInPage is the page to sign in.
func (p pages) signInPage(w http.ResponseWriter, r *http.Request) {
	d := signInData{Next: nextPage(r.URL.Query().Get("next")), Hours: int(signInLife.Hours())}
	if r.URL.Query().Has("kept") { // what is asked for next had no cookie, or it would have been shown
		d.Problem = httpapi.NewProblem(http.StatusUnauthorized,
			"the browser did not keep the sign-in. It does so only over TLS, or at localhost: use api.tls, something that "+
				"does TLS in front, or kubectl port-forward")
	}
	p.render(w, r, view{name: "sign-in", title: "Sign in", data: d})
}

// signIn takes a token and, if it is somebody's, makes the browser send it from then on. The audit is told.
func (p pages) signIn(w http.ResponseWriter, r *http.Request) {
	a := httpapi.AuditEventOf(r)
	a.Action = "sign in"
	defer func() { p.Record(r.Context(), r, a) }()
	d := signInData{Hours: int(signInLife.Hours()), Next: pageRoot + "/"}
	token, err := p.tokenOf(w, r, &d)
	signed := r
	if err == nil {
		signed = r.Clone(r.Context())
		signed.Header.Set("Authorization", "Bearer "+token)
		signed, err = p.Authenticate(signed)
	}
	if err != nil {
		d.Problem = p.ProblemOf(r, err)
		a.Status, a.Refused = d.Problem.Status, d.Problem.Detail
		p.render(w, r, view{name: "sign-in", title: "Sign in", status: d.Problem.Status, data: d})
		return
	}
	who, _ := httpapi.CallerOf(signed.Context())
	a.By, a.Authority, a.Status = who.Name, who.Authority, http.StatusSeeOther
	http.SetCookie(w, cookie(r, token, signInLife))
	http.Redirect(w, r, pageRoot+"/signed-in?next="+url.QueryEscape(d.Next), http.StatusSeeOther)
}

// tokenOf reads the form of somebody who signs in.
func (p pages) tokenOf(w http.ResponseWriter, r *http.Request, d *signInData) (string, error) {
	if err := httpapi.ReadForm(w, r); err != nil {
		return "", err
	}
	d.Next = nextPage(r.PostForm.Get("next"))
	token := strings.TrimSpace(r.PostForm.Get("token"))
	switch {
	case token == "":
		return "", httpapi.NewProblem(http.StatusBadRequest, "the token is empty")
	case len(token) > maxSignedWith:
		return "", httpapi.NewProblem(http.StatusBadRequest,
			"the token is longer than %d bytes, which no cookie holds: use the command line with it", maxSignedWith)
	}
	return token, nil
}

// afterSignIn goes on to the page that was asked for, or says that the browser has not kept the cookie.
func (p pages) afterSignIn(w http.ResponseWriter, r *http.Request) {
	next := nextPage(r.URL.Query().Get("next"))
	if _, err := r.Cookie(cookieName(r)); errors.Is(err, http.ErrNoCookie) {
		next = pageRoot + "/sign-in?kept&next=" + url.QueryEscape(next)
	}
	http.Redirect(w, r, next, http.StatusSeeOther)
}

func (p pages) signOut(w http.ResponseWriter, r *http.Request) {
	if err := httpapi.ReadForm(w, r); err != nil {
		p.render(w, r, p.trouble(r, err))
		return
	}
	http.SetCookie(w, cookie(r, "", -time.Second))
	http.Redirect(w, r, pageRoot+"/sign-in", http.StatusSeeOther)
}

// toSignIn sends to the page to sign in who has not, and comes back from there.
func toSignIn(w http.ResponseWriter, r *http.Request) {
	http.Redirect(w, r, pageRoot+"/sign-in?next="+url.QueryEscape(r.URL.Path), http.StatusSeeOther)
}

// nextPage gives the path of a page of ours, whatever it is given: nobody is led to another host or to the API.
func nextPage(address string) string {
	u, err := url.Parse(address)
	if err != nil || !strings.HasPrefix(u.Path, pageRoot+"/") || path.Clean(u.Path) != strings.TrimSuffix(u.Path, "/") {
		return pageRoot + "/" // an address with dots in it leads elsewhere than it begins
	}
	return u.EscapedPath()
}
