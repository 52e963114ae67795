package httpapi

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cjworkbench/unstuck/httpapi/apitest"
)

// serving runs Serve in a bubble, and ends it after the test.
func serving(t *testing.T, h http.Handler, test func(*testing.T, *apitest.Pipes, context.CancelFunc, <-chan error)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		p, done := apitest.NewPipes(), make(chan error, 1)
		go func() {
			done <- Serve(ctx, slog.New(slog.DiscardHandler), Server{Name: "test", Listener: p, Handler: h})
		}()
		test(t, p, cancel, done)
	})
}

func TestServeLetsARequestUnderWayEndFirst(t *testing.T) {
	var release chan struct{}
	h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		<-release
		_, _ = io.WriteString(w, "whole")
	})
	serving(t, h, func(t *testing.T, p *apitest.Pipes, cancel context.CancelFunc, done <-chan error) {
		release = make(chan struct{})
		c, r := p.Dial(t)
		apitest.Send(t, c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		synctest.Wait()
		cancel()
		synctest.Wait() // the server now waits for the request, and for nothing else
		<-p.Closed
		select {
		case err := <-done:
			t.Fatalf("the server ended before the request did: %v", err)
		default:
		}
		close(release)
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "whole" {
			t.Errorf("answer %q, %v, want the whole of it", body, err)
		}
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
}

func TestServeCutsOffARequestThatNeverEndsAtShutdown(t *testing.T) {
	h := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	serving(t, h, func(t *testing.T, p *apitest.Pipes, cancel context.CancelFunc, done <-chan error) {
		c, r := p.Dial(t)
		apitest.Send(t, c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		synctest.Wait()
		if err := c.SetReadDeadline(time.Now().Add(2 * shutdownTimeout)); err != nil {
			t.Fatal(err)
		}
		cancel()
		started := time.Now()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
		if took := time.Since(started); took != shutdownTimeout {
			t.Errorf("shutdown took %s, want %s", took, shutdownTimeout)
		}
		if b, err := io.ReadAll(r); len(b) > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read %q, %v, want the end of the connection", b, err)
		}
	})
}

func TestServeCutsOffAClientThatDripsItsHeaders(t *testing.T) {
	serving(t, New(Options{}).Handler(nil), func(t *testing.T, p *apitest.Pipes, cancel context.CancelFunc, done <-chan error) {
		c, r := p.Dial(t)
		apitest.Send(t, c, "GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ")
		started := time.Now()
		if b, err := io.ReadAll(r); err != nil || len(b) > 0 {
			t.Errorf("read %q, %v, want the end of the connection", b, err)
		}
		if took := time.Since(started); took != readHeaderTimeout {
			t.Errorf("cut off after %s, want %s", took, readHeaderTimeout)
		}
		cancel()
		<-done
	})
}

func TestServeLetsGoOfAnIdleClient(t *testing.T) {
	serving(t, NewOps(nil, nil, nil), func(t *testing.T, p *apitest.Pipes, cancel context.CancelFunc, done <-chan error) {
		c, r := p.Dial(t)
		apitest.Send(t, c, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
		resp, err := http.ReadResponse(r, nil)
		if err != nil || resp.StatusCode != 200 {
			t.Fatalf("answer %v, %v", resp, err)
		}
		defer resp.Body.Close()
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			t.Error(err)
		}
		started := time.Now()
		if b, err := io.ReadAll(r); err != nil || len(b) > 0 {
			t.Errorf("read %q, %v, want the end of the connection", b, err)
		}
		if took := time.Since(started); took != idleTimeout {
			t.Errorf("let go after %s, want %s", took, idleTimeout)
		}
		cancel()
		<-done
	})
}

func TestServeRefusesHugeHeaders(t *testing.T) {
	serving(t, New(Options{}).Handler(nil), func(t *testing.T, p *apitest.Pipes, cancel context.CancelFunc, done <-chan error) {
		c, r := p.Dial(t)
		go func() { // the server stops reading half way
			_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\nX-Huge: "+strings.Repeat("a", 1<<20)+"\r\n\r\n")
		}()
		resp, err := http.ReadResponse(r, nil)
		if err != nil || resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
			t.Fatalf("answer %v, %v, want 431", resp, err)
		}
		defer resp.Body.Close()
		_ = c.Close()
		cancel()
		<-done
	})
}

func TestServeEndsAllWhenOneServerFailsAndSaysWhich(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		good, bad := apitest.NewPipes(), apitest.NewPipes()
		bad.Fail = errors.New("no more sockets")
		var log bytes.Buffer
		err := Serve(t.Context(), slog.New(slog.NewTextHandler(&log, nil)), Server{Name: "api", Listener: good}, Server{Name: "metrics", Listener: bad})
		if want := "serve metrics on pipes: no more sockets"; err == nil || err.Error() != want {
			t.Errorf("error %v, want %q", err, want)
		}
		select {
		case <-good.Closed:
		default:
			t.Error("the other listener is still open")
		}
		if log.Len() > 0 {
			t.Errorf("an error that is returned is not logged too: %s", log.String())
		}
	})
}
