// Package apptest has what the tests of the daemon and of the commands share: a real browser, and certificates.
package apptest

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// Browser is a tab of a browser of its own.
type Browser struct {
	t   *testing.T
	tab context.Context

	pictures string
}

// OpenBrowser starts a browser that ends with the test. It fails the test if there is none. Pictures go to the
// directory, if it is not empty.
func OpenBrowser(ctx context.Context, t *testing.T, pictures string) Browser {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatalf("this test needs Chromium, which `make deps` installs: %v", err)
	}
	options := []chromedp.ExecAllocatorOption{
		chromedp.ExecPath(path), chromedp.UserDataDir(t.TempDir()),
		chromedp.WSURLReadTimeout(2 * time.Minute),
	}
	for name, value := range map[string]any{
		"headless": "new", "no-sandbox": true, "disable-gpu": true, "no-first-run": true, "disable-sync": true,
		"disable-dev-shm-usage":         true,
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
	return Browser{t, bounded, pictures}
}

// Do takes steps, and fails the test if one fails.
func (b Browser) Do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.tab, steps...); err != nil {
		b.t.Fatal(err)
	}
}

// Eval gives what an expression is, or what it promises.
func (b Browser) Eval(expression string) string {
	b.t.Helper()
	text, err := chromedp.Run(b.tab, chromedp.Evaluate[string](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatalf("%s: %v", expression, err)
	}
	return text
}

// Picture takes a picture of what is shown, if pictures are wanted.
func (b Browser) Picture(name, scheme string, width, height int64) {
	b.t.Helper()
	if b.pictures == "" {
		return
	}
	media := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{
		Name: "prefers-color-scheme", Value: scheme,
	}}}
	if _, err := chromedp.Call(b.tab, emulation.SetEmulatedMedia, media); err != nil {
		b.t.Fatal(err)
	}
	b.Do(chromedp.EmulateViewport(width, height))
	png, err := chromedp.Run(b.tab, chromedp.CaptureScreenshot())
	if err == nil {
		err = os.WriteFile(filepath.Join(b.pictures, name+".png"), png, 0o644)
	}
	if err != nil {
		b.t.Fatal(err)
	}
}
