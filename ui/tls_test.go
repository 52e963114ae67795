package ui

import (
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/security"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/cjworkbench/unstuck/httpapi"
	"github.com/cjworkbench/unstuck/httpapi/apitest"
)

// otherHost is a name at which the browser of the tests finds this machine, and does not know that it is this one.
const otherHost = "unstuck.test"

// cookies gives those that the browser would send to the page.
func (b *tab) cookies() []*network.Cookie {
	b.t.Helper()
	kept, err := chromedp.Call(b.ctx, network.GetCookies, network.GetCookiesParams{URLs: []string{b.url + pageRoot + "/"}})
	if err != nil {
		b.t.Fatal(err)
	}
	return kept.Cookies
}

// signInAt signs ada in at an address, and gives the tab.
func signInAt(t *testing.T, url string) *tab {
	t.Helper()
	b := browseAt(t, url)
	if _, err := chromedp.Call(b.ctx, security.SetIgnoreCertificateErrors, security.SetIgnoreCertificateErrorsParams{Ignore: true}); err != nil {
		t.Fatal(err)
	}
	b.open("/status/targets/orders")
	b.until("document.querySelector('#token')")
	b.do(chromedp.SendKeys(chromedp.CSS("#token"), "token-of-ada"+kb.Enter))
	return b
}

func TestTLSSignInIsKeptInACookieThatIsSecure(t *testing.T) {
	t.Parallel()
	s := newSite()
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	cert, key := apitest.Pair(t, otherHost)
	apitest.Write(t, certFile, cert)
	apitest.Write(t, keyFile, key)
	certificate, err := httpapi.NewCertificate(certFile, keyFile, s.Log)
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(listening(t, s, certificate.Config()))
	b := signInAt(t, "https://"+otherHost+":"+port)
	b.sees("header", "Signed in as ada")
	b.sees("h1", "orders") // where we wanted to go
	b.sees("#live", "It is shown as it happens.")
	kept := b.cookies()
	if len(kept) != 1 {
		t.Fatalf("%d cookies are kept", len(kept))
	}
	if c := kept[0]; c.Name != "__Secure-unstuck" || !c.Secure || !c.HTTPOnly || c.SameSite != network.CookieSameSiteStrict || c.Path != pageRoot || c.Domain != otherHost {
		t.Errorf("the cookie is %s of %s%s: Secure %t, HttpOnly %t, SameSite %s", c.Name, c.Domain, c.Path, c.Secure, c.HTTPOnly, c.SameSite)
	}
	if seen := eval[string](b, "document.cookie"); seen != "" {
		t.Errorf("a script reads the cookie %q", seen)
	}
	b.do(chromedp.Click(chromedp.CSS("header button")))
	b.sees("h1", "Sign in")
	if kept := b.cookies(); len(kept) != 0 {
		t.Errorf("signed out, and %s is kept", kept[0].Name)
	}
	b.quiet()
}

func TestTLSMissingIsNamedAsWhyTheSignInWasNotKept(t *testing.T) {
	t.Parallel()
	s := newSite()
	_, port, _ := net.SplitHostPort(listening(t, s, nil))
	b := signInAt(t, "http://"+otherHost+":"+port)
	b.sees("#problem", "the browser did not keep the sign-in. It does so only over TLS, or at localhost")
	if next := eval[string](b, "document.querySelector('[name=next]').value"); !strings.HasPrefix(next, "/status/targets/orders") {
		t.Errorf("it would lead to %q", next)
	}
	if kept := b.cookies(); len(kept) != 0 {
		t.Errorf("%s is kept, and went over the network in the clear", kept[0].Name)
	}
}
