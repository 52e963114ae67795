package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

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

// TestTheDemoIsFollowedInABrowserFromSuspicionToCure runs the demo, a real RabbitMQ and the daemon, and watches the page
// of the node that is wedged, which is never loaded anew on the way. It runs by itself: seconds count in the demo, and beside
// other brokers and a browser the nodes that are healthy would look stuck too.
//
//promise:38
func TestTheDemoIsFollowedInABrowserFromSuspicionToCure(t *testing.T) {
	l := <-startLabs(t, 1, lab.Options{HandshakeTimeout: demoHandshake, Root: os.Getenv("UNSTUCK_RABBITMQ_ROOT")})
	ctx, stop := context.WithTimeout(t.Context(), 4*time.Minute)
	defer stop()
	b := openBrowser(ctx, t) // it is there before the demo begins
	address, ended := make(chan string, 1), make(chan error, 1)
	go func() {
		ended <- demoOn(ctx, newScreen(&finder{found: address}, func(error) { stop() }), l, true)
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
	b.do(chromedp.Navigate(root+"/"), chromedp.WaitVisible(chromedp.CSS("#node-lab-rabbit-1 a")))
	b.do(chromedp.Click(chromedp.CSS("#node-lab-rabbit-1 a")), chromedp.WaitVisible(chromedp.CSS("#guard-peers")))
	b.eval(recorder)
	for _, wanted := range []string{"it may be stuck", "its successor is awaited", "it is healthy"} {
		b.eval(fmt.Sprintf("window.next(%q)", wanted))
		if wanted == "it may be stuck" {
			b.picture("node-dark", "dark", 1100, 1000)
			b.picture("node-phone", "light", 390, 844)
		}
	}
	t.Logf("the page said: %s", b.eval("window.seen.join(' | ')"))
	b.do(chromedp.WaitVisible(chromedp.CSS("#incidents a")), chromedp.Click(chromedp.CSS("#incidents a")), chromedp.WaitVisible(chromedp.CSS("#story")))
	b.eval(recorder) // the incident is read anew after some seconds
	b.eval(`window.next("was stuck, was deleted, and what took its place is healthy")`)
	story := b.eval("document.querySelector('main').textContent")
	for _, want := range []string{"first stuck: login", "deleted; waiting until", "rabbit_reader:auth_phase"} {
		if !strings.Contains(story, want) {
			t.Errorf("the incident does not say %q: %s", want, story)
		}
	}
	b.picture("incident-light", "light", 1100, 1000)
	b.do(chromedp.Navigate(root+"/"), chromedp.WaitVisible(chromedp.CSS("#node-lab-rabbit-1 a")))
	b.picture("overview-light", "light", 1100, 700)
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

// browser is a tab of a browser of its own.
type browser struct {
	t   *testing.T
	tab context.Context
}

func openBrowser(ctx context.Context, t *testing.T) browser {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatalf("this test needs Chromium, which `make deps` installs: %v", err)
	}
	options := []chromedp.ExecAllocatorOption{chromedp.ExecPath(path), chromedp.UserDataDir(t.TempDir()), chromedp.WSURLReadTimeout(2 * time.Minute)}
	for name, value := range map[string]any{
		"headless": "new", "no-sandbox": true, "disable-gpu": true, "no-first-run": true, "disable-sync": true, "disable-dev-shm-usage": true,
		"disable-background-networking": true, "disable-component-update": true, "hide-scrollbars": true,
		"host-resolver-rules": "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
	} {
		options = append(options, chromedp.Flag(name, value))
	}
	allocator, end := chromedp.NewExecAllocator(context.WithoutCancel(ctx), options...)
	tab, closeTab := chromedp.NewContext(allocator)
	bounded, stop := context.WithTimeout(tab, 4*time.Minute)
	t.Cleanup(func() {
		stop()
		_ = chromedp.Cancel(tab) // it waits until the browser has ended
		closeTab()
		end()
	})
	if err := chromedp.Do(tab); err != nil {
		t.Fatalf("start the browser: %v", err)
	}
	return browser{t, bounded}
}

func (b browser) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.tab, steps...); err != nil {
		b.t.Fatal(err)
	}
}

// eval gives what an expression is, or what it promises.
func (b browser) eval(expression string) string {
	b.t.Helper()
	text, err := chromedp.Run(b.tab, chromedp.Evaluate[string](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatalf("%s: %v", expression, err)
	}
	return text
}

// picture takes a picture of what is shown, if pictures are wanted.
func (b browser) picture(name, scheme string, width, height int64) {
	b.t.Helper()
	if *screenshots == "" {
		return
	}
	media := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}}
	if _, err := chromedp.Call(b.tab, emulation.SetEmulatedMedia, media); err != nil {
		b.t.Fatal(err)
	}
	b.do(chromedp.EmulateViewport(width, height))
	png, err := chromedp.Run(b.tab, chromedp.CaptureScreenshot())
	if err == nil {
		err = os.WriteFile(filepath.Join(*screenshots, name+".png"), png, 0o644)
	}
	if err != nil {
		b.t.Fatal(err)
	}
}
