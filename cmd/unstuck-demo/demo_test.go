package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/cjworkbench/unstuck/apptest"
	"github.com/cjworkbench/unstuck/lab"
)

var screenshots = flag.String("screenshots", "", "the `directory` to put pictures of the page into")

// finder is a terminal that tells the address of the page as soon as the demo has shown it.
type finder struct {
	mu    sync.Mutex
	text  string
	found chan string // with room for one
}

var pageAddress = regexp.MustCompile(`(http://[0-9.:]+/status)/`)

func (f *finder) Write(text []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.found != nil {
		f.text += string(text)
		if m := pageAddress.FindStringSubmatch(f.text); m != nil {
			f.found <- m[1]
			f.found = nil
		}
	}
	return len(text), nil
}

// TestDemoIsFollowedInABrowserFromSuspicionToCure runs the demo, a real RabbitMQ and the daemon, and watches the page
// of the node that is wedged, which is never loaded anew on the way. It runs by itself: seconds count in the demo, and beside
// other brokers and a browser the nodes that are healthy would look stuck too.
//
//promise:38
func TestDemoIsFollowedInABrowserFromSuspicionToCure(t *testing.T) {
	l, err := lab.Start(t.Context(), lab.Options{HandshakeTimeout: handshake, Root: os.Getenv("UNSTUCK_RABBITMQ_ROOT")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	ctx, stop := context.WithTimeout(t.Context(), 4*time.Minute)
	defer stop()
	b := apptest.OpenBrowser(ctx, t, *screenshots) // it is there before the demo begins
	address, ended := make(chan string, 1), make(chan error, 1)
	go func() {
		ended <- runOn(ctx, newShow(&finder{found: address}, func(error) { stop() }), l, true)
		close(address)
	}()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("the demo: %v", err)
		}
	}()
	root, ok := <-address
	if !ok {
		t.Fatal("the demo has not said where the page is")
	}
	b.Do(chromedp.Navigate(root+"/"), chromedp.WaitVisible(chromedp.CSS("#node-lab-rabbit-1 a")))
	b.Do(chromedp.Click(chromedp.CSS("#node-lab-rabbit-1 a")), chromedp.WaitVisible(chromedp.CSS("#guard-peers")))
	b.Eval(recorder)
	for _, wanted := range []string{"it may be stuck", "its successor is awaited", "it is healthy"} {
		b.Eval(fmt.Sprintf("window.next(%q)", wanted))
		if wanted == "it may be stuck" {
			b.Picture("node-dark", "dark", 1100, 1000)
			b.Picture("node-phone", "light", 390, 844)
		}
	}
	t.Logf("the page said: %s", b.Eval("window.seen.join(' | ')"))
	b.Do(chromedp.WaitVisible(chromedp.CSS("#incidents a")), chromedp.Click(chromedp.CSS("#incidents a")), chromedp.WaitVisible(chromedp.CSS("#story")))
	b.Eval(recorder) // the incident is read anew after some seconds
	b.Eval(`window.next("was stuck, was deleted, and what took its place is healthy")`)
	story := b.Eval("document.querySelector('main').textContent")
	for _, want := range []string{"first stuck: login", "deleted; waiting until", "rabbit_reader:auth_phase"} {
		if !strings.Contains(story, want) {
			t.Errorf("the incident does not say %q: %s", want, story)
		}
	}
	b.Picture("incident-light", "light", 1100, 1000)
	b.Do(chromedp.Navigate(root+"/"), chromedp.WaitVisible(chromedp.CSS("#node-lab-rabbit-1 a")))
	b.Picture("overview-light", "light", 1100, 700)
}

// recorder notes what the first sentence of a page has been, which may change faster than anybody can ask. next waits
// until it has been something else that has the text.
const recorder = `
	window.seen = [];
	window.at = 0;
	const look = () => {
		const text = document.querySelector("#headline").innerText;
		if (text !== window.seen.at(-1)) window.seen.push(text);
	};
	new MutationObserver(look).observe(document, {subtree: true, childList: true, characterData: true});
	look();
	window.next = (wanted) => new Promise((done, fail) => {
		setTimeout(() => fail(new Error("no " + wanted + " in " + window.seen.join(" | "))), 150000);
		const timer = setInterval(() => {
			while (window.at < window.seen.length) {
				const text = window.seen[window.at++];
				if (text.includes(wanted)) { clearInterval(timer); done(text); return; }
			}
		}, 50);
	});
	"recording"`
