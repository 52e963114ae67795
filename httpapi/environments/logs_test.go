package environments

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cjworkbench/unstuck/auth"
	"github.com/cjworkbench/unstuck/httpapi"
	"github.com/cjworkbench/unstuck/httpapi/apitest"
	"github.com/cjworkbench/unstuck/release"
	"github.com/cjworkbench/unstuck/release/plan"
)

const (
	frontend     = "/api/v1/environments/production/services/frontend"
	frontendLogs = frontend + "/logs"
)

func TestLogsThatAreAskedForAreThoseThatAreRead(t *testing.T) {
	apitest.AtNoon(t, func(t *testing.T) {
		for query, want := range map[string]release.LogQuery{
			"":                       {Lines: defaultLines},
			"?lines=7&container=app": {Lines: 7, Container: "app"},
			"?since=10m&pretty":      {Lines: defaultLines, After: apitest.Noon.Add(-10 * time.Minute)},
			"?since=2026-11-23T11%3A00%3A00Z&previous=true": {Lines: defaultLines, After: apitest.Noon.Add(-time.Hour), Previous: true},
			"?follow=false&previous":                        {Lines: defaultLines, Previous: true},
		} {
			s := newSite()
			w := s.ask(apitest.Request("ada", "GET", frontendLogs+query, ""))
			want.Service = "frontend"
			if diff := cmp.Diff([]release.LogQuery{want}, s.releases.Queries); w.Code != 200 || diff != "" {
				t.Errorf("%s: %d %s\n%s", query, w.Code, w.Body, diff)
			}
			if diff := cmp.Diff(apitest.Written(), apitest.Decode[release.ServiceLog](t, w.Body.Bytes())); diff != "" {
				t.Errorf("%s: (-want +got)\n%s", query, diff)
			}
		}
	})
}

func TestLogsAreRefusedForABadQuestionBeforeAnythingIsRead(t *testing.T) {
	s := newSite()
	for query, want := range map[string]string{
		"?lines=0": "1 to 1000", "?lines=1001": "1 to 1000", "?lines=x": "1 to 1000", "?since=-1h": "want a duration", "?since=9999h": "want a duration",
		"?since=yesterday": "want a duration", "?follow=maybe": "true or false", "?follow&previous": "cannot be followed", "?tail=3": `no parameter "tail"`,
		"?lines=1&lines=2": "comes twice", "?container=..%2F..": "can be named", "?container=a;b": "cannot be read", "?lines=%zz": "cannot be read",
	} {
		w := s.ask(apitest.Request("ada", "GET", frontendLogs+query, ""))
		if p := apitest.Decode[httpapi.Problem](t, w.Body.Bytes()); w.Code != 400 || !strings.Contains(p.Detail, want) {
			t.Errorf("%s: %d %s, want %q", query, w.Code, w.Body, want)
		}
	}
	if len(s.releases.Queries) > 0 {
		t.Errorf("read: %+v", s.releases.Queries)
	}
	w := s.ask(apitest.Request("ada", "GET", frontendLogs+"?container=sidecar", ""))
	if p := apitest.Decode[httpapi.Problem](t, w.Body.Bytes()); w.Code != 404 || p.Code != plan.NotFound || p.Hint != "ask for app" {
		t.Errorf("no such container: %d %s", w.Code, w.Body)
	}
}

func TestLogsAndVariablesNeedRightsOfTheirOwn(t *testing.T) {
	s := newSite()
	only := func(v auth.Verb) []apitest.Right {
		return []apitest.Right{{Verbs: []auth.Verb{v}, Environments: "production"}}
	}
	people := apitest.Tokens{"reads": only(auth.Read), "logs": only(auth.Logs), "env": only(auth.Env), "deploys": only(auth.Deploy), "nothing": nil}
	s.Identity, s.Access = people, people
	s.build()
	for path, allowed := range map[string]string{frontendLogs: "logs", frontendLogs + "?follow": "logs", frontend + "/env": "env", frontend + "/pods/frontend-7f-abcde/env": "env"} {
		for who := range people {
			want := map[bool]int{true: 200, false: 403}[who == allowed]
			if w := s.ask(apitest.Request(who, "GET", path, "")); w.Code != want {
				t.Errorf("%s, %s: %d %s, want %d", path, who, w.Code, w.Body, want)
			}
		}
		if w := s.ask(apitest.Request("", "GET", path, "")); w.Code != 401 {
			t.Errorf("%s, nobody: %d", path, w.Code)
		}
		other := strings.Replace(path, "frontend/", "secret-service/", 1)
		if w := s.ask(apitest.Request("nothing", "GET", other, "")); w.Code != 403 || strings.Contains(w.Body.String(), "cron") {
			t.Errorf("%s, who may see nothing: %d %s, want no names of services", other, w.Code, w.Body)
		}
		if w := s.ask(apitest.Request("reads", "GET", other, "")); w.Code != 404 || !strings.Contains(w.Body.String(), "cron") {
			t.Errorf("%s, who may read: %d %s, want the names of services", other, w.Code, w.Body)
		}
	}
}

func TestLogsThatCannotBeReadAreAProblemThatTellsNothing(t *testing.T) {
	s := newSite()
	for err, status := range map[error]int{errors.New("dial 10.0.0.1: refused"): 503, fmt.Errorf("x 10.0.0.1: %w", release.ErrNotFound): 404} {
		s.releases.PodErr = err
		for _, path := range []string{frontendLogs, frontendLogs + "?follow", frontend + "/env"} {
			w := s.ask(apitest.Request("ada", "GET", path, ""))
			if w.Code != status || strings.Contains(w.Body.String(), "10.0.0") || w.Header().Get("Content-Type") != "application/problem+json" {
				t.Errorf("%s: %d %s", path, w.Code, w.Body)
			}
		}
	}
}

func TestLogsComeAsEventsToWhomAsksForThem(t *testing.T) {
	s := newSite()
	w := s.ask(apitest.Request("ada", "GET", frontendLogs, "", "Accept", "text/html, text/event-stream;q=0.9"))
	if w.Code != 200 || w.Header().Get("Content-Type") != "text/event-stream" || w.Header().Get("Cache-Control") != "no-store" {
		t.Fatalf("%d %s", w.Code, w.Header())
	}
	lines := strings.Split(w.Body.String(), "\n")
	if len(lines) != 5 || lines[0] != "event: log" || lines[1] != "id: 2026-11-23T11:59:58.5Z" || lines[3] != "" {
		t.Errorf("%q: want one event, whatever was logged", lines)
	}
	if diff := cmp.Diff(apitest.Written(), apitest.Decode[release.ServiceLog](t, []byte(strings.TrimPrefix(lines[2], "data: ")))); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	for _, head := range [][]string{{"Accept", "text/event-stream", "Last-Event-ID", "2026-11-23T11:59:58.5Z"}} {
		if w := s.ask(apitest.Request("ada", "GET", frontendLogs, "", head...)); w.Code != 204 {
			t.Errorf("a browser that comes again: %d", w.Code)
		}
	}
	for _, head := range []string{"text/event-stream;q=0", "*/*", "text/event-streams", ";;"} {
		if w := s.ask(apitest.Request("ada", "GET", frontendLogs, "", "Accept", head)); w.Header().Get("Content-Type") != "application/json" {
			t.Errorf("Accept: %s: %s", head, w.Header().Get("Content-Type"))
		}
	}
	s.releases.Queries = nil
	s.ask(apitest.Request("ada", "GET", frontendLogs+"?follow", "", "Last-Event-ID", "2026-11-23T11:59:58.5Z"))
	if q := s.releases.Queries; len(q) != 1 || !q[0].After.Equal(apitest.Noon.Add(-1500*time.Millisecond)) || q[0].Lines != maxLines {
		t.Errorf("who comes again follows from %+v", q)
	}
}

func TestLogsAreSentInEventsThatAreNotTooLong(t *testing.T) {
	s := newSite()
	var flood release.ServiceLog
	for i := range 2*linesAnEvent + 1 {
		flood.Lines = append(flood.Lines, release.LogLine{At: apitest.Noon.Add(time.Duration(i)), Pod: "x", Text: fmt.Sprint(i)})
	}
	s.releases.Parts = []release.ServiceLog{flood, {Pods: []release.PodLog{{Pod: "x", State: release.LogEnded, Why: "it is gone"}}}}
	body := s.ask(apitest.Request("ada", "GET", frontendLogs+"?follow=true", "")).Body.String()
	if n := strings.Count(body, "event: log\n"); n != 5 || strings.Count(body, "\nid: ") != 4 || !strings.HasPrefix(body, "retry: 2000\n\n") || !strings.Contains(body, `"why":"it is gone"}],"lines":[]`) {
		t.Errorf("%d events: %s", n, body)
	}
}

// opened opens a stream over the server that production has, and gives its blocks.
func opened(t *testing.T, p *apitest.Pipes, path string) <-chan string {
	t.Helper()
	c, r := p.Dial(t)
	apitest.Send(t, c, "GET "+path+" HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer token-of-ada\r\n\r\n")
	resp, err := http.ReadResponse(r, nil)
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("%+v, %v", resp, err)
	}
	blocks := make(chan string, 1000)
	go func() {
		defer close(blocks)
		defer resp.Body.Close()
		block := ""
		for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
			if block += lines.Text() + "\n"; lines.Text() == "" {
				blocks <- block
				block = ""
			}
		}
	}()
	return blocks
}

func TestLogsThatAreFollowedAreBoundedInTimeAndNumber(t *testing.T) {
	following(t, func(t *testing.T, s *site, p *apitest.Pipes, cancel context.CancelFunc, _ <-chan error) {
		s.releases.Followed = make(chan struct{})
		began := time.Now()
		events := opened(t, p, frontendLogs+"?follow")
		if retry, first := <-events, <-events; !strings.HasPrefix(retry, "retry:") || !strings.HasPrefix(first, "event: log\n") {
			t.Errorf("%q, %q", retry, first)
		}
		if beat := <-events; beat != ": still here\n\n" || time.Since(began) != httpapi.EventHeartbeat {
			t.Errorf("%q after %s", beat, time.Since(began))
		}
		for range events {
		}
		if lived := time.Since(began); lived != httpapi.EventLife {
			t.Errorf("lived %s", lived)
		}
		for range maxLogsEach {
			<-opened(t, p, frontendLogs+"?follow")
		}
		for _, query := range []string{"", "?follow"} {
			if w := s.ask(apitest.Request("ada", "GET", frontendLogs+query, "")); w.Code != 429 || w.Header().Get("Retry-After") == "" {
				t.Errorf("one too many: %d %s", w.Code, w.Body)
			}
		}
		cancel() // streams end with the server, or the bubble sees what is left
	})
}

func TestLogsThatAreFollowedEndWhenTheClientGoes(t *testing.T) {
	following(t, func(t *testing.T, s *site, p *apitest.Pipes, _ context.CancelFunc, _ <-chan error) {
		s.releases.Followed = make(chan struct{})
		for range maxLogsEach {
			c, r := p.Dial(t)
			apitest.Send(t, c, "GET "+frontendLogs+"?follow HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer token-of-ada\r\n\r\n")
			resp, err := http.ReadResponse(r, nil)
			if err != nil {
				t.Fatal(err)
			}
			_ = c.Close()
			_ = resp.Body.Close()
		}
		synctest.Wait()
		if w := s.ask(apitest.Request("ada", "GET", frontendLogs, "")); w.Code != 200 {
			t.Errorf("%d %s, want that those who have gone count no more", w.Code, w.Body)
		}
	})
}
