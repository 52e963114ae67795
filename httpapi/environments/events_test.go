package environments

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cjworkbench/unstuck/httpapi"
	"github.com/cjworkbench/unstuck/httpapi/apitest"
	"github.com/cjworkbench/unstuck/release/plan"
)

// event is one event, or a comment.
type event struct {
	id, comment string
	op          plan.Operation
	at          time.Time
}

// watch follows an operation over the server that production has. The channel ends with the stream.
func watch(t *testing.T, s *site, p *apitest.Pipes, id, last string) <-chan event {
	t.Helper()
	c, r := p.Dial(t)
	head := "GET /api/v1/operations/" + id + "/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer token-of-ada\r\n"
	if last != "" {
		head += "Last-Event-ID: " + last + "\r\n"
	}
	apitest.Send(t, c, head+"\r\n")
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("%d %s", resp.StatusCode, resp.Header)
	}
	events := make(chan event, 1000)
	go func() {
		defer close(events)
		defer resp.Body.Close()
		var e event
		lines := bufio.NewScanner(resp.Body)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			name, value, _ := strings.Cut(lines.Text(), ": ")
			switch {
			case lines.Text() == "" && (e.id != "" || e.comment != ""):
				e.at = time.Now()
				events <- e
				e = event{}
			case name == "":
				e.comment = value
			case name == "id":
				e.id = value
			case name == "data":
				if err := json.Unmarshal([]byte(value), &e.op); err != nil {
					t.Error(err)
				}
			}
		}
	}()
	return events
}

// following serves a site in a bubble, as production does, and ends that after the test. One operation is under way.
func following(t *testing.T, test func(*testing.T, *site, *apitest.Pipes, context.CancelFunc, <-chan error)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s, p := newSite(), apitest.NewPipes()
		s.releases.Put(apitest.Running())
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		done := make(chan error, 1)
		go func() {
			done <- httpapi.Serve(ctx, s.Log, httpapi.Server{Name: "test", Listener: p, Handler: s.handler})
		}()
		test(t, s, p, cancel, done)
		cancel()
		<-done
	})
}

func TestFollowerFollowsAnOperationToItsEnd(t *testing.T) {
	following(t, func(t *testing.T, s *site, p *apitest.Pipes, _ context.CancelFunc, _ <-chan error) {
		op := apitest.Running()
		events := watch(t, s, p, op.ID, "")
		if e := <-events; e.op.Version != 3 || !strings.HasPrefix(e.id, "3-") {
			t.Errorf("first %+v, want the state of now", e)
		}
		op.Outcome = "a line that is not stored"
		synctest.Wait()
		s.options.Feed.Notify(op)
		if e := <-events; e.op.Outcome == "" || !strings.HasPrefix(e.id, "3-") {
			t.Errorf("news %+v", e)
		}
		time.Sleep(time.Minute) // longer than every timeout of the server
		for range 3 {
			if e := <-events; e.comment != "still here" {
				t.Errorf("in a quiet minute: %+v, want heartbeats", e)
			}
		}
		op.Version, op.Phase = 4, plan.Succeeded // in another process, which tells only the records
		s.releases.Put(op)
		began := time.Now()
		for e := range events {
			if e.comment == "" && (e.op.Phase != plan.Succeeded || e.at.Sub(began) > eventPoll) {
				t.Errorf("last %+v", e)
			}
		}
		if len(s.options.Feed.watchers) > 0 {
			t.Errorf("somebody still watches")
		}
	})
}

func TestFollowerTellsWhoComesAgainEverythingOnce(t *testing.T) {
	following(t, func(t *testing.T, s *site, p *apitest.Pipes, _ context.CancelFunc, _ <-chan error) {
		op := apitest.Running()
		_, seen, err := eventOf(op)
		if err != nil {
			t.Fatal(err)
		}
		events := watch(t, s, p, op.ID, seen)
		synctest.Wait()
		if len(events) > 0 {
			t.Errorf("%+v comes twice", <-events)
		}
		op.Version = 4
		s.releases.Put(op)
		if e := <-events; e.op.Version != 4 {
			t.Errorf("%+v, want version 4", e)
		}
		again := watch(t, s, p, op.ID, seen) // somebody who was away meanwhile
		if e := <-again; e.op.Version != 4 {
			t.Errorf("%+v, want version 4", e)
		}
	})
}

func TestFollowerEndsWhenAllIsOverAndSeen(t *testing.T) {
	s := newSite()
	_, seen, err := eventOf(apitest.Finished())
	if err != nil {
		t.Fatal(err)
	}
	path := "/api/v1/operations/" + apitest.Finished().ID + "/events"
	if w := s.ask(apitest.Request("ada", "GET", path, "", "Last-Event-ID", seen)); w.Code != 204 || w.Body.Len() > 0 {
		t.Errorf("%d %s, want 204, on which browsers stop", w.Code, w.Body)
	}
	if w := s.ask(apitest.Request("ada", "GET", path, "")); w.Code != 200 || strings.Count(w.Body.String(), "event: operation\n") != 1 {
		t.Errorf("%d %s, want the one event", w.Code, w.Body)
	}
	if w := s.ask(apitest.Request("ada", "HEAD", path, "")); w.Code != 200 || w.Body.Len() > 0 {
		t.Errorf("HEAD: %d %s", w.Code, w.Body)
	}
	for who, status := range map[string]int{"": 401, "eve": 401, "bob": 404} {
		if w := s.ask(apitest.Request(who, "GET", path, "")); w.Code != status {
			t.Errorf("%q: %d %s, want %d", who, w.Code, w.Body, status)
		}
	}
}

func TestFollowerMakesFewEventsOfChangesInQuickSuccession(t *testing.T) {
	following(t, func(t *testing.T, s *site, p *apitest.Pipes, _ context.CancelFunc, _ <-chan error) {
		op := apitest.Running()
		events := watch(t, s, p, op.ID, "")
		<-events
		synctest.Wait()
		for i := range 1000 { // ten seconds of a job that logs a lot
			op.Outcome = fmt.Sprintf("line %d", i)
			s.options.Feed.Notify(op)
			time.Sleep(10 * time.Millisecond)
		}
		op.Phase = plan.Failed
		s.options.Feed.Notify(op)
		count, last := 0, event{}
		for e := range events {
			count, last = count+1, e
		}
		if count > 22 || last.op.Phase != plan.Failed {
			t.Errorf("%d events, the last %+v", count, last)
		}
	})
}

func TestFollowerEndsWithTheServerAndAtTheEndOfItsLife(t *testing.T) {
	following(t, func(t *testing.T, s *site, p *apitest.Pipes, cancel context.CancelFunc, done <-chan error) {
		began := time.Now()
		for range watch(t, s, p, apitest.Running().ID, "") {
		}
		if lived := time.Since(began); lived != httpapi.EventLife {
			t.Errorf("lived %s, want %s", lived, httpapi.EventLife)
		}
		events := watch(t, s, p, apitest.Running().ID, "")
		<-events
		synctest.Wait()
		began = time.Now()
		cancel()
		for range events {
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("the server needed %s to end, want that streams end with it", took)
		}
	})
}

func TestEventsStreamsAreBounded(t *testing.T) {
	following(t, func(t *testing.T, s *site, p *apitest.Pipes, _ context.CancelFunc, _ <-chan error) {
		for range 10 { // as docs/api.md says
			<-watch(t, s, p, apitest.Running().ID, "")
		}
		path := "/api/v1/operations/" + apitest.Running().ID + "/events"
		if w := s.ask(apitest.Request("ada", "GET", path, "")); w.Code != 429 || w.Header().Get("Retry-After") == "" {
			t.Errorf("%d %s, want 429", w.Code, w.Body)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if w := s.ask(apitest.Request("ci", "GET", path, "").WithContext(ctx)); w.Code != 404 { // it is production's
			t.Errorf("another caller: %d %s", w.Code, w.Body)
		}
	})
}

func TestEventsLetGoOfAClientThatTakesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite()
		s.releases.Put(apitest.Running())
		ctx, cancel := context.WithCancel(t.Context())
		p, done := apitest.NewPipes(), make(chan error, 1)
		go func() {
			done <- httpapi.Serve(ctx, s.Log, httpapi.Server{Name: "test", Listener: p, Handler: s.handler})
		}()
		c, _ := p.Dial(t)
		apitest.Send(t, c, "GET /api/v1/operations/"+apitest.Running().ID+"/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer token-of-ada\r\n\r\n")
		time.Sleep(httpapi.EventHeartbeat) // and reads nothing
		s.options.Feed.mu.Lock()
		watchers := len(s.options.Feed.watchers)
		s.options.Feed.mu.Unlock()
		if watchers > 0 {
			t.Error("a stream that nobody reads is still open")
		}
		cancel()
		<-done
	})
}
