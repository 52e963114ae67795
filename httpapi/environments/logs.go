package environments

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cjworkbench/unstuck/auth"
	"github.com/cjworkbench/unstuck/httpapi"
	"github.com/cjworkbench/unstuck/release"
	"github.com/cjworkbench/unstuck/release/plan"
)

// ServiceLogs reads the logs of services. *deploy.Clusters does. It is a *plan.Refusal that there is no such service,
// or no such container.
type ServiceLogs interface {
	// ServiceLog gives the last lines, within 20 s.
	ServiceLog(ctx context.Context, env plan.Environment, q release.LogQuery) (release.ServiceLog, error)
	// FollowServiceLog gives to send what ServiceLog gives, and then what comes, until ctx ends or send fails.
	FollowServiceLog(ctx context.Context, env plan.Environment, q release.LogQuery,
		send func(release.ServiceLog) error) error
}

// The bounds of logs.
const (
	defaultLines   = 100
	maxLines       = 1000
	maxLogs        = 20 // that are read or followed at once: each is several streams of the API server's
	maxLogsEach    = 4  // by one caller
	linesAnEvent   = 50
	maxSince       = 31 * 24 * time.Hour
	logsReadWithin = 25 * time.Second // below writeTimeout
)

var logParams = []httpapi.Param{
	{Name: "container", About: "the container; default: the one that kubectl would take", Kind: "string"},
	{Name: "lines", About: fmt.Sprintf("the last so many of all pods together; default %d, at most %d", defaultLines,
		maxLines), Kind: "integer"},
	{Name: "since", About: `only what is not older than that ("10m"), or later than that time`, Kind: "string"},
	{Name: "follow", About: "go on with what comes, as server-sent events", Kind: "boolean"},
	{Name: "previous", About: "of the run before, of containers that were started again", Kind: "boolean"},
}

// logs answers with the log of a service: as one answer, or, if it is followed or asked for so, as server-sent events.
func (api *API) logs(w http.ResponseWriter, r *http.Request) error {
	env, err := api.serviceTo(auth.Logs, r, &httpapi.AuditEvent{}, "")
	if err != nil {
		return err
	}
	q, follows, err := logQueryOf(r, time.Now())
	if err != nil {
		return err
	}
	last := r.Header.Get("Last-Event-ID")
	asEvents := follows || accepts(r, "text/event-stream")
	if asEvents && !follows && last != "" {
		w.WriteHeader(http.StatusNoContent) // they have it, and nothing comes after it
		return nil
	}
	if at, err := time.Parse(time.RFC3339Nano, last); err == nil && follows && at.After(q.After) {
		q.After, q.Lines = at, maxLines
	}
	done, err := api.openLog(r)
	if err != nil {
		return err
	}
	defer done()
	s := httpapi.NewEventStream(w)
	if r.Method == http.MethodHead && asEvents {
		s.Begin()
		return nil
	}
	if follows {
		return api.followLog(s, r, env, q)
	}
	all, err := api.readLog(r, env, q)
	if err != nil {
		return err
	}
	if asEvents {
		s.Begin()
		sendPart(s, all)
		return nil
	}
	api.Write(w, r, http.StatusOK, "application/json", all)
	return nil
}

// LastLines gives what reads the last lines of the service's log that the query asks for, and says whether it asks to
// go on. The error is that the caller may not read them.
func (api *API) LastLines(r *http.Request) (read func() (all release.ServiceLog, follows bool, err error), err error) {
	env, err := api.serviceTo(auth.Logs, r, &httpapi.AuditEvent{}, "")
	if err != nil {
		return nil, err
	}
	return func() (all release.ServiceLog, follows bool, err error) {
		if err := httpapi.CheckQuery(r, logParams, false); err != nil {
			return all, false, err
		}
		q, follows, err := logQueryOf(r, time.Now())
		if err != nil {
			return all, false, err
		}
		done, err := api.openLog(r)
		if err != nil {
			return all, false, err
		}
		defer done()
		all, err = api.readLog(r, env, q)
		return all, follows, err
	}, nil
}

// openLog counts a log that is read, until done is called, and refuses one too many.
func (api *API) openLog(r *http.Request) (done func(), err error) {
	who, _ := httpapi.CallerOf(r.Context())
	name := who.Authority + "/" + who.Name
	if !api.logStreams.Open(name) {
		return nil, httpapi.TooMany(httpapi.EventRetry, "too many logs are being read")
	}
	return func() { api.logStreams.Close(name) }, nil
}

// readLog reads the last lines.
func (api *API) readLog(r *http.Request, env plan.Environment, q release.LogQuery) (release.ServiceLog, error) {
	ctx, stop := context.WithTimeout(r.Context(), logsReadWithin)
	defer stop()
	all, err := api.Logs.ServiceLog(ctx, env, q)
	if err != nil {
		return all, api.unread(r, err)
	}
	all.Pods, all.Lines = httpapi.OrEmpty(all.Pods), httpapi.OrEmpty(all.Lines)
	return all, nil
}

// followLog sends what comes until the stream's life, the server's or the client's patience ends. An error before
// anything has come is a Problem.
func (api *API) followLog(s *httpapi.EventStream, r *http.Request, env plan.Environment, q release.LogQuery) error {
	ctx, stop := context.WithTimeout(r.Context(), httpapi.EventLife)
	parts, done := make(chan release.ServiceLog), make(chan error, 1)
	var following sync.WaitGroup
	defer following.Wait()
	defer stop()
	following.Go(func() {
		done <- api.Logs.FollowServiceLog(ctx, env, q, func(part release.ServiceLog) error {
			select {
			case parts <- part:
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		})
	})
	select {
	case err := <-done:
		if ctx.Err() != nil { // nobody is there to be told
			return nil
		}
		return api.unread(r, err)
	case <-httpapi.Stopping(ctx):
		return httpapi.NewProblem(http.StatusServiceUnavailable, "Unstuck is about to end; try again")
	case part := <-parts:
		s.Begin()
		if !s.Retry() || !sendPart(s, part) {
			return nil
		}
	}
	heartbeat := time.NewTicker(httpapi.EventHeartbeat)
	defer heartbeat.Stop()
	for {
		sent := true
		select {
		case <-ctx.Done():
			return nil
		case <-httpapi.Stopping(ctx):
			return nil
		case err := <-done: // the client comes again, and is told then
			api.Log.Debug("log not followed on", "environment", env.Name, "service", q.Service, "error", err)
			return nil
		case part := <-parts:
			sent = sendPart(s, part)
			heartbeat.Reset(httpapi.EventHeartbeat)
		case <-heartbeat.C:
			sent = s.Send(": still here\n\n")
		}
		if !sent {
			return nil
		}
	}
}

// sendPart sends a part of a log as events of the same form, each with so many lines. The ID is the time of the last
// line. False: they have gone away.
func sendPart(s *httpapi.EventStream, all release.ServiceLog) bool {
	for first := true; first || len(all.Lines) > 0; first = false {
		n := min(len(all.Lines), linesAnEvent)
		one := release.ServiceLog{Pods: httpapi.OrEmpty(all.Pods), Lines: httpapi.OrEmpty(all.Lines[:n]), Cut: all.Cut}
		data, err := json.Marshal(one)
		if err != nil { // there is nothing in it that could not be encoded
			return false
		}
		id := ""
		if n > 0 {
			id = "id: " + all.Lines[n-1].At.UTC().Format(time.RFC3339Nano) + "\n"
		}
		if !s.Send(fmt.Sprintf("event: log\n%sdata: %s\n\n", id, data)) {
			return false
		}
		all.Pods, all.Cut, all.Lines = nil, false, all.Lines[n:]
	}
	return true
}

// logQueryOf reads what is asked for.
func logQueryOf(r *http.Request, now time.Time) (q release.LogQuery, follows bool, err error) {
	asked := r.URL.Query()
	q = release.LogQuery{Service: r.PathValue("service"), Container: asked.Get("container"), Lines: defaultLines}
	if q.Container != "" && !objectName.MatchString(q.Container) {
		return q, false, httpapi.NewProblem(http.StatusBadRequest, "the container is %q: no container can be named so",
			httpapi.Short(q.Container))
	}
	if text := asked.Get("lines"); text != "" {
		if q.Lines, err = strconv.Atoi(text); err != nil || q.Lines < 1 || q.Lines > maxLines {
			return q, false, httpapi.NewProblem(http.StatusBadRequest, "the number of lines is %q: want one from 1 to %d",
				httpapi.Short(text), maxLines)
		}
	}
	if q.After, err = sinceOf(asked.Get("since"), now); err != nil {
		return q, false, err
	}
	if follows, err = boolOf(asked, "follow"); err != nil {
		return q, false, err
	}
	if q.Previous, err = boolOf(asked, "previous"); err != nil {
		return q, false, err
	}
	if follows && q.Previous {
		return q, false, httpapi.NewProblem(http.StatusBadRequest, "a previous run is over: it cannot be followed")
	}
	return q, follows, nil
}

func boolOf(asked url.Values, name string) (bool, error) {
	if !asked.Has(name) {
		return false, nil
	}
	yes, err := strconv.ParseBool(cmp.Or(asked.Get(name), "true"))
	if err != nil {
		return false, httpapi.NewProblem(http.StatusBadRequest, "%s is %q: want true or false", name,
			httpapi.Short(asked.Get(name)))
	}
	return yes, nil
}

func sinceOf(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at, nil
	}
	if d, err := time.ParseDuration(text); err == nil && d > 0 && d <= maxSince {
		return now.Add(-d), nil
	}
	return time.Time{}, httpapi.NewProblem(http.StatusBadRequest,
		`since is %q: want a duration such as 10m, of at most 744h, or a time such as 2026-11-23T18:00:00Z`, httpapi.Short(text))
}

// accepts says whether the request names that type among those it takes.
func accepts(r *http.Request, kind string) bool {
	for one := range strings.SplitSeq(strings.Join(r.Header.Values("Accept"), ","), ",") {
		if got, params, err := mime.ParseMediaType(one); err == nil && got == kind && params["q"] != "0" {
			return true
		}
	}
	return false
}

// unread is the Problem of what could not be read of a service.
func (api *API) unread(r *http.Request, err error) error {
	if refusal, ok := errors.AsType[*plan.Refusal](err); ok {
		return api.refusal(r, refusal)
	}
	if errors.Is(err, release.ErrNotFound) {
		return httpapi.Refused(http.StatusNotFound, plan.NotFound, "the service's workload does not exist", "")
	}
	if r.Context().Err() == nil {
		api.Log.Warn("service not read", "path", httpapi.Short(r.URL.Path), "request_id",
			httpapi.RequestIDOf(r.Context()), "error", err)
	}
	return httpapi.Refused(http.StatusServiceUnavailable, plan.Unavailable,
		"its pods cannot be read now, and Unstuck's log says why", "ask again")
}
