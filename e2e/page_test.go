package e2e

import (
	"bufio"
	"context"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cjworkbench/unstuck/httpapi/environments"
	"github.com/cjworkbench/unstuck/release/plan"
)

// Who signs in to the page with a token of the cluster may do there what the cluster says, and is told what is missing; and
// a deploy that is started from the page is followed there to its end.
//
//promise:33
//promise:34
func TestPageDeploysForAnAccountAndTellsAnotherWhatIsMissing(t *testing.T) {
	t.Parallel()
	s := sharedStage(t, "paged")
	s.ready()
	if err := shared.Apply(within(t, 10*time.Second), strings.ReplaceAll(accounts, "granted", "paged")); err != nil {
		t.Fatal(err)
	}
	tokens := map[string]string{}
	for _, name := range []string{"deployer", "nobody"} {
		tokens[name] = accountToken(t, "paged", name)
	}
	const environment, form = "/status/environments/paged", "/status/environments/paged/deploy"

	t.Run("a token for something else signs nobody in", func(t *testing.T) {
		b := s.on(t).browse()
		b.open(environment)
		b.fill(url.Values{"token": {accountToken(t, "paged", "deployer", "https://elsewhere.example")}})
		b.shows(http.StatusUnauthorized, "the token is unknown or has expired")
	})
	t.Run("an account without rights is told what is missing", func(t *testing.T) {
		b := s.on(t).browse()
		b.open(environment)
		b.fill(url.Values{"token": {tokens["nobody"]}})
		const nobody = "system:serviceaccount:paged:nobody may not "
		b.shows(http.StatusForbidden, "Signed in as system:serviceaccount:paged:nobody", nobody+"read environment paged: needs the right to list deployments.apps in namespace paged")
		b.open(form)
		const missing = nobody + "deploy environment paged: needs the right to patch deployments.apps frontend-deployment in namespace paged"
		b.shows(http.StatusForbidden, missing)
		b.send(form, url.Values{"step": {"do"}, "commit": {commitTwo}, "reason": {"a test"}, "typed": {"paged"}}, "same-origin")
		b.shows(http.StatusForbidden, missing)
		b.open("/status/operations")
		b.shows(http.StatusOK, "None is kept")
	})
	t.Run("an account that may deploy does so", func(t *testing.T) {
		s := s.on(t)
		b := s.browse()
		b.open(environment)
		b.shows(http.StatusOK, "Sign in")
		b.fill(url.Values{"token": {tokens["deployer"]}})
		b.shows(http.StatusOK, "Signed in as system:serviceaccount:paged:deployer", "every service runs 1111111",
			"Run import-plans: system:serviceaccount:paged:deployer may not task import-plans of environment paged: needs the right to create pods/exec in namespace paged")
		if !strings.Contains(b.page, `href="`+form+`"`) {
			t.Errorf("there is no button to deploy: %s", b.text())
		}
		b.open("/status/environments/staging")
		b.shows(http.StatusForbidden, "needs the right to list deployments.apps in namespace staging")

		b.open(form)
		b.fill(url.Values{"commit": {commitTwo}, "reason": {"from the page"}})
		b.shows(http.StatusOK, "This would be done", "roll frontend-deployment, pod by pod", "Type paged to confirm")
		confirmed := b.fields()
		confirmed.Set("typed", "paged")
		b.send(form, confirmed, "cross-site")
		b.shows(http.StatusForbidden, "a page of another origin may not change anything here")
		b.send(form, confirmed, "same-origin")
		operation := b.at
		b.send(form, confirmed, "same-origin") // the button, pressed once more
		if b.at != operation || !strings.HasPrefix(operation, "/status/operations/deploy-") {
			t.Fatalf("the button led to %s, and once more to %s: %s", operation, b.at, b.text())
		}
		b.follow(4*time.Minute, "deploy 2222222 to paged")
		b.shows(http.StatusOK, "Asked for by system:serviceaccount:paged:deployer", "from the page")
		s.at(commitTwo)
		var all environments.OperationLines
		if p := s.ask(http.MethodGet, "/api/v1/operations?environment=paged", nil, &all); p != nil {
			t.Fatal(p)
		}
		if len(all.Operations) != 1 || all.Operations[0].Phase != plan.Succeeded || "/status/operations/"+all.Operations[0].ID != operation {
			t.Errorf("the operations are %+v", all.Operations)
		}
	})
	s.audited(tokens)
}

// audited wants the log to tell who signed in, deployed, and was refused, and to hold no token.
func (s *scene) audited(tokens map[string]string) {
	s.t.Helper()
	ctx := within(s.t, 30*time.Second)
	pods, err := s.installation.Pods(ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	var all strings.Builder
	for _, p := range pods {
		log, err := s.Logs(ctx, p.Name, 100_000)
		if err != nil {
			s.t.Fatal(err)
		}
		all.WriteString(log)
	}
	for name, token := range tokens {
		if strings.Contains(all.String(), token) {
			s.t.Errorf("the token of %s is in the log", name)
		}
	}
	const by = `"by":"system:serviceaccount:paged:`
	for _, want := range [][]string{
		{by + `deployer"`, `"action":"sign in"`, `"status":303`},
		{by + `nobody"`, `"action":"sign in"`, `"status":303`},
		{by + `deployer"`, `"path":"/api/v1/environments/paged/deploys"`, `"reason":"from the page"`, `"status":202`},
	} {
		if !slices.ContainsFunc(strings.Split(all.String(), "\n"), func(line string) bool {
			return !slices.ContainsFunc(want, func(word string) bool { return !strings.Contains(line, word) })
		}) {
			s.t.Errorf("no line of the log has %q", want)
		}
	}
}

// browser is somebody who looks at the page as if through `kubectl port-forward`: at localhost. Each request may come to
// another replica.
type browser struct {
	t      *testing.T
	client http.Client // with its cookies

	at     string // the path of the page that is shown
	status int    // of HTTP
	page   string // its HTML
}

const localhost = "http://localhost"

func (s *scene) browse() *browser {
	s.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return &browser{t: s.t, client: http.Client{Transport: s.client.Transport, Jar: jar}}
}

// open goes to a page.
func (b *browser) open(path string) {
	b.t.Helper()
	b.do(http.MethodGet, path, nil, "none")
}

// fill fills in the form of the page that is shown, and sends it to where it came from.
func (b *browser) fill(values url.Values) {
	b.t.Helper()
	fields := b.fields()
	for name, value := range values {
		if _, there := fields[name]; !there {
			b.t.Fatalf("%s has no field %q, but %v", b.at, name, fields)
		}
		fields[name] = value
	}
	b.send(b.at, fields, "same-origin")
}

// send sends a form, as a page of that kind of site has it sent.
func (b *browser) send(path string, form url.Values, site string) {
	b.t.Helper()
	b.do(http.MethodPost, path, form, site)
}

func (b *browser) do(method, path string, form url.Values, site string) {
	b.t.Helper()
	request, err := http.NewRequestWithContext(within(b.t, 80*time.Second), method, localhost+path, strings.NewReader(form.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	request.Header.Set("Accept", "text/html")
	request.Header.Set("Sec-Fetch-Site", site)
	if method == http.MethodPost {
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		request.Header.Set("Origin", map[bool]string{true: localhost, false: "https://evil.example"}[site == "same-origin"])
	}
	response, err := b.client.Do(request)
	if err != nil {
		b.t.Fatal(err)
	}
	defer response.Body.Close()
	page, err := io.ReadAll(response.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	b.at, b.status, b.page = response.Request.URL.Path, response.StatusCode, string(page)
}

var (
	formField = regexp.MustCompile(`<(?:input|select)[^>]* name="([^"]+)"[^>]*>`)
	valueOf   = regexp.MustCompile(` value="([^"]*)"`)
	markup    = regexp.MustCompile(`<[^>]*>`)
	topicOf   = regexp.MustCompile(` data-topic="([^"]+)"`)
)

// fields gives the fields of the form of the page that is shown, with what is in them.
func (b *browser) fields() url.Values {
	all := url.Values{}
	for _, field := range formField.FindAllStringSubmatch(b.page, -1) {
		value := ""
		if m := valueOf.FindStringSubmatch(field[0]); m != nil {
			value = html.UnescapeString(m[1])
		}
		all.Set(field[1], value)
	}
	return all
}

// text is what there is to read on the page.
func (b *browser) text() string {
	return strings.Join(strings.Fields(html.UnescapeString(markup.ReplaceAllString(b.page, " "))), " ")
}

// shows wants the page to have come with a status, and to say something.
func (b *browser) shows(status int, words ...string) {
	b.t.Helper()
	if b.status != status {
		b.t.Errorf("%s: %d, want %d", b.at, b.status, status)
	}
	for _, w := range words {
		if !strings.Contains(b.text(), w) {
			b.t.Errorf("%s does not say %q: %s", b.at, w, b.text())
		}
	}
}

// follow looks at the page of an operation until that is done, as the page's script does: whenever it is told of a change.
func (b *browser) follow(d time.Duration, what string) {
	b.t.Helper()
	ctx := within(b.t, d)
	topic := topicOf.FindStringSubmatch(b.page)
	if topic == nil {
		b.t.Fatalf("nothing is told of changes of %s: %s", b.at, b.text())
	}
	began, operation := time.Now(), b.at
	var seen []string
	over := func() bool {
		b.open(operation)
		headline := regexp.MustCompile(regexp.QuoteMeta(what) + `: [^.]*\.`).FindString(b.text())
		if len(seen) == 0 || seen[len(seen)-1] != headline {
			seen = append(seen, headline)
		}
		return headline == what+": done."
	}
	for done := false; !done; {
		if ctx.Err() != nil {
			b.t.Fatalf("it is not done after %v: %q: %s", d, seen, b.text())
		}
		done = b.changes(ctx, topic[1], over)
	}
	b.t.Logf("done after %v: %q", time.Since(began).Round(100*time.Millisecond), seen)
	if len(seen) < 3 {
		b.t.Errorf("the page said no more than %q", seen)
	}
}

// changes asks over whenever the server tells of a change, until that says so, or the stream ends: another replica may have
// the next one.
func (b *browser) changes(ctx context.Context, topic string, over func() bool) bool {
	b.t.Helper()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, localhost+"/status/live?of="+url.QueryEscape(topic), nil)
	if err != nil {
		b.t.Fatal(err)
	}
	response, err := b.client.Do(request)
	if err != nil {
		if ctx.Err() == nil {
			b.t.Fatal(err)
		}
		return false
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		b.t.Fatalf("the stream of %s: %s", topic, response.Status)
	}
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		if lines.Text() == "event: changed" && over() {
			return true
		}
	}
	return false
}
