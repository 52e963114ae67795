package ui

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/cjworkbench/unstuck/httpapi/apitest"
	"github.com/cjworkbench/unstuck/remediate"
	"github.com/cjworkbench/unstuck/remediate/decide"
)

// signIn signs somebody in as people do.
func (b *tab) signIn(who string) {
	b.t.Helper()
	b.open("/status/sign-in")
	b.do(chromedp.SendKeys(chromedp.CSS("#token"), "token-of-"+who+kb.Enter))
	b.sees("header", "Signed in as "+who)
}

// tabTo presses the tabulator until an element has the focus, as somebody without a mouse does.
func (b *tab) tabTo(selector string) {
	b.t.Helper()
	for range 80 {
		if eval[bool](b, fmt.Sprintf("document.activeElement.matches(%q)", selector)) {
			return
		}
		b.do(chromedp.KeyEvent(kb.Tab))
	}
	b.t.Fatalf("no way to %s by keyboard", selector)
}

func TestBrowserStartsADeployByKeyboardAlone(t *testing.T) {
	t.Parallel()
	s := newSite()
	b := browse(t, s.handler)
	b.open("/status/environments/production")
	b.until("document.querySelector('#token')") // it asks who we are first
	b.tabTo("#token")
	b.do(chromedp.KeyEvent("token-of-ada" + kb.Enter))
	b.sees("h1", "production") // where we wanted to go
	b.tabTo(`a[href$="/production/deploy"]`)
	b.do(chromedp.KeyEvent(kb.Enter))
	b.sees("h1", "Deploy to production")
	b.tabTo("#commit")
	b.do(chromedp.KeyEvent(apitest.NewCommit + kb.Tab + "nightly" + kb.Enter))
	b.sees("h2", "This would be done")
	b.sees("ol", "roll frontend-deployment, pod by pod")
	b.tabTo("#typed")
	b.do(chromedp.KeyEvent("production" + kb.Enter))
	b.sees("#headline", "deploy 9b8a7c6 to production: about to begin.")
	b.sees("#live", "It is shown as it happens.")

	op := s.releases.Kept["deploy-20261123t120000-a7k2m9xq"]
	op.Version, op.Phase, op.Steps[0].Phase = 2, "running", "succeeded"
	op.Steps[1].Phase, op.Steps[1].Detail = "running", "1 of 2 pods is new"
	s.releases.Put(op)
	b.sees("#headline", "step 2 of 2, roll frontend-deployment, pod by pod")
	b.sees("#steps", "1 of 2 pods is new")
	op.Version, op.Phase, op.Outcome = 3, "succeeded", "done"
	s.releases.Put(op)
	b.sees("#headline", "deploy 9b8a7c6 to production: done.")
	b.quiet()

	b.tabTo("header button")
	b.do(chromedp.KeyEvent(kb.Enter))
	b.sees("h1", "Sign in")
	b.open("/status/environments/production")
	b.until("document.querySelector('#token')")
}

func TestBrowserRefusesWhoeverMayNotToo(t *testing.T) {
	t.Parallel()
	s := newSite()
	b := browse(t, s.handler)
	b.open("/status/sign-in")
	b.do(chromedp.SendKeys(chromedp.CSS("#token"), "token-of-eve"+kb.Enter))
	b.sees("#problem", "the token is unknown or has expired")
	b.signIn("bob")
	b.sees("#headline", "No broker is watched that you may see.")
	b.open("/status/environments/production/deploy")
	b.sees("#problem", "bob may not deploy environment production")
	if cookie := eval[string](b, "document.cookie"); cookie != "" {
		t.Errorf("a script reads the cookie %q", cookie)
	}
	if len(s.releases.Asked) != 0 {
		t.Errorf("asked for %+v", s.releases.Asked)
	}
}

func TestBrowserIsAskedToSignInAgainWhenTheSignInEnds(t *testing.T) {
	t.Parallel()
	s := newSite()
	b := browse(t, s.handler)
	b.signIn("ada")
	b.open("/status/targets/orders")
	b.sees("#live", "It is shown as it happens.")
	if _, err := chromedp.Call(b.ctx, network.ClearBrowserCookies, cdp.Empty{}); err != nil {
		t.Fatal(err)
	}
	b.until("document.querySelector('#token')") // at the next news, or after some seconds without
	if next := eval[string](b, "document.querySelector('[name=next]').value"); next != "/status/targets/orders" {
		t.Errorf("it would lead back to %q", next)
	}
}

// axePages are the pages that everybody must be able to use.
var axePages = []string{
	"/status/", "/status/targets/orders", "/status/targets/orders/nodes/mq-1", "/status/incidents", "/status/incidents/" + apitest.OneIncident().ID,
	"/status/environments/production", "/status/operations", "/status/operations/" + apitest.Finished().ID, "/status/environments/production/deploy",
	"/status/environments/production/tasks/clear-render-cache/run", "/status/targets/orders/nodes/mq-1/delete", "/status/targets/orders/pause", "/status/elsewhere",
	"/status/environments/production/services/frontend/logs", "/status/environments/production/services/frontend/logs?lines=0",
	"/status/environments/production/services/frontend/env",
}

//promise:39
func TestBrowserShowsEachPageUsablyInLightAndDarkOnAnyScreen(t *testing.T) {
	t.Parallel()
	found, _ := filepath.Glob("../.cache/axe-core/axe-*.min.js")
	if len(found) != 1 {
		t.Fatal("this test needs axe-core, which `make axe` fetches")
	}
	axe, err := os.ReadFile(found[0])
	if err != nil {
		t.Fatal(err)
	}
	s := newSite()
	s.pulse = NewPulse()
	for range 9 {
		s.pulse.ProbeDone(apitest.GoodLogin("mq-0"))
		s.pulse.ProbeDone(apitest.StuckLogin("mq-1", apitest.Noon))
	}
	s.build()
	b := browse(t, s.handler)
	look := func(where string) {
		t.Helper()
		eval[bool](b, string(axe)+"; true")
		for _, wrong := range eval[[]string](b, `axe.run().then((r) => r.violations.map((v) => v.id + ": " + v.help + ": " + v.nodes.map((n) => n.html + " " + n.failureSummary).join("; ")))`) {
			t.Errorf("%s: %s", where, wrong)
		}
		if wide := eval[int](b, "document.documentElement.scrollWidth - document.documentElement.clientWidth"); wide > 0 {
			t.Errorf("%s is %d pixels too wide", where, wide)
		}
	}
	b.open("/status/sign-in")
	look("/status/sign-in")
	b.signIn("ada")
	for _, path := range axePages {
		b.open(path)
		for _, scheme := range []string{"light", "dark"} {
			b.colours(scheme)
			look(path + " " + scheme)
		}
		b.do(chromedp.EmulateViewport(360, 740))
		look(path + " on a phone")
		b.do(chromedp.EmulateViewport(1200, 900))
	}
}

// A node that is not healthy has much said of it, and that took the place of its name.
func TestBrowserLeavesRoomForNamesOfNodesBesideALongReason(t *testing.T) {
	t.Parallel()
	s := newSite()
	snapshot := apitest.Decided()
	d := &snapshot.Nodes[1].Decision
	d.Phase, d.Reason = decide.PhaseRecovering, "deleted; waiting until the new node accepts logins. "+strings.Repeat("It takes its time. ", 9)
	s.Brokers.Snapshots = func() []remediate.Snapshot { return []remediate.Snapshot{snapshot} }
	s.build()
	b := browse(t, s.handler)
	b.signIn("ada")
	for _, width := range []int64{360, 800, 1200} {
		b.do(chromedp.EmulateViewport(width, 900))
		b.open("/status/")
		b.sees("#node-orders-mq-1", "recovering")
		for _, broken := range eval[[]string](b, `[...document.querySelectorAll(".nodes th, .nodes .badge")].filter((e) => {
			const text = document.createRange();
			text.selectNodeContents(e);
			return new Set([...text.getClientRects()].map((line) => line.bottom)).size > 1;
		}).map((e) => e.innerText)`) {
			t.Errorf("at %d pixels this is on more lines than one: %s", width, broken)
		}
	}
}

func TestBrowserRunsNoHostileTextOfOperations(t *testing.T) {
	t.Parallel()
	s := newSite()
	op := apitest.Finished()
	op.Outcome, op.Request.Reason, op.Request.By, op.Request.BugReport = apitest.Hostile, apitest.Hostile, apitest.Hostile, "javascript:alert(1)"
	for i := range op.Steps {
		op.Steps[i].Log, op.Steps[i].Detail = []string{apitest.Hostile}, apitest.Hostile
		if d := op.Steps[i].Diagnosis; d != nil {
			d.Detail, d.Log, d.Events = apitest.Hostile, []string{apitest.Hostile}, []string{apitest.Hostile}
		}
	}
	s.releases.Put(op)
	s.releases.Hostile = true
	b := browse(t, s.handler)
	b.signIn("ada")
	s.ask(apitest.Request("ada", "POST", "/api/v1/environments/production/deploys", `{"commit":"x","reason":`+strconv.Quote(apitest.Hostile)+`}`))
	const service = "/status/environments/production/services/frontend"
	for _, path := range []string{"/status/environments/production", "/status/operations", "/status/operations/" + op.ID, service + "/logs?follow=true", service + "/env"} {
		b.open(path)
		if !strings.HasSuffix(path, "/env") { // which is looked at once
			b.sees("#live", "It is shown as it happens.")
		}
		if !strings.Contains(b.text("main"), `<script>document.title="owned"</script>`) || strings.HasPrefix(eval[string](b, "document.title"), "owned") {
			t.Errorf("%s: title %q, text %s", path, eval[string](b, "document.title"), b.text("main"))
		}
		if n := eval[int](b, "document.querySelectorAll('main script, main img, main [href^=javascript]').length"); n != 0 {
			t.Errorf("%s: %d elements were made of text", path, n)
		}
	}
	b.quiet()
}
